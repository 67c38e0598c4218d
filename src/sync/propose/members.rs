//! Who shall belong to a group: the rows that it names, and those of them that have a resource at the target; and who is
//! looked at again when they get one.

use std::collections::HashSet;

use crate::identity::{Kind, RowKey};
use crate::plan::membership::{self, Named, NestedGroups};
use crate::plan::{Class, Step};
use crate::snapshot::{Row, Standing};
use crate::sync::propose::Draft;
use crate::sync::{Error, Relay};

/// The members that a group shall have as the directory was last read, whether they have a resource or not; in order.
pub(in crate::sync) async fn wanted(relay: &Relay, group: &RowKey) -> Result<Vec<RowKey>, Error> {
    let nested = relay.profile.nested_groups;
    let named = named(relay, std::slice::from_ref(group), nested).await?;
    Ok(membership::membership(group, nested, &named).members)
}

/// The members that groups name, with all groups within where they are flattened.
pub(in crate::sync) async fn named(
    relay: &Relay,
    groups: &[RowKey],
    nested: NestedGroups,
) -> Result<Named, Error> {
    named_beside(relay, groups, nested, Named::new()).await
}

async fn named_beside(
    relay: &Relay,
    groups: &[RowKey],
    nested: NestedGroups,
    mut named: Named,
) -> Result<Named, Error> {
    loop {
        let missing = membership::missing(groups, nested, &named);
        if missing.is_empty() {
            return Ok(named);
        }
        let names = relay.counted();
        let (store, directory) = (&relay.store, relay.directory.id);
        let members = store.members(directory, &names, missing.clone()).await?;
        named.extend(missing.into_iter().zip(members));
    }
}

impl Draft<'_> {
    /// The members that the groups among these rows name, with all groups within where they are flattened.
    pub(super) async fn named_members(&self, rows: &[&Row]) -> Result<Named, Error> {
        let groups: Vec<RowKey> = rows
            .iter()
            .filter(|row| row.key.kind == Kind::Group)
            .map(|row| row.key.clone())
            .collect();
        self.named_beside(&groups, Named::new()).await
    }

    /// The same, where the members of some groups are known already.
    pub(super) async fn named_beside(
        &self,
        groups: &[RowKey],
        named: Named,
    ) -> Result<Named, Error> {
        named_beside(self.relay, groups, self.relay.profile.nested_groups, named).await
    }

    /// Members that have, or will have, a resource at the target; and how many have none. Those whom the relay put into the
    /// group, in order, have one: who loses it loses all memberships with it. So a large group costs what changed in it.
    pub(super) async fn linked_or_joining(
        &self,
        members: Vec<RowKey>,
        present: &[RowKey],
    ) -> Result<(Vec<RowKey>, u64), Error> {
        // A group within a group may be planned after it; it is resolved when members are sent.
        let asked: Vec<RowKey> = members
            .iter()
            .filter(|row| row.kind == Kind::User && present.binary_search(row).is_err())
            .filter(|row| !self.joining.has(row))
            .cloned()
            .collect();
        let links = self
            .relay
            .store
            .links(self.relay.directory.id, asked.clone())
            .await?;
        let unlinked: HashSet<RowKey> = asked
            .into_iter()
            .zip(links)
            .filter(|(_, link)| link.is_none())
            .map(|(row, _)| row)
            .collect();
        let count = unlinked.len() as u64;
        Ok((
            members
                .into_iter()
                .filter(|row| !unlinked.contains(row))
                .collect(),
            count,
        ))
    }

    /// A group that has no resource yet and gets one by this plan joins with it the groups that name it, some of which come
    /// before it.
    pub(super) async fn mark_groups_naming_new_groups(
        &self,
        after: &Option<RowKey>,
    ) -> Result<(), Error> {
        let mut after = after.clone();
        while let Some(rows) = self.next_marked(Kind::Group, &mut after).await? {
            let is_there = |row: &Row| {
                let mut seen = row.owner().into_iter();
                seen.any(|(_, seen)| seen.standing == Standing::Present)
            };
            let new = rows.into_iter();
            let new = new.filter(|row| row.applied.is_none() && self.is_mine(row) && is_there(row));
            self.mark_rows_naming(new.map(|row| row.key).collect())
                .await?;
        }
        Ok(())
    }

    /// A user who is linked by this plan joins with the same plan the groups that name him already, and becomes the manager
    /// of the users who do.
    pub(super) async fn mark_rows_naming_joiners(&self, steps: &[Step]) -> Result<(), Error> {
        let joiners: Vec<RowKey> = steps
            .iter()
            .filter(|step| matches!(step.class, Class::CreateUser | Class::Link))
            .map(|step| step.key.clone())
            .collect();
        self.mark_rows_naming(joiners).await
    }

    async fn mark_rows_naming(&self, named: Vec<RowKey>) -> Result<(), Error> {
        if named.is_empty() || self.all_marked {
            return Ok(());
        }
        let names = self.relay.counted();
        let store = &self.relay.store;
        let rows = store
            .rows_naming(self.relay.directory.id, &names, named)
            .await?;
        let rows = rows.into_iter().flatten().collect();
        Ok(store.mark_dirty(self.lease, rows).await?)
    }
}
