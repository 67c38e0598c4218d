//! Urgent: whoever leaves while a long job of the directory sends does not wait for its end (specification page 8, 9).
//!
//! The directory is read again and a second plan made, of nothing but deactivations, deletions and removals of members. It is carried
//! out at once beside the long job, under the same lease and in the tenant's lane for leavers.

use std::collections::HashSet;

use crate::identity::RowKey;
use crate::plan::Plan;
use crate::store::Lease;
use crate::sync::proof::Reader;
use crate::sync::propose::{self, Rows};
use crate::sync::stop::Stop;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, apply, ingest, ownership, target};

/// The flights of an urgent run; answers whether something waits for a person.
pub(super) async fn flights(relay: &Relay, tracker: &Tracker, stop: &Stop) -> Result<bool, Error> {
    let Some(lease) = relay.traffic.lease() else {
        let text = "the job that was to be overtaken has ended; the next one reads the directory";
        tracker.update(|job| job.warnings.push(text.to_owned()));
        return Ok(false);
    };
    let reader = Reader::new(relay);
    let run = Urgent {
        relay,
        lease,
        reader: &reader,
        tracker,
        stop,
    };
    let waits = run.fly().await;
    reader.close().await;
    waits
}

struct Urgent<'a> {
    relay: &'a Relay,
    lease: Lease,
    reader: &'a Reader<'a>,
    tracker: &'a Tracker,
    stop: &'a Stop,
}

impl Urgent<'_> {
    async fn fly(&self) -> Result<bool, Error> {
        let busy = tokio::select! {
            busy = Box::pin(self.read()) => busy?,
            () = self.stop.token().cancelled() => return Ok(false),
        };
        let Some(busy) = busy else {
            return Ok(false);
        };
        let plan = self.round(Rows::Leavers).await?;
        if !plan.holds.is_empty() || self.stop.token().is_cancelled() {
            return Ok(plan.waits_for_approval());
        }
        // What was on its way while the directory was read is decided when it has arrived: who was being created, and groups.
        tokio::select! {
            () = self.relay.traffic.settled(&busy) => {}
            () = self.stop.token().cancelled() => return Ok(false),
        }
        let mut arrived: Vec<RowKey> = busy.into_iter().collect();
        arrived.sort();
        let plan = self.round(Rows::LeaversAmong(arrived)).await?;
        Ok(plan.waits_for_approval())
    }

    /// Reads the directory; answers the rows that the long flight was busy with by then. `None` where nothing may be concluded.
    async fn read(&self) -> Result<Option<HashSet<RowKey>>, Error> {
        let Self {
            relay,
            lease,
            reader,
            tracker,
            ..
        } = self;
        target::same_address(relay, lease).await?;
        if !ingest::is_defined_as_before(relay).await? {
            let text = "the profile was changed since the job that runs began; the next one looks at everybody anew";
            tracker.update(|job| job.warnings.push(text.to_owned()));
            return Ok(None);
        }
        let reading = relay.traffic.read_beside().await;
        ingest::read_directory(relay, lease, reader, tracker).await?;
        ownership::settle_disagreements(relay, lease, reader, tracker).await?;
        drop(reading);
        Ok(Some(relay.traffic.busy()))
    }

    /// Plans and carries out. What a plan holds stays in the store with it, and then it is the job's only one.
    async fn round(&self, rows: Rows) -> Result<Plan, Error> {
        let (relay, tracker, stop) = (self.relay, self.tracker, self.stop.token());
        let (lease, none) = (&self.lease, HashSet::new());
        let plan = propose::make_plan(relay, lease, rows, &none, tracker).await?;
        if !stop.is_cancelled() {
            apply::carry_out(relay, lease, &plan, self.reader, tracker, stop).await?;
        }
        Ok(plan)
    }
}
