//! Mass changes: whatever goes wrong for many at once waits for a person, and an approved plan carries out exactly itself.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::Utc;
use scim_relay::identity::RowKey;
use scim_relay::job::{Job, Mode, Status};
use scim_relay::plan::Class;
use scim_relay::store::jobs::JournalLine;
use uuid::Uuid;

use crate::directory::{Group, Model, User};
use crate::history::{Ended, History};
use crate::random::Random;
use crate::rules::{Guard, Nested, Rules};
use crate::target::resources;

/// Scenarios unless MASSES says otherwise.
const MASSES: u64 = 500;
/// More steps a plan does not have here, and more lines a journal.
const MANY: usize = 10_000;

/// What happens to many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mass {
    Deleted,
    Disabled,
    ContractorsLeftOut,
    ScopeNarrowed,
    GroupsDeleted,
    OneGroupEmptied,
    AllGroupsThinned,
    Created,
    TitlesLost,
    TitlesAlike,
    EmptyRead,
    ReadWithHoles,
}

const ALL: [Mass; 12] = [
    Mass::Deleted,
    Mass::Disabled,
    Mass::ContractorsLeftOut,
    Mass::ScopeNarrowed,
    Mass::GroupsDeleted,
    Mass::OneGroupEmptied,
    Mass::AllGroupsThinned,
    Mass::Created,
    Mass::TitlesLost,
    Mass::TitlesAlike,
    Mass::EmptyRead,
    Mass::ReadWithHoles,
];

fn user(number: usize, random: &mut Random) -> User {
    let name = format!("user{number}");
    User {
        anchor: Uuid::from_u128(0xB000_0000_0000_4000_8000_0000_0000_0000 + number as u128),
        cn: name.clone(),
        place: usize::from(random.percent(30)),
        uid: Some(name),
        given: "Given".to_owned(),
        surname: "Smith".to_owned(),
        mail: None,
        title: Some(format!("title {number}")),
        disabled: false,
        contractor: random.percent(30),
    }
}

/// A company of so many, each group with most of them.
fn company(model: &mut Model, users: usize, groups: usize, random: &mut Random) {
    for number in 0..users {
        let user = user(number, random);
        model.touch(user.anchor);
        model.users.insert(user.anchor, user);
    }
    // Whatever is drawn, there is somebody whom each of the mistakes meets.
    if let Some(first) = model.users.values_mut().next() {
        (first.place, first.contractor) = (1, true);
    }
    for number in 0..groups {
        let members = model.users.values().map(User::dn);
        let group = Group {
            anchor: Uuid::from_u128(0xC000_0000_0000_4000_8000_0000_0000_0000 + number as u128),
            cn: format!("group{number}"),
            place: 0,
            members: members.collect(),
        };
        model.touch(group.anchor);
        model.groups.insert(group.anchor, group);
    }
}

/// More than a limit, and not more than there are.
fn above(limit: usize, all: usize, random: &mut Random) -> usize {
    limit + 1 + random.below(all - limit)
}

/// Lets it happen to more than may go by themselves.
fn happen(history: &History, mass: Mass, random: &mut Random) {
    let mut state = history.site.lock();
    let state = &mut *state;
    let anchors: Vec<Uuid> = state.model.users.keys().copied().collect();
    let users = anchors.len();
    let some = |limit: usize, random: &mut Random| {
        let count = above(limit, users, random).min(users);
        anchors.iter().copied().take(count).collect::<Vec<Uuid>>()
    };
    match mass {
        Mass::Deleted => {
            for anchor in some(5, random) {
                if let Some(gone) = state.model.users.remove(&anchor) {
                    state.model.forget_member(gone.anchor, &gone.dn());
                    state.model.touch(anchor);
                }
            }
        }
        Mass::Disabled | Mass::TitlesLost | Mass::TitlesAlike => {
            let limit = if mass == Mass::Disabled {
                5
            } else {
                users.max(16) * 3 / 10
            };
            for anchor in some(limit, random) {
                let user = state.model.users.get_mut(&anchor).unwrap();
                match mass {
                    Mass::Disabled => user.disabled = true,
                    Mass::TitlesLost => user.title = None,
                    _ => user.title = Some("Engineer".to_owned()),
                }
                state.model.touch(anchor);
            }
        }
        Mass::ContractorsLeftOut => state.rules.contractors = false,
        Mass::ScopeNarrowed => state.rules.narrow = true,
        Mass::GroupsDeleted => {
            let groups: Vec<Uuid> = state.model.groups.keys().copied().collect();
            let count = above(2, groups.len(), random).min(groups.len());
            for anchor in groups.into_iter().take(count) {
                state.model.groups.remove(&anchor);
                state.model.touch(anchor);
            }
        }
        Mass::OneGroupEmptied | Mass::AllGroupsThinned => {
            let groups = match mass {
                Mass::OneGroupEmptied => 1,
                _ => state.model.groups.len(),
            };
            // More than max(10, 20 %) of one; and more than max(10, 10 %) of all.
            let lose = match mass {
                Mass::OneGroupEmptied => above(10.max(users / 5), users, random).min(users),
                _ => (users / 10 + 1).max(11),
            };
            let dns: BTreeSet<String> = state
                .model
                .users
                .values()
                .map(User::dn)
                .take(lose)
                .collect();
            let anchors: Vec<Uuid> = state.model.groups.keys().copied().take(groups).collect();
            for anchor in anchors {
                let group = state.model.groups.get_mut(&anchor).unwrap();
                group.members.retain(|dn| !dns.contains(dn));
                state.model.touch(anchor);
            }
        }
        Mass::Created => {
            for number in 0..above(50, 80, random) {
                let user = user(1_000 + number, random);
                state.model.touch(user.anchor);
                state.model.users.insert(user.anchor, user);
            }
        }
        Mass::EmptyRead => state.source_faults.empty = true,
        Mass::ReadWithHoles => {
            state.source_faults.passed_over =
                some(users.max(25) / 4 + 1, random).into_iter().collect();
        }
    }
    state.note(format!("{mass:?}"));
}

