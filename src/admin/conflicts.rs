//! Conflicts of attributes: what the directory says and the target holds, and which side persons take; the same for the API and
//! the command line.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::links::{Undecided, kind_of};
use crate::audit::{Deed, Event};
use crate::catalog::Hand;
use crate::directory::Directory;
use crate::document::{Fields, Node, Problems};
use crate::id::{ConflictId, ProfileName};
use crate::identity::{Kind, RowKey};
use crate::plan::decide::name_path;
use crate::scim::Value as ScimValue;
use crate::scim::path::AttributePath;
use crate::snapshot::{Conflict, Row, Side, Standing, Taken};
use crate::store::{Error, Store};

/// Rows that are read in one turn.
const ROWS_PER_TURN: usize = 500;

/// How a conflict stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ConflictState {
    /// It waits for a person.
    Open,
    /// The directory's value was taken; the next run sends it.
    Directory,
    /// The target's value was taken, by a person or by the profile's policy; it stays until the directory has a new one.
    Local,
}

impl ConflictState {
    pub(super) const ALL: [Self; 3] = [Self::Open, Self::Directory, Self::Local];

    fn of(conflict: &Conflict) -> Self {
        match conflict.taken.as_ref().map(|taken| taken.side) {
            None => Self::Open,
            Some(Side::Directory) => Self::Directory,
            Some(Side::Local) => Self::Local,
        }
    }
}

/// Which conflicts are meant; what is absent does not matter.
#[derive(Default)]
pub(super) struct Filter {
    pub(super) kind: Option<Kind>,
    pub(super) state: Option<ConflictState>,
    pub(super) attribute: Option<AttributePath>,
    /// In lower case.
    pub(super) text: Option<String>,
}

/// Up to which conflict a list was read.
pub(super) type Last = (RowKey, AttributePath);

/// An attribute in conflict, with the entry that it is of.
pub(super) struct Item {
    pub(super) key: RowKey,
    pub(super) conflict: Conflict,
    id: ConflictId,
    dn: String,
    profile: ProfileName,
    name: Option<String>,
    resource: String,
}

impl Item {
    /// A conflict of a row; `None` where the entry is gone, since nothing is sent for it any more.
    fn of(directory: &Directory, row: &Row, conflict: Conflict) -> Option<Self> {
        let (profile, seen) = row.owner()?;
        let applied = row.applied.as_ref()?;
        if seen.standing != Standing::Present {
            return None;
        }
        let name = applied.attributes.get(&name_path(row.key.kind));
        Some(Self {
            id: conflict.id(directory.id, &row.key),
            key: row.key.clone(),
            conflict,
            dn: seen.identity.dn.clone(),
            profile: profile.clone(),
            name: name.and_then(ScimValue::as_text).map(str::to_owned),
            resource: applied.id.clone(),
        })
    }

    fn passes(&self, filter: &Filter) -> bool {
        let has = |text: &String| {
            let parts = [Some(&self.dn), self.name.as_ref(), Some(&self.resource)];
            let mut parts = parts.into_iter().flatten();
            parts.any(|part| part.to_lowercase().contains(text))
        };
        let path = &self.conflict.path;
        filter.kind.is_none_or(|kind| kind == self.key.kind)
            && (filter.state).is_none_or(|state| state == ConflictState::of(&self.conflict))
            && filter.attribute.as_ref().is_none_or(|asked| asked == path)
            && filter.text.as_ref().is_none_or(has)
    }

    /// The conflict as it is shown.
    pub(super) fn shown(&self) -> Value {
        let Conflict {
            path,
            base,
            directory,
            iam,
            since,
            taken,
        } = &self.conflict;
        let value = |value: &Option<ScimValue>| value.as_ref().map(ScimValue::to_json);
        json!({
            "id": self.id,
            "kind": self.key.kind,
            "anchor": self.key.anchor.to_string(),
            "dn": self.dn,
            "name": self.name,
            "profile": self.profile,
            "resourceId": self.resource,
            "attribute": path.to_string(),
            "base": value(base),
            "directory": value(directory),
            "iam": value(iam),
            "state": ConflictState::of(&self.conflict),
            "since": since,
            "takenAt": taken.as_ref().map(|taken| taken.at),
            "takenBy": taken.as_ref().and_then(|taken| taken.by.as_ref()),
        })
    }

    /// Where it stands in the list.
    pub(super) fn position(&self) -> Last {
        (self.key.clone(), self.conflict.path.clone())
    }
}

