//! Change detection: the ladder of ways to learn what changed in a directory, and the position up to which one was read.
//!
//! A feed only names entries that may have changed. They are read again in the profile's own scope, so that every rung
//! gives what a full scan gives.

use serde::{Deserialize, Serialize};

use crate::identity::Anchor;

/// A way to learn what changed, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Content synchronization (RFC 4533).
    Syncrepl,
    /// The DirSync control of Active Directory (MS-ADTS §3.1.1.3.4.1.3).
    Dirsync,
    /// Entries with a higher `uSNChanged` than the last; Active Directory.
    UsnChanged,
    /// Entries with a later `modifyTimestamp`.
    ModifyTimestamp,
    /// Everything is read.
    FullScan,
}

impl Rung {
    /// All, best first.
    pub const ALL: [Self; 5] = [
        Self::Syncrepl,
        Self::Dirsync,
        Self::UsnChanged,
        Self::ModifyTimestamp,
        Self::FullScan,
    ];

    /// Its name in the configuration and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syncrepl => "syncrepl",
            Self::Dirsync => "dirsync",
            Self::UsnChanged => "usn_changed",
            Self::ModifyTimestamp => "modify_timestamp",
            Self::FullScan => "full_scan",
        }
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which rung an administrator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeDetection {
    /// The best one that the server and the account offer.
    #[default]
    Automatic,
    /// This one where it is offered, else a full scan.
    Only(Rung),
}

impl ChangeDetection {
    /// Its name in the configuration and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Only(rung) => rung.as_str(),
        }
    }
}

/// What is known of one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rung.
    pub rung: Rung,
    /// Why it cannot be used; absent when it can.
    pub obstacle: Option<String>,
    /// Why it does not tell who left; absent when it does.
    pub blind: Option<String>,
}

/// The rungs of a server, an account and a profile, best first. The full scan is always among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder(pub Vec<Step>);

/// The rung that is used, and why it is not a better one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The rung.
    pub rung: Rung,
    /// Why it does not tell who left; absent when it does.
    pub blind: Option<String>,
    /// In words for an administrator.
    pub reason: String,
}

impl Ladder {
    /// That of a server whose feeds could not be asked for.
    pub fn broken(why: String) -> Self {
        let feed = |rung| Step {
            rung,
            obstacle: Some(why.clone()),
            blind: None,
        };
        let full_scan = Step {
            obstacle: None,
            ..feed(Rung::FullScan)
        };
        Self(vec![feed(Rung::Syncrepl), full_scan])
    }

    /// The rung that is used: the best that is offered, or the one that an administrator wants.
    pub fn choose(&self, wanted: ChangeDetection) -> Choice {
        let usable = |step: &&Step| step.obstacle.is_none() && step.rung != Rung::FullScan;
        // What never tells who left is taken only where somebody asked for it or it is told of changes at once.
        let automatic = |step: &&Step| step.rung != Rung::ModifyTimestamp;
        let found = match wanted {
            ChangeDetection::Automatic => self.0.iter().filter(usable).find(automatic),
            ChangeDetection::Only(rung) => {
                self.0.iter().filter(usable).find(|step| step.rung == rung)
            }
        };
        let rung = found.map_or(Rung::FullScan, |step| step.rung);
        Choice {
            rung,
            blind: found.and_then(|step| step.blind.clone()),
            reason: self.reason(wanted, rung),
        }
    }

    fn reason(&self, wanted: ChangeDetection, taken: Rung) -> String {
        let why_not = |step: &Step| match (&step.obstacle, &step.blind) {
            (Some(why), _) | (None, Some(why)) => format!("{}: {why}", step.rung),
            (None, None) => format!("{}: not chosen", step.rung),
        };
        match wanted {
            ChangeDetection::Only(rung) if rung == taken => "as configured".to_owned(),
            ChangeDetection::Only(rung) => {
                let step = self.0.iter().find(|step| step.rung == rung);
                step.map_or_else(
                    || format!("{rung}: this kind of directory does not have it"),
                    why_not,
                )
            }
            ChangeDetection::Automatic => {
                let better: Vec<String> = self
                    .0
                    .iter()
                    .filter(|step| step.rung < taken)
                    .map(why_not)
                    .collect();
                match better.is_empty() {
                    true => "the best that there is".to_owned(),
                    false => better.join("; "),
                }
            }
        }
    }
}