/// Everything that the target holds, apart from when it was changed.
fn held(history: &History) -> BTreeSet<String> {
    let all = resources(history.site.target()).into_iter();
    all.map(|mut resource| {
        resource.body["meta"] = serde_json::Value::Null;
        format!("{:?} {}", resource.kind, resource.body)
    })
    .collect()
}

/// What waits in a plan.
async fn waiting(history: &mut History, job: &Job) -> BTreeSet<(RowKey, Class)> {
    let store = history.store().unwrap();
    let plan = store.plan(job.id).await.unwrap().expect("a plan waits");
    let steps = store.steps(job.id, None, MANY).await.unwrap();
    let steps = steps.into_iter().map(|(_, step)| step);
    let steps = steps.filter(|step| plan.asks_for(step));
    steps.map(|step| (step.key, step.class)).collect()
}

/// What a job sent, and the target acknowledged.
async fn sent(history: &mut History, job: &Job) -> BTreeSet<(RowKey, Class)> {
    let store = history.store().unwrap();
    let lines = store.changes(job.id, None, MANY).await.unwrap();
    let changes = lines.into_iter().filter_map(|(_, line)| match line {
        JournalLine::Sent(change) if change.error.is_none() => Some((change.key, change.class)),
        _ => None,
    });
    changes.collect()
}

/// A relay as it is where nobody says otherwise.
fn usual() -> History {
    History::with(Rules {
        title: true,
        contractors: true,
        narrow: false,
        nested: Nested::Direct,
        automatic: false,
        deprovisioning: "deactivate",
        role_group: None,
        role: false,
        guard: Guard::Usual,
        concurrency: 1,
    })
}

async fn scenario(history: &mut History, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mass = ALL[seed as usize % ALL.len()];
    let users = 24 + random.below(60);
    let groups = 4 + random.below(4);
    company(&mut history.site.lock().model, users, groups, &mut random);
    let ended = history.run(Mode::Full, None).await?;
    if ended != Ended::With(Status::Completed) {
        return Err(format!("the first load ended as {ended:?}"));
    }
    let before = held(history);
    happen(history, mass, &mut random);
    // What goes wrong with a read does so only where everything is read.
    let reads_all = matches!(mass, Mass::EmptyRead | Mass::ReadWithHoles) || random.percent(50);
    let mode = if reads_all {
        Mode::Full
    } else {
        Mode::Incremental
    };
    let ended = history.run(mode, None).await?;
    if ended != Ended::With(Status::AwaitingApproval) {
        return Err(format!("{mass:?} of {users} was not held: {ended:?}"));
    }
    if held(history) != before {
        return Err(format!("{mass:?}: something was sent all the same"));
    }
    let jobs = history.waiting().await?;
    let [job] = jobs.as_slice() else {
        return Err(format!("{mass:?}: {} jobs wait", jobs.len()));
    };
    decide(history, mass, job.clone(), &before, &mut random).await?;
    history.judge()
}

async fn decide(
    history: &mut History,
    mass: Mass,
    mut job: Job,
    before: &BTreeSet<String>,
    random: &mut Random,
) -> Result<(), String> {
    match random.below(3) {
        0 => history.run(Mode::Full, None).await.map(|_| ())?,
        1 => history.reject(job).await?,
        _ => {
            let planned = waiting(history, &job).await;
            // By now the directory tells the truth again.
            history.site.lock().source_faults = Default::default();
            job.approve("somebody".to_owned(), Utc::now());
            history.run_job(job.clone(), None).await?;
            let sent = sent(history, &job).await;
            let is_lie = matches!(mass, Mass::EmptyRead | Mass::ReadWithHoles);
            let expected = if is_lie { BTreeSet::new() } else { planned };
            if sent != expected {
                return Err(format!(
                    "{mass:?}: {expected:?} was approved, and sent was {sent:?}"
                ));
            }
            return Ok(());
        }
    }
    // Nobody said yes, so nothing happens, however often it runs.
    for mode in [Mode::Full, Mode::Incremental] {
        history.run(mode, None).await?;
        if held(history) != *before {
            return Err(format!("{mass:?}: nobody approved, and something was sent"));
        }
    }
    Ok(())
}

#[test]
fn simulation_guard_holds_every_mass_change_and_carries_out_what_was_approved() {
    let seeds: Vec<u64> = match crate::number("SEED") {
        Some(seed) => vec![seed],
        None => (1..=crate::number("MASSES").unwrap_or(MASSES)).collect(),
    };
    crate::try_all(
        &seeds,
        |seed| format!("SEED={seed} tests/run simulation_guard"),
        |seed| {
            let mut history = usual();
            let site = history.site.clone();
            let ended = catch_unwind(AssertUnwindSafe(|| {
                crate::runtime().block_on(scenario(&mut history, seed))
            }));
            crate::told(&site, ended)
        },
    );
}
