//! Leavers: what is taken away from rows that are linked, planned alone and beside a longer plan that is carried out.
//!
//! Marks stay as they are, and nothing is told of a row that something else is wrong with: a run of everything does both.

use crate::identity::{Kind, RowKey};
use crate::plan::decide;
use crate::plan::membership::NestedGroups;
use crate::snapshot::Row;
use crate::sync::Error;
use crate::sync::propose::Draft;

impl Draft<'_> {
    /// Decides what is taken away from the rows that differ.
    pub(super) async fn add_leavers(&mut self) -> Result<(), Error> {
        let mut after = None;
        if self.relay.profile.nested_groups == NestedGroups::Flatten {
            self.relay.store.mark_ancestors(self.lease).await?;
        }
        while let Some(rows) = self.relay.next_marked(&mut after).await? {
            self.add_removals(rows).await?;
        }
        Ok(())
    }

    /// The same of these rows, in order.
    pub(super) async fn add_leavers_among(&mut self, keys: Vec<RowKey>) -> Result<(), Error> {
        let rows = self.relay.rows(keys).await?;
        self.add_removals(rows).await
    }

    async fn add_removals(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        let linked = rows.iter().filter(|row| row.applied.is_some());
        let mine: Vec<&Row> = linked.filter(|row| self.is_mine(row)).collect();
        let named = self.named_members(&mine).await?;
        self.held.load(self.relay, &mine).await?;
        let mut steps = Vec::new();
        for row in mine {
            let Some((_, seen)) = row.owner() else {
                continue;
            };
            let verdict = match row.key.kind {
                Kind::User => {
                    let profile = &self.relay.profile;
                    let desired = self.relay.desired(profile, &seen.identity, self.now);
                    decide::user(row, seen, desired, &self.policy_for(row, seen))
                }
                Kind::Group => self.decide_group(row, seen, &named).await?,
            };
            self.stays_marked(seen);
            self.note_end_of_grace(seen, verdict.waits);
            let (verdict, _) = self.held.without(&row.key, verdict, true);
            let mut removals = verdict.steps;
            removals.retain_mut(|step| {
                step.last_of_row = false;
                step.class.is_removal()
            });
            self.count_all(row, &removals);
            steps.extend(removals);
        }
        if !steps.is_empty() {
            let job = self.tracker.job().id;
            self.relay.store.add_steps(self.lease, job, steps).await?;
        }
        Ok(())
    }
}