/// The conflicts of the next rows that pass; and the last one that was looked at, `None` after the last of all.
pub(super) async fn turn(
    store: &dyn Store,
    directory: &Directory,
    filter: &Filter,
    after: Option<Last>,
) -> Result<(Vec<Item>, Option<Last>), Error> {
    let names = directory.owners();
    let from = after.as_ref().map(|(row, _)| row.clone());
    let rows = store.conflicting_rows(directory.id, &names, from, ROWS_PER_TURN);
    let rows = rows.await?;
    let is_full = rows.len() == ROWS_PER_TURN;
    let mut last = None;
    let mut items = Vec::new();
    for (row, conflicts) in rows {
        for conflict in conflicts {
            let position = (row.key.clone(), conflict.path.clone());
            let is_new = after.as_ref().is_none_or(|after| position > *after);
            last = Some(position).filter(|_| is_full);
            items.extend(
                Item::of(directory, &row, conflict).filter(|one| is_new && one.passes(filter)),
            );
        }
    }
    Ok((items, last))
}

/// All conflicts, for the command line; `state` by its word.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn all(
    store: &dyn Store,
    directory: &Directory,
    state: Option<&str>,
) -> Result<Vec<Value>, Error> {
    let state = ConflictState::ALL
        .into_iter()
        .find(|known| Some(json!(known)) == state.map(Value::from));
    let filter = Filter {
        state,
        ..Filter::default()
    };
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let (turned, next) = turn(store, directory, &filter, after).await?;
        items.extend(turned.iter().map(Item::shown));
        after = next;
        if after.is_none() {
            return Ok(items);
        }
    }
}

/// What is done with conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// One side is taken.
    Resolve,
    /// An earlier decision is taken back.
    Release,
}

/// What a request asks for.
struct Request {
    /// `None` takes a decision back.
    take: Option<Side>,
    /// `None` means all that pass.
    ids: Option<Vec<ConflictId>>,
    filter: Filter,
}

/// Decides on the conflicts that a request names: `conflicts`, by their ids, or `all` of them, of one `kind` and one
/// `attribute` if that is said. Answers how many. Of those that are named, all are decided or none.
///
/// # Errors
/// When the request makes no sense, names what is no conflict any more, or the store cannot do it.
pub(crate) async fn decide(
    store: &dyn Store,
    directory: &Directory,
    verb: Verb,
    request: &Node,
    hand: &Hand,
) -> Result<u64, Undecided> {
    let mut problems = Problems::default();
    let request = read(verb, request, &mut problems);
    let request = problems.verdict(request).map_err(Undecided::Invalid)?;
    let Some(ids) = request.ids else {
        return decide_all(store, directory, request.take, &request.filter, hand).await;
    };
    let names = directory.owners();
    let found = store.named_conflicts(directory.id, &names, ids).await?;
    let mut items = Vec::new();
    let mut problems = Problems::default();
    for (at, found) in found.into_iter().enumerate() {
        let item = found.and_then(|(row, conflict)| Item::of(directory, &row, conflict));
        match item.map(|item| checked(item, request.take)) {
            Some(Ok(item)) => items.push(item),
            Some(Err(why)) => problems.add(None, &format!("/conflicts/{at}"), why),
            None => {
                let why =
                    "is no conflict any more, or not with these values; list the conflicts again";
                problems.add(None, &format!("/conflicts/{at}"), why);
            }
        }
    }
    problems.verdict(Some(())).map_err(Undecided::Invalid)?;
    write(store, directory, request.take, &items, hand).await?;
    Ok(items.len() as u64)
}

/// Decides on one conflict. Answers it as it is shown afterwards; `None` where there is none with this id.
///
/// # Errors
/// When the request makes no sense, or the store cannot do it.
pub(super) async fn decide_one(
    store: &dyn Store,
    directory: &Directory,
    id: ConflictId,
    request: &Node,
    hand: &Hand,
) -> Result<Option<Value>, Undecided> {
    let names = directory.owners();
    let found = store
        .named_conflicts(directory.id, &names, vec![id])
        .await?;
    let found = found.into_iter().flatten().next();
    let Some(item) = found.and_then(|(row, conflict)| Item::of(directory, &row, conflict)) else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    let mut fields = Fields::of(request, "", &mut problems);
    let take = side(&mut fields, &mut problems);
    fields.finish(&mut problems);
    let take = problems.verdict(take).map_err(Undecided::Invalid)?;
    let mut item = checked(item, Some(take)).map_err(|why| {
        let mut problems = Problems::default();
        problems.add(None, "/take", why);
        Undecided::Invalid(problems)
    })?;
    write(
        store,
        directory,
        Some(take),
        std::slice::from_ref(&item),
        hand,
    )
    .await?;
    item.conflict.taken = taken(Some(take), hand);
    Ok(Some(item.shown()))
}

