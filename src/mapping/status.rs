//! Whether a directory says that an account is active (specification page 5 and page 8, 18).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::{DirectoryType, Identity, Value};

/// userAccountControl: the account is disabled (MS-ADTS §2.2.16, ADS_UF_ACCOUNTDISABLE).
const ACCOUNT_DISABLED: i64 = 0x2;
/// pwdAccountLockedTime: locked for good (draft-behera-ldap-password-policy §5.3.3). Any other value is a lock-out
/// after wrong passwords, which must not let anybody suspend a colleague.
const LOCKED_FOR_GOOD: &str = "000001010000Z";
/// Seconds between 1601-01-01, where Windows counts from, and 1970-01-01.
const WINDOWS_EPOCH_S: i64 = 11_644_473_600;

/// An attribute value that means that the account is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledWhen {
    /// The attribute.
    pub attribute: String,
    /// The value, case ignored.
    pub value: String,
}

/// How an account is known to be disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRules {
    directory_type: DirectoryType,
    further: Vec<DisabledWhen>,
}

impl StatusRules {
    /// The rules of a directory type, and further attributes that an administrator named.
    pub fn of(directory_type: DirectoryType, further: Vec<DisabledWhen>) -> Self {
        Self {
            directory_type,
            further,
        }
    }

    /// The attributes that must be read.
    pub(super) fn attributes(&self) -> impl Iterator<Item = String> + '_ {
        let usual: &[&str] = match self.directory_type {
            DirectoryType::ActiveDirectory => &["userAccountControl", "accountExpires"],
            DirectoryType::Ldap => &["nsAccountLock", "pwdAccountLockedTime"],
        };
        usual
            .iter()
            .map(|name| (*name).to_owned())
            .chain(self.further.iter().map(|rule| rule.attribute.clone()))
    }

    /// Whether the account is active at a point in time; `None` when the entry does not say, which happens in Active
    /// Directory when userAccountControl may not be read.
    pub fn active(&self, identity: &Identity, now: DateTime<Utc>) -> Option<bool> {
        if self.disabled_by(identity, now).is_some() {
            return Some(false);
        }
        match self.directory_type {
            DirectoryType::Ldap => Some(true),
            DirectoryType::ActiveDirectory => control(identity).map(|_| true),
        }
    }

    /// The attribute and the value by which the account is disabled; `None` when it is enabled, or the entry does not say.
    pub fn disabled_by(&self, identity: &Identity, now: DateTime<Utc>) -> Option<(&str, String)> {
        let further = self.further.iter();
        let mut further = further.map(|rule| (rule.attribute.as_str(), rule.value.as_str()));
        let is_held = |(attribute, value): &(&str, &str)| has(identity, attribute, value);
        let found = further.find(is_held);
        let usual = [
            ("nsAccountLock", "true"),
            ("pwdAccountLockedTime", LOCKED_FOR_GOOD),
        ];
        let plain = match self.directory_type {
            DirectoryType::Ldap => found.or_else(|| usual.into_iter().find(is_held)),
            DirectoryType::ActiveDirectory => found,
        };
        if let Some((attribute, value)) = plain {
            return Some((attribute, value.to_owned()));
        }
        if self.directory_type == DirectoryType::Ldap {
            return None;
        }
        // An end that is over is said by the entry itself, whatever else of it may be read.
        if has_expired(identity, now) {
            let end = expiry_ticks(identity)
                .and_then(|ticks| DateTime::from_timestamp(unix_seconds(ticks), 0));
            let end = end.map(|end| format!("{} UTC", end.format("%Y-%m-%d %H:%M")));
            return Some(("accountExpires", end.unwrap_or_default()));
        }
        let control = control(identity).filter(|control| control & ACCOUNT_DISABLED != 0)?;
        Some(("userAccountControl", control.to_string()))
    }
}

impl StatusRules {
    /// When the account becomes inactive by the passing of time alone, so that it must be looked at again though its entry
    /// does not change.
    pub fn expires_later(&self, identity: &Identity, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let ticks = expiry_ticks(identity).filter(|ticks| !is_past(*ticks, now))?;
        let is_read = self.directory_type == DirectoryType::ActiveDirectory;
        // What lies beyond the calendar never comes.
        is_read.then(|| DateTime::from_timestamp(unix_seconds(ticks), 0))?
    }
}

fn control(identity: &Identity) -> Option<i64> {
    identity.text("userAccountControl")?.parse().ok()
}

fn has(identity: &Identity, attribute: &str, wanted: &str) -> bool {
    identity
        .values(attribute)
        .iter()
        .any(|value| matches!(value, Value::Text(text) if text.trim().eq_ignore_ascii_case(wanted)))
}

