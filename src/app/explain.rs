//! Explaining one entry for the API: the directory's answer, the store's and the target's, put together.

mod words;

use std::time::Duration;

use chrono::Utc;
use tokio::time::timeout;

use crate::admin::explanation::{
    Absence, AbsenceReason, ClauseExplained, ExplainedEntry, Explanation, PartExplained,
    ProfileExplained, ScopeExplained,
};
use crate::app::Relays;
use crate::app::probe::mapped;
use crate::directory::Directory;
use crate::id::{ProfileKey, ProfileName};
use crate::identity::observation::Observation;
use crate::identity::{Anchor, Kind, RowKey};
use crate::snapshot::{LastOutcome, Row, Standing};
use crate::source::explanation::{self as source_words, Clause, Explained, Inquiry, Part};
use crate::source::{self, Names};
use crate::sync::explain::{Sighting, as_read_now, known, outlook};
use crate::sync::{Error, Relay};

/// How long an explanation may take in all: less than a command waits for an answer.
const TIME_LIMIT: Duration = Duration::from_secs(28);

/// What one profile's search said.
type Asked = (ProfileName, Result<Explained, String>);

impl Relays {
    /// See [`crate::admin::probe::Probe::explain`]; the same for the command line where no relay runs.
    ///
    /// # Errors
    /// When the directory cannot be asked, or the store cannot be read; the text names the cure.
    pub async fn explain(
        &self,
        directory: &Directory,
        asked: Option<&ProfileName>,
        selector: &str,
    ) -> Result<Explanation, String> {
        let explained = Box::pin(self.explain_entry(directory, asked, selector));
        timeout(TIME_LIMIT, explained).await.unwrap_or_else(|_| {
            Err(format!(
                "the directory and the target did not answer within {} seconds together; try again",
                TIME_LIMIT.as_secs()
            ))
        })
    }

    async fn explain_entry(
        &self,
        directory: &Directory,
        asked: Option<&ProfileName>,
        selector: &str,
    ) -> Result<Explanation, String> {
        let mut names = directory.owners();
        let first = asked
            .or(names.first())
            .or(directory.profiles.first().map(|one| &one.name));
        let first = first.cloned().unwrap_or_default();
        if !names.contains(&first) {
            names.push(first.clone());
        }
        let relay = self.relay_of(directory, &first)?;
        let (asked_of, row) = ask_all(&relay, &names, &first, selector).await?;
        let (key, row) = match (&asked_of.key(), row) {
            (Some(key), row) => {
                let row = row.filter(|row| row.key == *key);
                let row = match row {
                    Some(row) => Some(row),
                    None => stored(&relay, &names, key).await?,
                };
                (Some(key.clone()), row.unwrap_or_else(|| empty(key)))
            }
            (None, Some(row)) => (Some(row.key.clone()), row),
            (None, None) => (None, empty(&nobody(selector))),
        };
        let fresh = as_read_now(row.clone(), asked_of.sightings(), Utc::now());
        let owner = fresh.owner().map(|(owner, _)| owner.clone());
        let shown = asked
            .cloned()
            .or_else(|| owner.clone())
            .unwrap_or(first.clone());
        let relay = match shown == first {
            true => relay,
            false => self.relay_of(directory, &shown)?,
        };
        let changed = digests(&row) != digests(&fresh);
        let outlook = match &key {
            Some(_) => {
                let outlook = outlook(&relay, &fresh, changed).await;
                Some(outlook.map_err(|error: Error| error.to_string())?)
            }
            None => None,
        };
        let mut explanation = asked_of.explanation(directory, &relay, &shown, &fresh);
        explanation.owner = owner.map(|owner| owner.0);
        if let Some(outlook) = outlook {
            words::tell(&mut explanation, &relay, &fresh, &outlook);
        }
        explanation.summary = words::summary(&explanation);
        Ok(explanation)
    }

    fn relay_of(&self, directory: &Directory, profile: &ProfileName) -> Result<Relay, String> {
        let key = ProfileKey {
            directory: directory.id,
            profile: profile.clone(),
        };
        self.relay(&key).map_err(|problems| problems.join("; "))
    }
}

fn digests(row: &Row) -> Vec<(&ProfileName, Standing, [u8; 16])> {
    let seen = row.seen.iter();
    seen.filter(|(_, seen)| seen.standing == Standing::Present)
        .map(|(profile, seen)| (profile, seen.standing, seen.digest.0))
        .collect()
}

fn nobody(selector: &str) -> RowKey {
    RowKey {
        kind: Kind::User,
        anchor: Anchor::Text(selector.to_owned()),
    }
}

fn empty(key: &RowKey) -> Row {
    Row {
        key: key.clone(),
        seen: Vec::new(),
        applied: None,
        found: None,
        decision: None,
        last: LastOutcome::default(),
    }
}

