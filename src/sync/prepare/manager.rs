//! Setting a manager: the step becomes the change of an attribute when it is sent, because only then all ids are known.

use std::sync::Arc;

use crate::identity::RowKey;
use crate::mapping::resource_type;
use crate::plan::{Action, Step, decide};
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value, encode};
use crate::snapshot::Applied;
use crate::sync::Error;
use crate::sync::flight::Flight;
use crate::sync::prepare::{Operation, Task, resolved};

/// The change that sets a user's manager, by the id that he got meanwhile. One who got none is set by the run that links him,
/// because his link marks those who name him.
pub(super) async fn set(
    flight: &Flight<'_>,
    step: &Arc<Step>,
    applied: &Applied,
    failed_before: bool,
    manager: &RowKey,
) -> Result<Vec<Operation>, Error> {
    let path = AttributePath::manager();
    let found = resolved(flight, std::slice::from_ref(manager)).await?;
    let wanted = found
        .into_iter()
        .map(|(_, id)| (path.clone(), Value::Reference(id)));
    let wanted: Attributes = wanted.collect();
    let paths = wanted.keys().cloned().collect();
    let changes = decide::changes(&applied.attributes, &wanted, &paths);
    let (kind, dialect) = (resource_type(step.key.kind), &flight.relay.tenant.dialect);
    let task = match changes.is_empty() {
        true => Task::Settle,
        false => Task::Send(encode::update(
            kind,
            &applied.id,
            &applied.attributes,
            &changes,
            dialect,
        )),
    };
    Ok(vec![Operation {
        step: Arc::new(Step {
            action: Action::Change { changes },
            ..Step::clone(step)
        }),
        part: 0,
        last_part: true,
        applied: Some(applied.clone()),
        failed_before,
        members: Vec::new(),
        task,
        news: 0,
        room: None,
    }])
}