fn side(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Side> {
    fields.required_text("take", "directory or local", problems);
    fields.parsed("take", problems, |word| match word {
        "directory" => Ok(Side::Directory),
        "local" => Ok(Side::Local),
        _ => Err("must be directory or local".to_owned()),
    })
}

fn read(verb: Verb, request: &Node, problems: &mut Problems) -> Option<Request> {
    let mut fields = Fields::of(request, "", problems);
    let take = match verb {
        Verb::Resolve => side(&mut fields, problems),
        Verb::Release => None,
    };
    let all = fields.boolean("all", false, problems);
    let kind = fields.parsed("kind", problems, kind_of);
    let attribute = fields.parsed("attribute", problems, |text| text.parse::<AttributePath>());
    let named = fields.has("conflicts");
    let mut ids = Vec::new();
    for (at, text) in fields
        .texts("conflicts", problems)
        .into_iter()
        .flatten()
        .enumerate()
    {
        match Uuid::try_parse(&text) {
            Ok(id) => ids.push(ConflictId(id)),
            Err(_) => problems.add(
                None,
                &format!("/conflicts/{at}"),
                "must be the id of a conflict",
            ),
        }
    }
    if named == all {
        let cure = "name some by `conflicts`, or write `all`: true for all that wait";
        fields.refuse("conflicts", cure, problems);
    }
    for (name, is_there) in [("kind", kind.is_some()), ("attribute", attribute.is_some())] {
        if named && is_there {
            fields.refuse(name, "goes with `all` only", problems);
        }
    }
    fields.finish(problems);
    let filter = Filter {
        kind,
        attribute,
        ..Filter::default()
    };
    Some(Request {
        take,
        ids: named.then_some(ids),
        filter,
    })
}

/// The conflict, if that can be done with it; else why not.
fn checked(item: Item, take: Option<Side>) -> Result<Item, &'static str> {
    match (take, item.conflict.decided()) {
        (None, None) => Err("nobody has decided it, so nothing can be taken back"),
        (Some(take), Some(decided)) if take == decided => Err("is decided so already"),
        _ => Ok(item),
    }
}

async fn decide_all(
    store: &dyn Store,
    directory: &Directory,
    take: Option<Side>,
    filter: &Filter,
    hand: &Hand,
) -> Result<u64, Undecided> {
    let (mut count, mut after) = (0, None);
    loop {
        let (mut items, next) = turn(store, directory, filter, after).await?;
        items.retain(|item| match take {
            // What the policy keeps is decided by name only.
            Some(_) => item.conflict.is_open(),
            None => item.conflict.decided().is_some(),
        });
        write(store, directory, take, &items, hand).await?;
        count += items.len() as u64;
        after = next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

fn taken(take: Option<Side>, hand: &Hand) -> Option<Taken> {
    take.map(|side| Taken {
        side,
        at: hand.at,
        by: Some(hand.actor.to_string()),
    })
}

async fn write(
    store: &dyn Store,
    directory: &Directory,
    take: Option<Side>,
    items: &[Item],
    hand: &Hand,
) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    let decisions = items.iter().map(|item| (item.id, taken(take, hand)));
    let (deed, word) = match take {
        Some(Side::Directory) => (Deed::ConflictResolve, Some("directory")),
        Some(Side::Local) => (Deed::ConflictResolve, Some("local")),
        None => (Deed::ConflictRelease, None),
    };
    let events = items.iter().map(|item| {
        let mut details = vec![
            ("directory".to_owned(), directory.name.clone()),
            ("anchor".to_owned(), item.key.anchor.to_string()),
            ("id".to_owned(), item.resource.clone()),
            ("attribute".to_owned(), item.conflict.path.to_string()),
        ];
        details.extend(word.map(|word| ("take".to_owned(), word.to_owned())));
        Event {
            at: hand.at,
            actor: hand.actor.clone(),
            tenant: Some(directory.tenant.clone()),
            deed,
            subject: format!("{} {}", item.key.kind.as_str(), item.dn),
            details,
        }
    });
    let (decisions, events) = (decisions.collect(), events.collect());
    store
        .decide_conflicts(directory.id, decisions, events)
        .await
}
