//! What went wrong with a directory, in words that name the server, the object and the cure.

use crate::fault::Fault;
use crate::source::ldap::answer::Answer;
use crate::source::ldap::frame::FrameError;
use crate::source::ldap::wire::WireError;
use crate::source::{Error, Security, Settings, Stage};

/// The server as an administrator writes it: `ldaps://host:port`.
pub(super) fn server(settings: &Settings) -> String {
    let scheme = match settings.security {
        Security::Tls => "ldaps",
        Security::StartTls | Security::Plain => "ldap",
    };
    let address = settings.address();
    format!("{scheme}://{address}")
}

/// An error for a wire that broke while something was being done.
pub(super) fn broken(server: &str, doing: &str, error: &WireError) -> Error {
    let (stage, fault) = if error.is_protocol() {
        (Stage::Reading, Fault::Denied)
    } else {
        (Stage::Network, Fault::Transient)
    };
    let cure = broken_cure(error);
    let message = format!("{server}: {doing}: {error}; {cure}");
    Error::new(stage, fault, message)
}

/// What an administrator does about a wire that broke.
pub(super) fn broken_cure(error: &WireError) -> &'static str {
    match error {
        WireError::Frame(FrameError::TooLong { .. }) => {
            "raise the longest accepted message if the directory has entries of that size"
        }
        error if error.is_protocol() => "check that host and port are those of an LDAP server",
        _ => "check the network and the server; the next run tries again",
    }
}

/// An error for an answer that is not success.
pub(super) fn refused(server: &str, doing: &str, answer: &Answer) -> Error {
    let (stage, fault) = match answer.code {
        10 | 32 | 34 => (Stage::BaseDn, Fault::Denied),
        18 => (Stage::Filter, Fault::Denied),
        50 => (Stage::Permission, Fault::Denied),
        8 | 13 | 48 | 49 => (Stage::Authentication, Fault::Denied),
        1 | 3 | 51 | 52 | 80 => (Stage::Reading, Fault::Transient),
        _ => (Stage::Reading, Fault::Denied),
    };
    let message = format!(
        "{server}: {doing}: {}; {}",
        answer.words(),
        cure(answer.code)
    );
    Error::new(stage, fault, message)
}

/// An error for answers from which nothing can be read.
pub(super) fn unreadable(server: &str, doing: &str, what: &str) -> Error {
    let message = format!("{server}: {doing}: {what}");
    Error::new(Stage::Reading, Fault::Denied, message)
}

/// What an administrator does about a result code.
pub(super) fn cure(code: u32) -> &'static str {
    match code {
        3 => "raise the time limit of the bind account, or narrow the search",
        4 => {
            "raise the size limit of the bind account (OpenLDAP: olcLimits with size.soft, size.hard and size.prtotal)"
        }
        8 | 13 => "the server wants an encrypted connection: use ldaps or StartTLS",
        10 => "the search base is held by another server: connect to that one",
        11 => "raise the limits of the bind account for paged searches, or lower the page size",
        12 => {
            "the server does not page (RFC 2696) for this account, so a whole read cannot be proved"
        }
        18 => "the filter compares an attribute in a way that the server does not know",
        32 | 34 => "check the search base: it does not exist, or the account may not see it",
        50 => "give the bind account the right to read the search base and what is below it",
        51 | 52 => "the server is busy or stopping; the next run tries again",
        _ => "the server's log says more",
    }
}

/// Why a bind was refused (result 49), with the reason that Active Directory hides in the text.
pub(super) fn bind_refused(answer_text: &str) -> &'static str {
    let reason = answer_text
        .split_once("data ")
        .and_then(|(_, rest)| rest.split([',', ' ']).next());
    match reason {
        Some("525") => "no such account: check the bind DN",
        Some("52e") => "wrong password or account name: check the bind DN and its password",
        Some("530" | "531") => {
            "the account may not log on now or from here: check its logon hours and workstations"
        }
        Some("532") => "the password has expired: set a new one",
        Some("533") => "the account is disabled: enable it",
        Some("701") => "the account has expired: extend it",
        Some("773") => "the password must be changed before it can be used: set a new one",
        Some("775") => "the account is locked: unlock it, and check who uses a wrong password",
        _ => "wrong bind DN or password: check both, and that the account is not locked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_directory_hides_the_reason_in_the_text() {
        let text = |data| {
            format!(
                "80090308: LdapErr: DSID-0C09050F, comment: AcceptSecurityContext error, data {data}, v4563"
            )
        };
        for (data, word) in [
            ("52e", "wrong password"),
            ("533", "disabled"),
            ("701", "account has expired"),
            ("532", "password has expired"),
            ("773", "must be changed"),
            ("775", "locked"),
            ("999", "wrong bind DN"),
        ] {
            let words = bind_refused(&text(data));
            assert!(words.contains(word), "{data}: {words}");
        }
        assert!(bind_refused("").contains("wrong bind DN"));
    }
}