/// Up to where the changes of a directory were read. It holds on the server that gave it, and on no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The address of the server, and what it calls its database where it says so.
    pub server: String,
    /// The place.
    pub mark: Mark,
}

/// A place in a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// A cookie for each subtree that is watched (RFC 4533 §2.1.2).
    Syncrepl(Vec<Vec<u8>>),
    /// DirSync's cookie, and the sequence number of that time.
    Dirsync {
        /// What the server gave, to be given back.
        cookie: Vec<u8>,
        /// `highestCommittedUSN`.
        usn: u64,
    },
    /// `highestCommittedUSN`.
    UsnChanged(u64),
    /// The newest `modifyTimestamp`.
    ModifyTimestamp {
        /// As the server writes it.
        time: String,
        /// The containers that were changed at that time, which is told again with the next changes.
        containers: Vec<Anchor>,
    },
    /// A cookie for each subtree that is watched, where cookies count the changes in a change log.
    ChangeLog(Vec<Vec<u8>>),
}

impl Position {
    /// The rung that it belongs to.
    pub fn rung(&self) -> Rung {
        match self.mark {
            Mark::Syncrepl(_) | Mark::ChangeLog(_) => Rung::Syncrepl,
            Mark::Dirsync { .. } => Rung::Dirsync,
            Mark::UsnChanged(_) => Rung::UsnChanged,
            Mark::ModifyTimestamp { .. } => Rung::ModifyTimestamp,
        }
    }
}

/// An entry that may have changed, appeared, or gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// The entry.
    pub anchor: Anchor,
    /// Whether other entries may lie below it, whose names change with its own and of which no feed tells.
    pub container: bool,
}

/// What a feed tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These entries may have changed since; all others have not.
    Hints(Vec<Hint>, Position),
    /// It cannot tell any more; everything must be read.
    Lost(Lost),
}

/// Why a feed cannot tell what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// In words for an administrator.
    pub why: String,
    /// What that means for entries which are not met in the full scan.
    pub doubt: Option<Doubt>,
}

impl Lost {
    /// Lost, with nothing to be feared.
    pub fn harmless(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            doubt: None,
        }
    }
}

/// Why entries that a complete read does not meet may be there all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another server answers than the time before: what is missing there may not have been replicated yet.
    AnotherServer,
    /// The server went back in time, as one that was restored from a backup does: it may lack what happened since.
    Restored,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rung: Rung, obstacle: Option<&str>, blind: Option<&str>) -> Step {
        Step {
            rung,
            obstacle: obstacle.map(str::to_owned),
            blind: blind.map(str::to_owned),
        }
    }

    #[test]
    fn the_best_rung_is_taken_and_the_reason_names_those_above() {
        let ladder = Ladder(vec![
            step(Rung::Dirsync, Some("refused"), None),
            step(Rung::UsnChanged, None, Some("no tombstones")),
            step(Rung::ModifyTimestamp, None, Some("never")),
            step(Rung::FullScan, None, None),
        ]);
        let choice = ladder.choose(ChangeDetection::Automatic);
        assert_eq!(choice.rung, Rung::UsnChanged);
        assert_eq!(choice.reason, "dirsync: refused");
        assert_eq!(choice.blind.as_deref(), Some("no tombstones"));
        let choice = ladder.choose(ChangeDetection::Only(Rung::ModifyTimestamp));
        assert_eq!(
            (choice.rung, choice.reason.as_str()),
            (Rung::ModifyTimestamp, "as configured")
        );
        for (wanted, reason) in [
            (Rung::Dirsync, "dirsync: refused"),
            (
                Rung::Syncrepl,
                "syncrepl: this kind of directory does not have it",
            ),
            (Rung::FullScan, "as configured"),
        ] {
            let choice = ladder.choose(ChangeDetection::Only(wanted));
            assert_eq!(
                (choice.rung, choice.reason.as_str()),
                (Rung::FullScan, reason)
            );
        }
    }

    #[test]
    fn what_never_tells_who_left_is_not_taken_by_itself() {
        let ladder = Ladder(vec![
            step(Rung::Syncrepl, Some("no overlay"), None),
            step(Rung::ModifyTimestamp, None, Some("never")),
            step(Rung::FullScan, None, None),
        ]);
        let choice = ladder.choose(ChangeDetection::Automatic);
        assert_eq!(choice.rung, Rung::FullScan);
        assert_eq!(
            choice.reason,
            "syncrepl: no overlay; modify_timestamp: never"
        );
    }
}
