//! A plan that undoes what an earlier job changed.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use crate::fault::Fault;
use crate::id::JobId;
use crate::identity::RowKey;
use crate::plan::Plan;
use crate::plan::undo::Net;
use crate::snapshot::Row;
use crate::store::Lease;
use crate::store::jobs::JournalLine;
use crate::sync::ownership::Present;
use crate::sync::propose::{Draft, ROWS_PER_TURN};
use crate::sync::tracker::{Tracker, row_error};
use crate::sync::{Error, Relay};

/// Plans what puts back what a job changed.
pub(in crate::sync) async fn plan(
    relay: &Relay,
    lease: &Lease,
    undoes: JobId,
    in_doubt: &HashSet<RowKey>,
    tracker: &Tracker,
) -> Result<Plan, Error> {
    tracker.phase("planning").await;
    let nets: Vec<(RowKey, Net)> = changed_by(relay, undoes).await?.into_iter().collect();
    let undone = relay.store.job(undoes).await?;
    let ended = undone.and_then(|job| job.completed_at);
    let mut draft = Draft::new(relay, lease, in_doubt, tracker).await?;
    for turn in nets.chunks(ROWS_PER_TURN) {
        draft.put_back(turn, ended).await?;
    }
    let plan = draft.seal().await?;
    super::note_plan(&plan, None, tracker);
    Ok(plan)
}

/// What a job changed of each row, in order of their keys.
async fn changed_by(relay: &Relay, job: JobId) -> Result<BTreeMap<RowKey, Net>, Error> {
    let mut nets: BTreeMap<RowKey, Net> = BTreeMap::new();
    let mut after = None;
    loop {
        let lines = relay.store.changes(job, after, ROWS_PER_TURN).await?;
        let Some((last, _)) = lines.last() else {
            return Ok(nets);
        };
        after = Some(*last);
        for (_, line) in lines {
            let JournalLine::Sent(change) = line else {
                continue;
            };
            if change.error.is_none() {
                let net = nets.entry(change.key).or_default();
                net.add(&change.dn, &change.action);
            }
        }
    }
}

impl Draft<'_> {
    /// `ended` is when the job that is undone ended.
    async fn put_back(
        &mut self,
        nets: &[(RowKey, Net)],
        ended: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let keys = nets.iter().map(|(key, _)| key.clone()).collect();
        let rows = self.relay.rows(keys).await?;
        let mut steps = Vec::new();
        for (row, (_, net)) in rows.iter().zip(nets) {
            if let Some(why) = net.lasting {
                self.cannot(row, net, why).await;
            }
            let (Some(applied), Some((_, seen))) = (&row.applied, row.owner()) else {
                if net.lasting.is_none() {
                    self.cannot(row, net, "it is not linked any more").await;
                }
                continue;
            };
            // What was taken away for good meanwhile must not come back.
            if row.last.changed_at > ended {
                self.cannot(
                    row,
                    net,
                    "a later job changed it as well; undo that one first",
                )
                .await;
                continue;
            }
            if self.in_doubt.contains(&row.key) {
                self.cannot(row, net, "what became of an earlier request is not known")
                    .await;
                continue;
            }
            let (store, directory) = (&self.relay.store, self.relay.directory.id);
            let members = store.applied_members(directory, &row.key).await?;
            let (of_row, changed_since) = net.steps(&row.key, applied, &members, seen.digest);
            if changed_since {
                self.cannot(
                    row,
                    net,
                    "something of it was changed since, and stays as it is",
                )
                .await;
            }
            self.weights.loses(
                &row.key,
                &Present {
                    members,
                    leavers: Vec::new(),
                    in_doubt: false,
                },
            );
            for step in of_row {
                self.count(&step);
                self.weigh(row, &step);
                steps.push(step);
            }
        }
        if !steps.is_empty() {
            let job = self.tracker.job().id;
            self.relay.store.add_steps(self.lease, job, steps).await?;
        }
        Ok(())
    }

    async fn cannot(&self, row: &Row, net: &Net, why: &str) {
        let detail = format!("it could not be undone whole: {why}");
        let error = row_error(&row.key, &net.dn, "undo", Fault::Rejected, detail);
        self.tracker.record(error).await;
    }
}
