//! Matches at the target while a plan is made: looked at again where they may have changed, and counted where they wait.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::plan::decide::name_path;
use crate::plan::linking::Waits;
use crate::scim::Value;
use crate::snapshot::{Match, MatchedBy, Row, Seen, Standing};
use crate::sync::propose::Draft;
use crate::sync::{Error, adopt};

impl Draft<'_> {
    /// The row with what is at the target now, which is kept where it is something else than before.
    pub(super) async fn with_fresh_match(
        &self,
        row: &Row,
        seen: &Seen,
    ) -> Result<Option<Row>, Error> {
        let fresh = self.fresh_match(row, seen).await?;
        if let Some(row) = &fresh {
            let found = vec![(row.key.clone(), row.found.clone())];
            self.relay.store.record_found(self.lease, found).await?;
        }
        Ok(fresh)
    }

    /// A name that was taken at the target when it was last looked at may be free by now, or be ours: it is looked at
    /// again, so that a row does not wait for ever for what a person has settled there. `None` when nothing is new.
    pub(super) async fn fresh_match(&self, row: &Row, seen: &Seen) -> Result<Option<Row>, Error> {
        let may_be_there = row.found.is_some() || self.anybody_linked;
        if row.applied.is_some() || seen.standing != Standing::Present || !may_be_there {
            return Ok(None);
        }
        let desired = self
            .relay
            .desired(&self.relay.profile, &seen.identity, self.now);
        let wanted = desired.resource.unwrap_or_default();
        let found = match &row.found {
            Some(found) if found.by == MatchedBy::ExternalId => return Ok(None),
            found => {
                let former = match self.anybody_linked {
                    true => adopt::former_account(self.relay, &row.key, &wanted).await?,
                    false => None,
                };
                match (former, found) {
                    (Some((former, _)), _) => Some(former),
                    (None, None) => return Ok(None),
                    (None, Some(found)) if is_refused(row, found, &wanted) => return Ok(None),
                    (None, Some(_)) => adopt::find_match(self.relay, &row.key, &wanted).await?,
                }
            }
        };
        Ok((found != row.found).then(|| Row {
            found,
            ..row.clone()
        }))
    }
}

/// Whether somebody decided that the resource in the way is not the entry's, and the entry has not got another name since.
/// It is asked for again when the target is read, and not in each run.
fn is_refused(row: &Row, found: &Match, wanted: &crate::scim::Attributes) -> bool {
    let refused = row.decided().is_some_and(|decision| !decision.accepted);
    let same = |held: Option<&String>, path| {
        let wanted = wanted.get(&path).and_then(Value::as_text);
        held.map(|held| held.to_lowercase()) == wanted.map(str::to_lowercase)
    };
    let resource = found.resource.as_ref();
    refused
        && resource.is_some_and(|resource| match found.by {
            MatchedBy::Email | MatchedBy::TakenEmail => same(
                resource.email.as_ref(),
                crate::scim::path::AttributePath::work_email(),
            ),
            _ => same(resource.name.as_ref(), name_path(row.key.kind)),
        })
}

/// How many rows wait, and for what.
#[derive(Default)]
pub(super) struct Waiting {
    proposed: u64,
    refused: u64,
    protected: u64,
    leaving: u64,
    /// When the first of those who leave does.
    next_leaves: Option<DateTime<Utc>>,
}

impl Waiting {
    /// Counts a row.
    pub(super) fn count(&mut self, waits: Option<Waits>) {
        match waits {
            Some(Waits::Proposed) => self.proposed += 1,
            Some(Waits::Refused) => self.refused += 1,
            Some(Waits::Protected) => self.protected += 1,
            Some(Waits::Grace(ends)) => {
                self.leaving += 1;
                self.next_leaves = self.next_leaves.into_iter().chain([ends]).min();
            }
            // The members themselves are counted.
            Some(Waits::GraceOfMembers(_)) | None => {}
        }
    }

    /// How many are left alone although nothing is wrong with them.
    pub(super) fn left_alone(&self) -> u64 {
        self.refused + self.protected
    }

    /// What an administrator should know of them.
    pub(super) fn told(&self, directory: &str) -> Vec<String> {
        let mut told = Vec::new();
        if self.proposed > 0 {
            told.push(format!(
                "{} entries may have an account at the target already, and wait for a person to say so: see `scim-relay \
                 links list --directory {directory}`, then `links accept` or `links refuse`",
                self.proposed
            ));
        }
        if self.refused > 0 {
            told.push(format!(
                "{} entries are left alone, because somebody refused to link the resource that is in their way: see \
                 `scim-relay links list --directory {directory} --state refused`",
                self.refused
            ));
        }
        if self.protected > 0 {
            told.push(format!(
                "{} entries are left alone, because their resources are on the tenant's protected list",
                self.protected
            ));
        }
        if let Some(next) = self.next_leaves {
            told.push(format!(
                "{} entries are gone or out of scope and keep what they have at the target until their grace period is over \
                 (gracePeriod), the first of them until {}",
                self.leaving,
                next.to_rfc3339_opts(SecondsFormat::Secs, true)
            ));
        }
        told
    }
}
