//! Experiments with users: in which manner they are changed, and how their names are compared.

use crate::canary::accounts::{Subject, fresh};
use crate::canary::lab::{Halt, Lab, Trial};
use crate::canary::values;
use crate::scim::dialect::{Dialect, Updates};
use crate::scim::evidence::{Deed, other_manners};
use crate::scim::path::AttributePath;
use crate::scim::{ResourceType, Value};

const USER: ResourceType = ResourceType::User;

/// One change that is tried in several manners.
struct Question {
    deed: Deed,
    /// The attributes that get another value, or none at all.
    paths: Vec<AttributePath>,
    removes: bool,
}

/// What came of all questions in one manner.
struct Ended {
    manner: Dialect,
    /// What speaks for each step away from the manner before.
    steps: Vec<(Dialect, Trial)>,
    /// Attributes that nothing changes, with the experiment.
    stuck: Vec<(Question, Trial)>,
    /// The first experiment of each question that no manner answered.
    faults: Vec<Trial>,
}

/// Finds out how users are changed.
pub(super) async fn updates(lab: &mut Lab<'_>, user: &mut Subject) -> Result<(), Halt> {
    let present = lab.dialect.clone();
    let mut ended = ask_all(lab, present.clone(), user).await?;
    if !ended.faults.is_empty() {
        let puts = lab.provider(&present).puts(USER);
        let other = Dialect {
            user_updates: if puts { Updates::Patch } else { Updates::Put },
            ..present
        };
        let otherwise = ask_all(lab, other.clone(), user).await?;
        if otherwise.faults.len() < ended.faults.len() {
            if let Some(trial) = ended.faults.first() {
                lab.adopt(other, trial);
            }
            ended = otherwise;
        }
    }
    for (manner, trial) in ended.steps {
        lab.adopt(manner, &trial);
    }
    let mut manner = lab.dialect.clone();
    for (question, trial) in ended.stuck {
        let words = trial.words.to_string();
        match question.deed {
            Deed::Activate => lab.note(format!(
                "WARNING: nothing deactivates a user, so leavers keep their access: {words}"
            )),
            _ if question.removes => {
                lab.note(format!("values of users cannot be removed: {words}"))
            }
            _ => {
                manner.immutable_user_attributes.extend(question.paths);
                lab.adopt(manner.clone(), &trial);
            }
        }
    }
    Ok(())
}

/// Asks everything, beginning in one manner and going on in others where it does not work.
async fn ask_all(lab: &mut Lab<'_>, manner: Dialect, user: &mut Subject) -> Result<Ended, Halt> {
    let mut ended = Ended {
        manner,
        steps: Vec::new(),
        stuck: Vec::new(),
        faults: Vec::new(),
    };
    for question in questions(user) {
        ask(lab, &mut ended, user, question).await?;
    }
    Ok(ended)
}

/// Asks one question in the manner so far, then in others; then attribute by attribute.
async fn ask(
    lab: &mut Lab<'_>,
    ended: &mut Ended,
    user: &mut Subject,
    question: Question,
) -> Result<(), Halt> {
    let first = answer(lab, &ended.manner, user, &question).await?;
    if first.worked {
        return Ok(());
    }
    let mut manners = Vec::new();
    if first.wants_version && !ended.manner.if_match {
        manners.push(Dialect {
            if_match: true,
            ..ended.manner.clone()
        });
    }
    let puts = lab.provider(&ended.manner).puts(USER);
    let others = other_manners(question.deed, USER, &ended.manner).into_iter();
    // A PUT has neither paths nor operations.
    manners.extend(others.filter(|manner| {
        let (paths, capital) = (ended.manner.patch_paths, ended.manner.capital_operations);
        !puts || (manner.patch_paths == paths && manner.capital_operations == capital)
    }));
    if question.paths.len() > 1 && !puts {
        manners.push(Dialect {
            operations_per_request: 1,
            ..ended.manner.clone()
        });
    }
    for manner in manners {
        if answer(lab, &manner, user, &question).await?.worked {
            ended.manner = manner.clone();
            ended.steps.push((manner, first));
            return Ok(());
        }
    }
    ended.faults.push(first.clone());
    if question.paths.len() == 1 || question.removes {
        ended.stuck.push((question, first));
        return Ok(());
    }
    for path in question.paths {
        let one = Question {
            paths: vec![path],
            ..question
        };
        let trial = answer(lab, &ended.manner, user, &one).await?;
        if !trial.worked {
            ended.stuck.push((one, trial));
        }
    }
    Ok(())
}