async fn stored(relay: &Relay, names: &[ProfileName], key: &RowKey) -> Result<Option<Row>, String> {
    let rows = relay
        .store
        .rows(relay.directory.id, names, vec![key.clone()]);
    let rows = rows.await.map_err(|error| error.to_string())?;
    Ok(rows.into_iter().next())
}

/// Asks in the scope of every profile. What is not found by what it is called now is looked for as the store knows it: by
/// its anchor, then by the DN that it had.
async fn ask_all(
    relay: &Relay,
    names: &[ProfileName],
    first: &ProfileName,
    selector: &str,
) -> Result<(AskedOf, Option<Row>), String> {
    let mut selector = selector.to_owned();
    let mut answer = ask(relay, first, &selector).await;
    let mut row = None;
    if matches!(answer, Ok(Explained::Absent(..))) {
        row = known(relay, &selector)
            .await
            .map_err(|error| error.to_string())?;
        for other in row.iter().flat_map(other_names) {
            answer = ask(relay, first, &other).await;
            selector = other;
            if !matches!(answer, Ok(Explained::Absent(..))) {
                break;
            }
        }
    }
    let mut asked = Vec::new();
    for name in names {
        let answer = match name == first {
            true => answer.clone(),
            false => ask(relay, name, &selector).await,
        };
        asked.push((name.clone(), answer));
    }
    if let Some((_, Err(message))) = asked.first()
        && asked.iter().all(|(_, answer)| answer.is_err())
    {
        return Err(message.clone());
    }
    Ok((AskedOf(asked), row))
}

/// What else the store knows an entry by.
fn other_names(row: &Row) -> Vec<String> {
    let seen = row.owner().or_else(|| {
        let seen = row.seen.iter().next_back();
        seen.map(|(profile, seen)| (profile, seen))
    });
    let mut names = vec![row.key.anchor.to_string()];
    names.extend(seen.map(|(_, seen)| seen.identity.dn.clone()));
    names
}

/// Asks in the scope of one profile.
async fn ask(relay: &Relay, name: &ProfileName, selector: &str) -> Result<Explained, String> {
    let other = relay.others.iter().find(|(other, _)| other == name);
    let settings = other.map_or(&relay.source, |(_, settings)| settings);
    let Some(profile) = relay.directory.profile(name) else {
        return Err(format!("there is no profile {name}"));
    };
    let inquiry = Inquiry {
        selector: selector.to_owned(),
        names: Names {
            user: profile.mapping.name_attribute(Kind::User),
            group: profile.mapping.name_attribute(Kind::Group),
            unit: profile.mapping.unit_name_attribute(),
        },
        base_dn: relay.directory.connection.base_dn.clone(),
        users: profile.scope.users_clauses.clone(),
    };
    let text = |error: source::Error| error.to_string();
    let source = source::open(settings).await.map_err(text)?;
    let explained = source.explain(&inquiry).await;
    source.close().await;
    explained.map_err(text)
}

/// What the profiles' searches said, in the order of the profiles.
struct AskedOf(Vec<Asked>);

impl AskedOf {
    /// What was found, by the profile that has it in scope before others.
    fn found(&self) -> Option<&source_words::Explanation> {
        let found = || {
            self.0.iter().filter_map(|(_, answer)| match answer {
                Ok(Explained::Found(found)) => Some(&**found),
                _ => None,
            })
        };
        found()
            .find(|found| found.in_scope)
            .or_else(|| found().next())
    }

    fn of(&self, profile: &ProfileName) -> Option<&Result<Explained, String>> {
        let mut asked = self.0.iter();
        asked
            .find(|(name, _)| name == profile)
            .map(|(_, answer)| answer)
    }

    /// The row of the entry that was found.
    fn key(&self) -> Option<RowKey> {
        match &self.found()?.observation {
            Observation::Present(identity, _) => Some(identity.key()),
            Observation::Unreadable(unreadable) => {
                let (kind, anchor) = (unreadable.kind, unreadable.anchor.clone()?);
                Some(RowKey { kind, anchor })
            }
        }
    }

    fn sightings(&self) -> Vec<(ProfileName, Sighting)> {
        let sighting = |answer: &Result<Explained, String>| match answer {
            Ok(Explained::Found(found)) => match (&found.observation, found.in_scope) {
                (_, false) => Sighting::Absent,
                (Observation::Present(identity, digest), true) => {
                    Sighting::There(identity.clone(), *digest)
                }
                // It does not count as absent.
                (Observation::Unreadable(_), true) => Sighting::Unknown,
            },
            Ok(Explained::Absent(..)) => Sighting::Absent,
            Ok(Explained::Several(_)) | Err(_) => Sighting::Unknown,
        };
        let asked = self.0.iter();
        asked
            .map(|(name, answer)| (name.clone(), sighting(answer)))
            .collect()
    }

