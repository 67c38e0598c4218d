//! What a run would do about one row, decided as for a plan; nothing is stored, and nothing is sent but questions.

use std::collections::HashSet;

use chrono::Utc;
use uuid::Uuid;

use crate::id::JobId;
use crate::identity::{Kind, RowKey};
use crate::job::{Job, Mode, Trigger};
use crate::plan::decide::Verdict;
use crate::plan::membership::{Named, NestedGroups};
use crate::provider::Refusal;
use crate::snapshot::{ResolvedMember, Row, Seen, Standing};
use crate::store::Lease;
use crate::sync::explain::Belongs;
use crate::sync::propose::Draft;
use crate::sync::propose::around::Around;
use crate::sync::propose::managers::Manager;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay};

/// What a run would do about one row.
pub(in crate::sync) struct Foreseen {
    /// The steps, what is wrong, what is waited for.
    pub(in crate::sync) verdict: Verdict,
    /// What of it waits for a person, or was rejected or undone by one; in words.
    pub(in crate::sync) held: Vec<String>,
    /// What of it the target refused before and waits for another try; in words.
    pub(in crate::sync) refused: Vec<String>,
    /// Whether it depends on what the target has, and that could not be asked.
    pub(in crate::sync) is_unknown: bool,
    /// Why not.
    pub(in crate::sync) refusal: Option<Refusal>,
    /// Whom a user names as manager who has no resource at the target yet.
    pub(in crate::sync) manager_waits: bool,
    /// What becomes of the members that a group names.
    pub(in crate::sync) members: Vec<(ResolvedMember, Belongs)>,
}

impl Foreseen {
    /// Nothing, as far as can be told.
    fn nothing() -> Self {
        Self {
            verdict: Verdict::nothing(),
            held: Vec::new(),
            refused: Vec::new(),
            is_unknown: false,
            refusal: None,
            manager_waits: false,
            members: Vec::new(),
        }
    }

    /// What depends on a target that does not answer.
    pub(in crate::sync) fn unknown(refusal: Option<Refusal>) -> Self {
        Self {
            is_unknown: true,
            refusal,
            ..Self::nothing()
        }
    }
}

/// Decides about a row as the next run would, had it read the entry just now. `changed` says that the store does not have
/// the entry as it is.
pub(in crate::sync) async fn foresee(
    relay: &Relay,
    row: &Row,
    changed: bool,
) -> Result<Foreseen, Error> {
    // Nobody was ever given this term, so the store refuses whatever would be written under it.
    let lease = Lease {
        directory: relay.directory.id,
        term: 0,
    };
    let id = JobId(Uuid::now_v7());
    let job = Job::queued(id, &relay.key(), Trigger::Manual, Mode::Preview, Utc::now());
    let (tracker, in_doubt) = (Tracker::of_nobody(job), HashSet::new());
    let mut draft = Draft::new(relay, &lease, &in_doubt, &tracker).await?;
    let mut foreseen = Foreseen::nothing();
    let Some((_, seen)) = row.owner().filter(|_| draft.is_mine(row)) else {
        return Ok(foreseen);
    };
    if draft.wants_names_apart(row.key.kind) && row.applied.is_none() {
        draft.note_wanted_names(std::slice::from_ref(row)).await?;
    }
    let mut around = draft.around(&[row]).await?;
    if changed && seen.standing == Standing::Present {
        draft.renew(&mut around, &row.key, seen).await?;
    }
    let fresh = draft.fresh_match(row, seen).await?;
    let row = fresh.as_ref().unwrap_or(row);
    let verdict = draft.decide(row, seen, &around).await?;
    draft.held.load(relay, &[row]).await?;
    (foreseen.verdict, _) = draft.held.without(&row.key, verdict, false);
    foreseen.held = draft.held.told();
    foreseen.refused = draft.explain_refused(row, &foreseen.verdict.steps);
    foreseen.manager_waits = matches!(around.managers.get(&row.key), Some(Manager::Waits(_)));
    if let Some(named) = around.named.remove(&row.key) {
        foreseen.members = draft.belonging(named).await?;
    }
    Ok(foreseen)
}

impl Draft<'_> {
    /// Puts whom the entry names now in the place of whom it named when it was last read.
    async fn renew(&self, around: &mut Around, key: &RowKey, seen: &Seen) -> Result<(), Error> {
        let members = &seen.identity.members;
        let names = self.relay.counted();
        let keys: Vec<_> = members.iter().map(|member| member.key).collect();
        let store = &self.relay.store;
        let rows = store.named(self.relay.directory.id, &names, keys).await?;
        let mut resolved = Vec::new();
        for (member, rows) in members.iter().zip(rows) {
            let name = member.key;
            if rows.is_empty() {
                resolved.push(ResolvedMember { name, row: None });
            }
            let there = rows.into_iter().map(|row| ResolvedMember {
                name,
                row: Some(row),
            });
            resolved.extend(there);
        }
        match key.kind {
            Kind::Group => {
                let named = Named::from([(key.clone(), resolved)]);
                let groups = [key.clone()];
                around.named = self.named_beside(&groups, named).await?;
            }
            Kind::User if self.relay.profile.mapping.manager_attribute().is_some() => {
                around.managers.remove(key);
                if let Some(manager) = resolved.pop() {
                    let manager = self.manager_of(manager.row).await?;
                    around.managers.insert(key.clone(), manager);
                }
            }
            Kind::User => {}
        }
        Ok(())
    }

    /// What becomes of those whom a group names.
    async fn belonging(
        &self,
        named: Vec<ResolvedMember>,
    ) -> Result<Vec<(ResolvedMember, Belongs)>, Error> {
        let rows: Vec<RowKey> = named.iter().filter_map(|one| one.row.clone()).collect();
        let store = &self.relay.store;
        let links = store.links(self.relay.directory.id, rows).await?;
        let mut links = links.into_iter();
        let within = self.relay.profile.nested_groups;
        let belongs = |member: ResolvedMember| {
            let belongs = match &member.row {
                None => Belongs::OutOfScope,
                Some(row) => match (row.kind, links.next().flatten()) {
                    (Kind::Group, _) if within == NestedGroups::Direct => Belongs::GroupWithin,
                    (Kind::Group, _) if within == NestedGroups::Flatten => Belongs::Linked,
                    (_, Some(_)) => Belongs::Linked,
                    (_, None) => Belongs::Unlinked,
                },
            };
            (member, belongs)
        };
        Ok(named.into_iter().map(belongs).collect())
    }
}
