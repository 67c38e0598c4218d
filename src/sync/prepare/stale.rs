//! What a plan says and the directory does not say any more: it is left out, its row keeps its mark, and the next run plans anew.
//!
//! A removal proves its own reason just before it is sent, so this is about whatever gives something.

use std::collections::HashSet;

use crate::identity::RowKey;
use crate::plan::{Action, Step};
use crate::scim::Value;
use crate::scim::path::AttributePath;
use crate::snapshot::{Row, Standing};
use crate::sync::flight::{Flight, Mandate};
use crate::sync::prepare::Operation;
use crate::sync::roles::Roles;
use crate::sync::traffic::Departure;
use crate::sync::{Error, propose};

impl Flight<'_> {
    /// Takes the rows of these steps over where the flight is urgent; the steps whose rows the long flight is busy with come apart.
    pub(super) fn take_over(&self, steps: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
        if !self.urgent {
            return (steps, Vec::new());
        }
        let rows = steps.iter().map(|step| step.key.clone());
        let busy = self.relay.traffic.take_over(rows);
        steps
            .into_iter()
            .partition(|step| !busy.contains(&step.key))
    }

    /// Waits until the long flight is not busy with the rows of these steps; false when the flight ended before.
    pub(super) async fn once_settled(&self, steps: &[Step]) -> bool {
        let rows = steps.iter().map(|step| step.key.clone()).collect();
        tokio::select! {
            () = self.relay.traffic.settled(&rows) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Whether a prepared operation may still be sent; one that was prepared before the directory was read beside the flight is looked
    /// at again.
    pub(in crate::sync) async fn departs(&self, operation: &mut Operation) -> bool {
        if self.urgent {
            return true;
        }
        loop {
            let news = operation.news;
            match self.relay.traffic.departs(operation.part(), news) {
                Departure::Free => return true,
                Departure::Taken => return false,
                Departure::Look(news) => operation.news = news,
            }
            // A store that fails ends the flight where outcomes are settled.
            if !is_still_said(self, operation).await.unwrap_or(false) {
                return false;
            }
        }
    }
}

/// Whether the directory says still what an operation was prepared from.
async fn is_still_said(flight: &Flight<'_>, operation: &Operation) -> Result<bool, Error> {
    let step = std::slice::from_ref(&*operation.step);
    if operation.step.class.is_removal() {
        return Ok(true);
    }
    let rows = flight.relay.rows(vec![operation.step.key.clone()]).await?;
    let stale = rows.iter().any(|row| is_stale(flight, &step[0], row));
    if stale || !doubtful_roles(flight, step, &rows).await?.is_empty() {
        return Ok(false);
    }
    let members: Vec<RowKey> = operation
        .members
        .iter()
        .map(|(row, _)| row.clone())
        .collect();
    let there = there(flight, &members).await?;
    Ok(there.len() == members.len())
}

/// Whether a step would give something although its entry is not what it was, or its row is another flight's by now.
pub(super) fn is_stale(flight: &Flight<'_>, step: &Step, row: &Row) -> bool {
    let changed = || {
        row.owner()
            .is_none_or(|(_, seen)| seen.digest != step.based_on)
    };
    let taken = !flight.urgent && flight.relay.traffic.is_taken(&step.key);
    taken || (!step.class.is_removal() && changed())
}

/// The members of a group that are to be added, without those who left in the meantime; nor, where the plan waited for a person, those
/// whom the group does not want any more, be it because of a group within.
pub(super) async fn without_leavers(
    flight: &Flight<'_>,
    group: &RowKey,
    members: &[RowKey],
) -> Result<Vec<RowKey>, Error> {
    if !flight.may_be_stale() {
        return Ok(members.to_vec());
    }
    let mut there = there(flight, members).await?;
    if flight.mandate == Mandate::Approved {
        let wanted = propose::members::wanted(flight.relay, group).await?;
        there.retain(|member| wanted.binary_search(member).is_ok());
    }
    if there.len() < members.len() {
        flight.leave_out(group);
    }
    Ok(there)
}

async fn there(flight: &Flight<'_>, members: &[RowKey]) -> Result<Vec<RowKey>, Error> {
    let is_there = |row: &Row| {
        row.owner()
            .is_some_and(|(_, seen)| seen.standing == Standing::Present)
    };
    let rows = flight.relay.rows(members.to_vec()).await?;
    let there = rows.into_iter().filter(is_there);
    Ok(there.map(|row| row.key).collect())
}

/// The users to whom these steps would give roles that their groups do not give them any more, or from whom they would take some that
/// these give: their own entries do not show that.
pub(super) async fn doubtful_roles(
    flight: &Flight<'_>,
    steps: &[Step],
    rows: &[Row],
) -> Result<HashSet<RowKey>, Error> {
    let relay = flight.relay;
    let rules = relay.profile.mapping.roles();
    let mut doubtful = HashSet::new();
    if rules.is_empty() || !flight.may_be_stale() {
        return Ok(doubtful);
    }
    let mut roles = Roles::of_now(relay).await?;
    let keys = steps.iter().map(|step| step.key.clone()).collect();
    let groups = roles.groups_of(relay, keys).await?;
    for (step, row) in steps.iter().zip(rows) {
        let mut granted = Default::default();
        roles.add_to(relay, &mut granted, row, &groups);
        let differs = rules.iter().any(|rule| {
            let granted = granted.get(&rule.path).map_or(&[][..], Value::as_texts);
            let mut given = given(step, &rule.path)
                .map_or(&[][..], Value::as_texts)
                .iter();
            let takes_more = step
                .taken(&rule.path)
                .iter()
                .any(|value| granted.iter().any(|given| given == value));
            takes_more || given.any(|value| !granted.contains(value))
        });
        if differs {
            doubtful.insert(step.key.clone());
        }
    }
    Ok(doubtful)
}

/// What a step gives a user of an attribute.
fn given<'a>(step: &'a Step, path: &AttributePath) -> Option<&'a Value> {
    match &step.action {
        Action::Create { attributes, .. } | Action::Link { attributes, .. } => attributes.get(path),
        Action::Change { changes } => {
            let mut changes = changes.iter().filter(|change| change.path == *path);
            changes.find_map(|change| change.after.as_ref())
        }
        Action::AddMembers(_)
        | Action::RemoveMembers(_)
        | Action::Delete { .. }
        | Action::SetManager(_) => None,
    }
}
