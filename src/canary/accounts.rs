//! Accounts of canaries: with which attributes and in which manner the target creates users, and what it keeps of them.

use crate::canary::lab::{Halt, Lab, Trial, described};
use crate::canary::{halted, values};
use crate::scim::dialect::{Dialect, ElementUpdates};
use crate::scim::evidence::{held, kept};
use crate::scim::path::AttributePath;
use crate::scim::resource::attribute;
use crate::scim::{Attributes, ResourceType, Value};

const USER: ResourceType = ResourceType::User;

/// A user that was created for experiments.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) id: String,
    /// What it holds.
    pub(super) held: Attributes,
}

/// Creates the two canaries that further experiments need, and finds out what is kept of them.
pub(super) async fn created(lab: &mut Lab<'_>) -> Result<(Subject, Subject), Halt> {
    let tried = values::tried(&lab.settings.mapped);
    let kept_paths: Vec<AttributePath> = {
        let keeps = |path: &&AttributePath| lab.dialect.keeps(path);
        tried.iter().filter(keeps).cloned().collect()
    };
    let taken = taken(lab, &kept_paths).await?;
    lab.taken.clone_from(&taken);
    let (first, sent) = another(lab, &taken).await?;
    let read = lab.read(USER, &first).await?;
    let shown = kept(&sent, &read, &lab.dialect);
    let back = held(&read, &taken, &lab.dialect);
    let trial = Trial::failed(
        format!("POST /Users with {}", described(&sent, &taken)),
        format!("confirmed; read back: {}", described(&back, &taken)),
        "the same values read back",
    );
    let mut manner = lab.dialect.clone();
    if shown.without_types {
        manner.element_types = false;
        manner.element_updates = ElementUpdates::Whole;
    }
    manner.single_valued.extend(shown.single_valued);
    for path in shown.omitted {
        match path == AttributePath::active() {
            true => lab.note(
                "users do not show `active`, so what becomes of a deactivation cannot be compared",
            ),
            // Groups have one, too, and cannot do without it.
            false if path == AttributePath::display_name() => {
                manner.immutable_user_attributes.insert(path);
            }
            false => {
                manner.omitted.insert(path);
            }
        }
    }
    lab.adopt(manner, &trial);
    if attribute(&read, "meta")
        .and_then(|meta| attribute(meta, "version"))
        .is_some()
    {
        lab.note("users show a version (meta.version), so changes can name the one that they are about (ifMatch)");
    }
    let (second, sent) = another(lab, &taken).await?;
    let second = Subject {
        held: sent,
        id: second,
    };
    let first = Subject {
        held: held(&read, &maintained(lab, &taken), &lab.dialect),
        id: first,
    };
    Ok((first, second))
}

/// What the target keeps of attributes that were sent, and may change.
fn maintained(lab: &Lab<'_>, taken: &[AttributePath]) -> Vec<AttributePath> {
    let paths = taken.iter().cloned().chain([AttributePath::active()]);
    let mut kept: Attributes = paths.map(|path| (path, Value::Bool(true))).collect();
    lab.dialect.project(&mut kept);
    kept.retain(|path, _| lab.dialect.changes(USER, path));
    kept.into_keys().collect()
}

/// Creates one more user with attributes that are known to be taken.
async fn another(lab: &mut Lab<'_>, paths: &[AttributePath]) -> Result<(String, Attributes), Halt> {
    let (name, sent) = fresh(lab, paths);
    match lab
        .create(&lab.dialect.clone(), USER, &name, &sent, &[])
        .await?
    {
        Ok(id) => Ok((id, sent)),
        Err(trial) => Err(halted(format!(
            "{}: {}",
            trial.words.request, trial.words.answer
        ))),
    }
}

/// A name and attributes for one more user.
pub(super) fn fresh(lab: &mut Lab<'_>, paths: &[AttributePath]) -> (String, Attributes) {
    let mut name = lab.aviary.name();
    if lab.names_are_addresses {
        name = values::as_address(&name);
    }
    let number = lab.number();
    let mut attributes = values::of_user(paths, &name, number);
    if lab.starts_active {
        attributes.insert(AttributePath::active(), Value::Bool(true));
    }
    lab.dialect.project(&mut attributes);
    (name, attributes)
}

/// The attributes with which the target creates a user. Those that are refused the dialect omits from here on.
async fn taken(lab: &mut Lab<'_>, paths: &[AttributePath]) -> Result<Vec<AttributePath>, Halt> {
    let Some(refused) = tried(lab, paths).await? else {
        return Ok(paths.to_vec());
    };
    let present = lab.dialect.clone();
    let mut manners = Vec::new();
    let mut add = |change: &dyn Fn(&mut Dialect)| {
        let mut manner = present.clone();
        change(&mut manner);
        manners.push(manner);
    };
    add(&|manner| "application/json".clone_into(&mut manner.content_type));
    add(&|manner| {
        manner.element_types = false;
        manner.element_updates = ElementUpdates::Whole;
    });
    add(&|manner| manner.booleans_as_text = true);
    let needed: Vec<AttributePath> = paths
        .iter()
        .filter(|path| values::is_needed(path))
        .cloned()
        .collect();
    for some in [paths, &needed] {
        for manner in std::iter::once(&present).chain(&manners) {
            if manner == &present && some.len() == paths.len() {
                continue; // that is what was refused
            }
            let before = std::mem::replace(&mut lab.dialect, manner.clone());
            let again = tried(lab, some).await?;
            let found = std::mem::replace(&mut lab.dialect, before);
            if again.is_none() {
                lab.adopt(found, &refused);
                return narrowed(lab, paths, some).await;
            }
        }
    }
    for (active, address) in [(true, false), (false, true), (true, true)] {
        (lab.starts_active, lab.names_are_addresses) = (active, address);
        if tried(lab, &needed).await?.is_none() {
            return narrowed(lab, paths, &needed).await;
        }
    }
    Err(halted(format!(
        "no canary can be created: {} was answered with {}",
        refused.words.request, refused.words.answer
    )))
}

/// Creates a user with these attributes and removes it again; why it was refused, if it was.
async fn tried(lab: &mut Lab<'_>, paths: &[AttributePath]) -> Result<Option<Trial>, Halt> {
    let (name, attributes) = fresh(lab, paths);
    match lab
        .create(&lab.dialect.clone(), USER, &name, &attributes, &[])
        .await?
    {
        Ok(_) => {
            lab.remove(USER, &name).await;
            Ok(None)
        }
        Err(trial) => Ok(Some(trial)),
    }
}

/// Finds the attributes that are refused among those that were not taken yet, by halving.
async fn narrowed(
    lab: &mut Lab<'_>,
    paths: &[AttributePath],
    taken: &[AttributePath],
) -> Result<Vec<AttributePath>, Halt> {
    let mut taken = taken.to_vec();
    let rest: Vec<AttributePath> = paths
        .iter()
        .filter(|path| !taken.contains(path))
        .cloned()
        .collect();
    let mut parts = vec![rest];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let both: Vec<AttributePath> = taken.iter().chain(&part).cloned().collect();
        match (tried(lab, &both).await?, part.len()) {
            (None, _) => taken = both,
            (Some(refused), 1) => {
                let mut manner = lab.dialect.clone();
                manner.omitted.extend(part);
                lab.adopt(manner, &refused);
            }
            (Some(_), count) => {
                let (one, other) = part.split_at(count / 2);
                parts.extend([other.to_vec(), one.to_vec()]);
            }
        }
    }
    Ok(taken)
}