    /// The directory's part of the explanation.
    fn explanation(
        &self,
        directory: &Directory,
        relay: &Relay,
        shown: &ProfileName,
        row: &Row,
    ) -> Explanation {
        let own = match self.of(shown) {
            Some(Ok(Explained::Found(found))) => Some(&**found),
            _ => None,
        };
        let found = own.or(self.found());
        let profile = directory.profile(shown).unwrap_or(&relay.profile);
        let observation = found.map(|found| found.observation.clone());
        let seen = row.seen.iter().next_back().map(|(_, seen)| &seen.identity);
        let entry = match &observation {
            Some(Observation::Present(identity, _)) => Some(entry_of(identity)),
            Some(Observation::Unreadable(unreadable)) => Some(ExplainedEntry {
                dn: unreadable.dn.clone(),
                anchor: unreadable.anchor.as_ref().map(ToString::to_string),
                kind: unreadable.kind,
            }),
            None => seen.map(entry_of),
        };
        Explanation {
            found: found.is_some(),
            summary: String::new(),
            entry,
            absence: self.absence(shown).filter(|_| found.is_none()),
            also_called_so: found.map(|found| found.also.clone()).unwrap_or_default(),
            owner: None,
            profile: shown.0.clone(),
            scope: own.map(scope),
            profiles: self.0.iter().map(profile_explained).collect(),
            account: observation
                .as_ref()
                .and_then(|observation| words::account(profile, observation)),
            mapped: observation.map(|one| mapped(profile, &relay.tenant.dialect, one)),
            target: words::nothing_known(),
            members: None,
            next: words::nothing_to_do(),
        }
    }

    /// Why nothing was found.
    fn absence(&self, shown: &ProfileName) -> Option<Absence> {
        let first = self.0.iter().find_map(|(_, answer)| answer.as_ref().ok());
        let answer = self.of(shown).and_then(|answer| answer.as_ref().ok());
        let absence = |reason, message: String, candidates: &[String]| Absence {
            reason,
            message,
            candidates: candidates.to_vec(),
        };
        Some(match answer.or(first)? {
            Explained::Found(_) => return None,
            Explained::Several(names) => absence(
                AbsenceReason::Several,
                "more than one entry is called so; name the one that is meant by its DN or its anchor"
                    .to_owned(),
                names,
            ),
            Explained::Absent(certainty, why) => absence(
                match certainty {
                    source_words::Absence::Missing => AbsenceReason::Missing,
                    source_words::Absence::Hidden => AbsenceReason::Hidden,
                    source_words::Absence::Untold => AbsenceReason::NotSeen,
                },
                why.clone(),
                &[],
            ),
        })
    }
}

fn entry_of(identity: &crate::identity::Identity) -> ExplainedEntry {
    ExplainedEntry {
        dn: identity.dn.clone(),
        anchor: Some(identity.anchor.to_string()),
        kind: identity.kind,
    }
}

fn scope(found: &source_words::Explanation) -> ScopeExplained {
    ScopeExplained {
        in_scope: found.in_scope,
        message: deciding(found),
        clauses: found.clauses.iter().map(clause).collect(),
    }
}

/// The sentence on the first clause that decides.
fn deciding(found: &source_words::Explanation) -> String {
    if found.in_scope {
        return "it is in scope: every clause takes it".to_owned();
    }
    let decides = found
        .clauses
        .iter()
        .find(|clause| clause.passes != Some(true));
    match decides {
        Some(clause) => {
            let reason = clause.reason.as_deref().unwrap_or("it does not pass");
            match clause.name {
                "base" => format!("not in scope: {reason}"),
                name => format!("not in scope: {name}: {reason}"),
            }
        }
        None => "not in scope: every clause takes it by itself, but the search does not have it; ask again, as it may have \
                 changed meanwhile"
            .to_owned(),
    }
}

fn clause(clause: &Clause) -> ClauseExplained {
    ClauseExplained {
        clause: clause.name,
        text: clause.text.clone(),
        passes: clause.passes,
        reason: clause.reason.clone(),
        parts: clause.parts.iter().map(part).collect(),
    }
}

fn part(part: &Part) -> PartExplained {
    PartExplained {
        filter: part.filter.clone(),
        matches: part.matches,
        has: part.has.clone(),
        parts: part.parts.iter().map(self::part).collect(),
    }
}

fn profile_explained((name, answer): &Asked) -> ProfileExplained {
    let (in_scope, message) = match answer {
        Ok(Explained::Found(found)) => (Some(found.in_scope), deciding(found)),
        Ok(Explained::Absent(_, why)) => (Some(false), why.clone()),
        Ok(Explained::Several(_)) => (None, "more than one entry is called so".to_owned()),
        Err(message) => (None, message.clone()),
    };
    ProfileExplained {
        profile: name.0.clone(),
        in_scope,
        message,
    }
}
