//! Several servers of one directory: in which order they are tried, and after which errors the next one is.

use crate::fault::Fault;
use crate::source::ldap::session::Session;
use crate::source::ldap::words;
use crate::source::{Error, Settings, Stage};

/// The settings of each server by itself, in order.
pub(super) fn in_order(settings: &Settings) -> impl Iterator<Item = Settings> + '_ {
    let first = Settings {
        fallbacks: Vec::new(),
        ..settings.clone()
    };
    let fallbacks = settings.fallbacks.iter();
    std::iter::once(first).chain(fallbacks.map(|address| settings.at(address)))
}

/// Opens a session at the first server that can be used.
pub(super) async fn open(settings: &Settings) -> Result<Session, Error> {
    let mut refused = Refused::default();
    for settings in in_order(settings) {
        match Session::open(&settings, words::server(&settings)).await {
            Ok(mut session) => {
                session.answering.passed_over = refused.words();
                return Ok(session);
            }
            Err(error) => refused.next_after(error)?,
        }
    }
    Err(refused.into_error())
}

/// The servers that could not be used so far.
#[derive(Default)]
pub(super) struct Refused(Vec<Error>);

impl Refused {
    /// Notes why a server could not be used.
    ///
    /// # Errors
    /// When no other one may be tried after that: the error itself, with what was wrong with those before.
    pub(super) fn next_after(&mut self, error: Error) -> Result<(), Error> {
        if may_try_next(&error) {
            self.0.push(error);
            return Ok(());
        }
        let mut words = vec![error.message];
        words.extend(self.words());
        Err(Error::new(error.stage, error.fault, words.join(AND)))
    }

    /// Why each of them could not be used.
    pub(super) fn words(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The error when there is no further server: of the stage of the first one, and the machine's where any may be back.
    pub(super) fn into_error(self) -> Error {
        let nothing_tried = (Stage::Network, Fault::Defect);
        let first = self.0.first();
        let (stage, fault) = first.map_or(nothing_tried, |first| (first.stage, first.fault));
        let may_be_back = self.0.iter().any(|error| error.fault == Fault::Transient);
        let fault = if may_be_back { Fault::Transient } else { fault };
        Error::new(stage, fault, self.words().join(AND))
    }
}

/// What stands between the errors of several servers.
const AND: &str = ". And ";

/// Whether another server may be tried after this error. A server that refuses the account is not asked elsewhere again,
/// because a wrong password at every server would lock the account; mistakes of the settings are the same everywhere.
/// A certificate that does not verify is a reason to go on: no password was sent, and the next one has to verify too.
fn may_try_next(error: &Error) -> bool {
    match error.stage {
        Stage::Network | Stage::Tls | Stage::Reading => error.fault != Fault::Defect,
        Stage::Authentication => error.fault == Fault::Transient,
        Stage::BaseDn | Stage::Filter | Stage::Permission => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(stage: Stage, fault: Fault) -> Error {
        Error::new(stage, fault, format!("{stage:?} {fault}"))
    }

    #[test]
    fn the_next_server_is_tried_unless_the_account_or_the_settings_are_wrong() {
        for (stage, fault, next) in [
            (Stage::Network, Fault::Transient, true),
            (Stage::Tls, Fault::Transient, true),
            (Stage::Tls, Fault::Denied, true),
            (Stage::Reading, Fault::Transient, true),
            (Stage::Reading, Fault::Denied, true),
            (Stage::Authentication, Fault::Transient, true),
            (Stage::Authentication, Fault::Denied, false),
            (Stage::Authentication, Fault::Defect, false),
            (Stage::Filter, Fault::Denied, false),
            (Stage::BaseDn, Fault::Denied, false),
            (Stage::Permission, Fault::Denied, false),
        ] {
            let mut refused = Refused::default();
            let after = refused.next_after(error(stage, fault));
            assert_eq!(after.is_ok(), next, "{stage:?} {fault}");
        }
    }

    #[test]
    fn the_error_of_several_servers_names_them_all() {
        let mut refused = Refused::default();
        let down = error(Stage::Network, Fault::Transient);
        assert!(refused.next_after(down).is_ok());
        let denied = error(Stage::Authentication, Fault::Denied);
        let stopped = refused.next_after(denied).unwrap_err();
        assert_eq!(
            (stopped.stage, stopped.fault),
            (Stage::Authentication, Fault::Denied)
        );
        assert_eq!(
            stopped.message,
            "Authentication denied. And Network transient"
        );

        let mut refused = Refused::default();
        for fault in [Fault::Denied, Fault::Transient] {
            assert!(refused.next_after(error(Stage::Tls, fault)).is_ok());
        }
        assert_eq!(refused.words(), ["Tls denied", "Tls transient"]);
        let none = refused.into_error();
        assert_eq!((none.stage, none.fault), (Stage::Tls, Fault::Transient));
        assert_eq!(none.message, "Tls denied. And Tls transient");
    }
}