/// What is asked of a user that holds certain attributes.
fn questions(user: &Subject) -> Vec<Question> {
    let paths: Vec<&AttributePath> = user.held.keys().collect();
    let is_name = |path: &AttributePath| {
        [AttributePath::user_name(), AttributePath::external_id()].contains(path)
    };
    let all = |test: &dyn Fn(&AttributePath) -> bool| -> Vec<AttributePath> {
        paths
            .iter()
            .filter(|path| test(path))
            .map(|path| (*path).clone())
            .collect()
    };
    let first = |test: &dyn Fn(&AttributePath) -> bool| -> Vec<AttributePath> {
        all(test).into_iter().take(1).collect()
    };
    let is_plain = |path: &AttributePath| {
        path.urn.is_none()
            && path.element.is_none()
            && !is_name(path)
            && *path != AttributePath::active()
    };
    let asked = [
        (Deed::Change, first(&is_plain), false),
        (
            Deed::Activate,
            first(&|path| *path == AttributePath::active()),
            false,
        ),
        (Deed::Extension, first(&|path| path.urn.is_some()), false),
        (Deed::Element, first(&|path| path.element.is_some()), false),
        (
            Deed::Element,
            first(&|path| path.element.is_some() && path.name != "emails"),
            true,
        ),
        (Deed::Remove, all(&values::is_removable), true),
        (
            Deed::Change,
            all(&|path| *path != AttributePath::active()),
            false,
        ),
    ];
    let asked = asked.into_iter().filter(|(_, paths, _)| !paths.is_empty());
    asked
        .map(|(deed, paths, removes)| Question {
            deed,
            paths,
            removes,
        })
        .collect()
}

/// Tries one change in one manner. What is removed comes back, and who was activated is deactivated again.
async fn answer(
    lab: &mut Lab<'_>,
    manner: &Dialect,
    user: &mut Subject,
    question: &Question,
) -> Result<Trial, Halt> {
    let number = lab.number();
    let mut steps = Vec::new();
    let is_active = user.held.get(&AttributePath::active()) == Some(&Value::Bool(true));
    match (question.deed, question.removes) {
        // Inactive at the end, whatever it was.
        (Deed::Activate, _) if is_active => steps.extend([Some(false), Some(true), Some(false)]),
        (Deed::Activate, _) => steps.extend([Some(true), Some(false)]),
        (_, true) => steps.extend([None, Some(true)]),
        (_, false) => steps.push(Some(true)),
    }
    let mut trial = Trial::default();
    for step in steps {
        let mut wanted = user.held.clone();
        for path in &question.paths {
            match (step, question.deed) {
                (None, _) => wanted.remove(path),
                (Some(active), Deed::Activate) => wanted.insert(path.clone(), Value::Bool(active)),
                (Some(_), _) => wanted.insert(path.clone(), another_value(lab, user, path, number)),
            };
        }
        if let Some(Value::Text(name)) = wanted.get(&AttributePath::user_name()) {
            lab.aviary.renamed(&user.id, name);
        }
        trial = lab
            .change(
                manner,
                USER,
                &user.id,
                &mut user.held,
                &wanted,
                &question.paths,
            )
            .await?;
        if !trial.worked {
            break;
        }
    }
    Ok(trial)
}

/// A value that an attribute does not have yet; a name is as unmistakable as the one before.
fn another_value(lab: &Lab<'_>, user: &Subject, path: &AttributePath, number: u32) -> Value {
    let before = user
        .held
        .get(&AttributePath::user_name())
        .and_then(Value::as_text);
    let local = before
        .unwrap_or_default()
        .split('@')
        .next()
        .unwrap_or_default();
    let stem = local.split("-renamed").next().unwrap_or_default();
    let mut name = format!("{stem}-renamed{number}");
    if lab.names_are_addresses && *path == AttributePath::user_name() {
        name = values::as_address(&name);
    }
    let value = values::value(path, &name, number);
    match user.held.get(path) == Some(&value) {
        true => values::value(path, &name, number + 1),
        false => value,
    }
}

/// How names of users are compared: by another one that differs in the case of letters only.
pub(super) async fn names(lab: &mut Lab<'_>, user: &Subject) -> Result<(), Halt> {
    let Some(Value::Text(name)) = user.held.get(&AttributePath::user_name()).cloned() else {
        return Ok(());
    };
    let upper = name.to_ascii_uppercase();
    let paths: Vec<AttributePath> = user
        .held
        .keys()
        .filter(|path| **path != AttributePath::active())
        .cloned()
        .collect();
    let (other, mut attributes) = fresh(lab, &paths);
    // Only the userName is the same; other attributes may have to be unique, too.
    attributes.insert(AttributePath::user_name(), Value::Text(upper.clone()));
    if attributes.contains_key(&AttributePath::external_id()) {
        attributes.insert(AttributePath::external_id(), Value::Text(other));
    }
    match lab
        .create(&lab.dialect.clone(), USER, &upper, &attributes, &[])
        .await?
    {
        Ok(_) => {
            lab.remove(USER, &upper).await;
            lab.note("two users may have userNames that differ in the case of letters only");
        }
        Err(trial) if trial.words.answer.contains("409") => {
            lab.note(
                "userNames that differ in the case of letters only are the same to the target",
            );
        }
        Err(trial) => lab.note(format!(
            "a userName in capital letters is refused: {}",
            trial.words.answer
        )),
    }
    Ok(())
}
