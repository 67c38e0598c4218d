//! What decides with a row besides itself, and the decision that follows: one for plans and for what is only foreseen.

use std::collections::{BTreeSet, HashMap};

use crate::identity::{Kind, RowKey};
use crate::plan::decide::Verdict;
use crate::plan::membership::Named;
use crate::snapshot::{Row, Seen};
use crate::sync::Error;
use crate::sync::propose::Draft;
use crate::sync::propose::managers::Managers;

/// What decides with some rows, besides what they are themselves.
pub(super) struct Around {
    /// The members that groups name.
    pub(super) named: Named,
    /// The groups that users belong to.
    pub(super) groups: HashMap<RowKey, BTreeSet<RowKey>>,
    /// Whom users have as managers.
    pub(super) managers: Managers,
}

impl Draft<'_> {
    /// What decides with these rows, all of one kind.
    pub(super) async fn around(&mut self, rows: &[&Row]) -> Result<Around, Error> {
        let users = rows.iter().filter(|row| row.key.kind == Kind::User);
        let users = users.map(|row| row.key.clone()).collect();
        let around = Around {
            named: self.named_members(rows).await?,
            groups: self.roles.groups_of(self.relay, users).await?,
            managers: self.managers_of(rows).await?,
        };
        self.look_at(rows, &around.managers).await?;
        Ok(around)
    }

    /// What a row of the profile that runs needs.
    pub(super) async fn decide(
        &mut self,
        row: &Row,
        seen: &Seen,
        around: &Around,
    ) -> Result<Verdict, Error> {
        let (groups, managers) = (&around.groups, &around.managers);
        let verdict = match row.key.kind {
            Kind::User => self.decide_user(row, seen, groups, managers).await?,
            Kind::Group => self.decide_group(row, seen, &around.named).await?,
        };
        self.without_shared_link(row, seen, verdict).await
    }
}
