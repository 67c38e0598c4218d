//! Who gets a userName, and who is linked to what has his name: nobody whose name is taken, and none of two who want the same.

use crate::identity::digest::short;
use crate::identity::{Kind, RowKey};
use crate::plan::Action;
use crate::plan::decide::{self, Verdict};
use crate::snapshot::{Row, Seen};
use crate::sync::Error;
use crate::sync::propose::{Draft, ROWS_PER_TURN};

impl Draft<'_> {
    /// Notes the userNames of those who wait to be created, apart from these.
    pub(super) async fn note_wanted_names(&mut self, apart: &[Row]) -> Result<(), Error> {
        let names = self.relay.counted();
        let mut after = None;
        loop {
            let store = &self.relay.store;
            let rows = store
                .dirty_rows(self.relay.directory.id, &names, after, ROWS_PER_TURN)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = Some(last.key.clone());
            for row in rows {
                let waits = self.wants_names_apart(row.key.kind)
                    && row.applied.is_none()
                    && self.is_mine(&row)
                    && apart.iter().all(|other| other.key != row.key);
                let Some((_, seen)) = row.owner().filter(|_| waits) else {
                    continue;
                };
                let desired = self
                    .relay
                    .desired(&self.relay.profile, &seen.identity, self.now);
                let verdict = match row.key.kind {
                    Kind::User => decide::user(&row, seen, desired, &self.policy),
                    Kind::Group => decide::group(&row, seen, desired, &[], &[], &self.policy),
                };
                if let Some(name) = created(&verdict) {
                    let slot = slot(row.key.kind, &name);
                    self.names.entry(slot).or_insert(row.key.anchor);
                }
            }
        }
    }

    /// Whether no two new resources of a kind may have one name.
    pub(super) fn wants_names_apart(&self, kind: Kind) -> bool {
        kind == Kind::User || self.relay.tenant.dialect.unique_group_names
    }

    /// Whether somebody else has the userName, or wants it too. Of two new entries with one name none gets it, so that
    /// the order of reading never decides who may log in under a name.
    pub(super) async fn rival(
        &mut self,
        row: &Row,
        seen: &Seen,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let kind = row.key.kind;
        if self.anybody_linked
            && kind == Kind::User
            && let Some(holder) = self
                .relay
                .store
                .holder_of_name(self.relay.directory.id, name)
                .await?
            && holder != row.key
        {
            return Ok(Some(format!(
                "the user name is taken by the linked account of another entry ({}); rename one of the two, or decide \
                 that it is the same person",
                holder.anchor
            )));
        }
        let slot = slot(kind, name);
        let Some(anchor) = self.names.get(&slot).cloned() else {
            self.names.insert(slot, row.key.anchor.clone());
            return Ok(None);
        };
        let other = RowKey { kind, anchor };
        let other_dn = self.dn_of(&other).await?;
        if self.colliding.insert(other.clone()) {
            let problem = collision(kind, &seen.identity.dn);
            self.cannot_map(&other, &other_dn, problem).await;
        }
        Ok(Some(collision(kind, &other_dn)))
    }

    /// What is to be done for a row, unless it is to link a resource that another row is to be linked to as well: one of
    /// them is somebody else, and the order of reading must not decide which.
    pub(super) async fn without_shared_link(
        &mut self,
        row: &Row,
        seen: &Seen,
        verdict: Verdict,
    ) -> Result<Verdict, Error> {
        let Some(Action::Link { id, .. }) = verdict.steps.first().map(|step| &step.action) else {
            return Ok(verdict);
        };
        let dn = &seen.identity.dn;
        let slot = short(&[row.key.kind.as_str().as_bytes(), id.as_bytes()]);
        let Some(anchor) = self.linking.get(&slot).cloned() else {
            self.linking.insert(slot, row.key.anchor.clone());
            return Ok(verdict);
        };
        let kind = row.key.kind;
        let other = RowKey { kind, anchor };
        let other_dn = self.dn_of(&other).await?;
        if self.colliding.insert(other.clone()) {
            self.cannot_map(&other, &other_dn, shared_link(id, dn))
                .await;
        }
        Ok(Verdict::problem(shared_link(id, &other_dn)))
    }

    /// The DN of another row, for people.
    async fn dn_of(&self, key: &RowKey) -> Result<String, Error> {
        let names = self.relay.counted();
        let (store, directory) = (&self.relay.store, self.relay.directory.id);
        let rows = store.rows(directory, &names, vec![key.clone()]).await?;
        let seen = rows.first().and_then(|row| row.owner());
        Ok(seen.map_or_else(
            || key.anchor.to_string(),
            |(_, seen)| seen.identity.dn.clone(),
        ))
    }
}

fn slot(kind: Kind, name: &str) -> [u8; 16] {
    short(&[kind.as_str().as_bytes(), name.as_bytes()])
}

/// The userName or displayName, in lower case, of the user or group that is to be created.
pub(super) fn created(verdict: &Verdict) -> Option<String> {
    let step = verdict.steps.first()?;
    let Action::Create { attributes, .. } = &step.action else {
        return None;
    };
    let name = attributes
        .get(&decide::name_path(step.key.kind))?
        .as_text()?;
    Some(name.to_lowercase())
}

fn shared_link(id: &str, other: &str) -> String {
    format!(
        "resource {id} of the target may belong to two entries by their names, so it is linked to neither; the other one is \
         {other}. Rename one of the two"
    )
}

fn collision(kind: Kind, other: &str) -> String {
    let (what, name) = match kind {
        Kind::User => ("entries", "user name"),
        Kind::Group => (
            "groups",
            "name, which the target takes once only (uniqueGroupNames)",
        ),
    };
    format!(
        "two new {what} have the same {name}, so neither is created; the other one is {other}. Rename one of the two"
    )
}