/// accountExpires counts 100 ns since 1601; 0 and the largest number mean never (MS-ADTS §2.3.4, MS-SAMR §2.2.1.8).
fn expiry_ticks(identity: &Identity) -> Option<i64> {
    let ticks = identity.text("accountExpires")?.parse().ok()?;
    (ticks != 0 && ticks != i64::MAX).then_some(ticks)
}

fn is_past(ticks: i64, now: DateTime<Utc>) -> bool {
    unix_seconds(ticks) <= now.timestamp()
}

fn unix_seconds(ticks: i64) -> i64 {
    ticks / 10_000_000 - WINDOWS_EPOCH_S
}

fn has_expired(identity: &Identity, now: DateTime<Utc>) -> bool {
    expiry_ticks(identity).is_some_and(|ticks| is_past(ticks, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::tests::user;

    #[test]
    fn ldap_accounts_are_disabled_by_what_is_meant_for_it() {
        let further = vec![DisabledWhen {
            attribute: "employeeStatus".into(),
            value: "Terminated".into(),
        }];
        let rules = StatusRules::of(DirectoryType::Ldap, further);
        for (attribute, value, active) in [
            ("cn", "x", true),
            ("nsAccountLock", "TRUE", false),
            ("nsAccountLock", "false", true),
            ("pwdAccountLockedTime", "000001010000Z", false),
            ("pwdAccountLockedTime", "20261121090000Z", true),
            ("employeeStatus", "terminated", false),
        ] {
            let entry = user(&[(attribute, &[value])]);
            assert_eq!(
                rules.active(&entry, DateTime::UNIX_EPOCH),
                Some(active),
                "{attribute}={value}"
            );
        }
    }

    /// Values of userAccountControl as domains have them, and whether the account is enabled by them alone; unknown where
    /// the value is missing or none.
    const CONTROLS: [(Option<&str>, Option<bool>); 17] = [
        (Some("512"), Some(true)),
        (Some("514"), Some(false)),
        (Some("2"), Some(false)),
        // No password needed, and disabled: as an account is made by most tools.
        (Some("544"), Some(true)),
        (Some("546"), Some(false)),
        // The password never expires; a smart card is required; both.
        (Some("66048"), Some(true)),
        (Some("66050"), Some(false)),
        (Some("262656"), Some(true)),
        (Some("262658"), Some(false)),
        (Some("328192"), Some(true)),
        // Locked after wrong passwords, and an expired password: neither says that somebody left.
        (Some("528"), Some(true)),
        (Some("8389120"), Some(true)),
        (Some("8389122"), Some(false)),
        // The number has a sign, which is its highest bit.
        (Some("-2147483136"), Some(true)),
        (Some("-2147483134"), Some(false)),
        (Some("0x200"), None),
        (None, None),
    ];
    const NOW_S: i64 = 1_700_000_000;

    /// Values of accountExpires, and whether the account has come to its end by them, and will come to it.
    fn ends() -> [(Option<String>, bool, bool); 9] {
        let at = |seconds: i64| Some(((seconds + WINDOWS_EPOCH_S) * 10_000_000).to_string());
        [
            (None, false, false),
            (Some("0".to_owned()), false, false),
            (Some(i64::MAX.to_string()), false, false),
            (Some("1".to_owned()), true, false),
            (at(0), true, false),
            (at(NOW_S - 1), true, false),
            (at(NOW_S), true, false),
            (at(NOW_S + 1), false, true),
            (at(NOW_S + 86_400 * 36_500), false, true),
        ]
    }

    #[test]
    fn active_directory_accounts_are_disabled_or_expired_or_unknown() {
        let rules = StatusRules::of(DirectoryType::ActiveDirectory, Vec::new());
        let now = DateTime::from_timestamp(NOW_S, 0).unwrap_or_default();
        for (control, enabled) in CONTROLS {
            for (end, is_over, will_be) in ends() {
                let control = control.as_slice();
                let expires: Vec<&str> = end.as_deref().into_iter().collect();
                let attributes = [
                    ("userAccountControl", control),
                    ("accountExpires", &expires),
                ];
                let there: Vec<(&str, &[&str])> = attributes
                    .into_iter()
                    .filter(|(_, values)| !values.is_empty())
                    .collect();
                let entry = user(&there);
                let active = if is_over { Some(false) } else { enabled };
                assert_eq!(rules.active(&entry, now), active, "{there:?}");
                let ticks = end.as_deref().filter(|_| will_be);
                let due = ticks.and_then(|ticks| {
                    DateTime::from_timestamp(unix_seconds(ticks.parse().ok()?), 0)
                });
                assert_eq!(due.is_some(), will_be);
                assert_eq!(rules.expires_later(&entry, now), due, "{there:?}");
            }
        }
    }
}
