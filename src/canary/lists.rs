//! Experiments with lists: how pages are asked for, and which filters find what they shall and nothing else.

use serde_json::Value as Json;

use crate::canary::accounts::Subject;
use crate::canary::lab::{Halt, Lab, Trial, is_silence, short};
use crate::provider::Refusal;
use crate::scim::dialect::{Dialect, Paging};
use crate::scim::evidence::{Filtering, are_pages, filtering, is_whole};
use crate::scim::resource::{Found, ListPage};
use crate::scim::{ResourceType, filter};

const USER: ResourceType = ResourceType::User;
/// What a filter shall find.
const THE_CANARY: &str = "the canary that has the value, and nothing else";

/// Asks for a list, again while the target does not answer.
async fn ask(
    lab: &Lab<'_>,
    manner: &Dialect,
    kind: ResourceType,
    parameters: &[(&'static str, Json)],
) -> Result<Result<ListPage, Refusal>, Halt> {
    let mut attempt = 1;
    loop {
        lab.check_stop()?;
        match lab.provider(manner).ask(kind, parameters.to_vec()).await {
            Err(refusal) if is_silence(&refusal) => lab.wait_again(&refusal, &mut attempt).await?,
            answer => return Ok(answer),
        }
    }
}

/// How pages of lists are asked for; `advertised` where the target says that it has cursors only. There are two canaries at least, so that there are two pages of one.
pub(super) async fn pages(lab: &mut Lab<'_>, advertised: bool) -> Result<(), Halt> {
    let present = lab.dialect.clone();
    let ways = match present.paging {
        Paging::Cursor => [Paging::Cursor, Paging::Index, Paging::None],
        _ if advertised => [Paging::Cursor, Paging::Index, Paging::None],
        _ => [Paging::Index, Paging::Cursor, Paging::None],
    };
    let mut first = None;
    for way in ways {
        let trial = asked_by(lab, &present, way).await?;
        if !trial.worked {
            first.get_or_insert(trial);
            continue;
        }
        let is_present = match present.paging {
            Paging::AsAdvertised => (way == Paging::Cursor) == advertised && way != Paging::None,
            paging => paging == way,
        };
        if !is_present {
            let mut manner = present;
            manner.paging = way;
            lab.adopt(manner, &first.unwrap_or(trial));
        }
        return Ok(());
    }
    if let Some(trial) = first {
        lab.note(format!(
            "users cannot be listed in any way: {}",
            trial.words
        ));
    }
    Ok(())
}

/// Asks for two pages in one way, or for everything.
async fn asked_by(lab: &Lab<'_>, manner: &Dialect, way: Paging) -> Result<Trial, Halt> {
    let count = ("count", Json::from(1));
    let index = |index: u64| vec![("startIndex", Json::from(index)), count.clone()];
    let first = match way {
        Paging::Cursor => vec![("cursor", Json::from("")), count.clone()],
        Paging::None => Vec::new(),
        Paging::Index | Paging::AsAdvertised => index(1),
    };
    let expected = match way {
        Paging::None => "all users in one answer",
        _ => "one user, and another one on the next page",
    };
    let mut trial = Trial::failed(
        format!("GET /Users with {}", words_of(&first)),
        "",
        expected,
    );
    let page = match ask(lab, manner, USER, &first).await? {
        Ok(page) => page,
        Err(refusal) => {
            trial.words.answer = short(&refusal.message);
            return Ok(trial);
        }
    };
    trial.words.answer = words_of_page(&page);
    let next = match (way, &page.next_cursor) {
        (Paging::None, _) => {
            trial.worked = is_whole(&page);
            return Ok(trial);
        }
        (Paging::Cursor, None) => return Ok(trial),
        (Paging::Cursor, Some(cursor)) => vec![("cursor", Json::from(cursor.as_str())), count],
        _ => index(2),
    };
    match ask(lab, manner, USER, &next).await? {
        Ok(second) => {
            trial.worked = are_pages(&page, &second);
            trial.words.answer = format!("{}, then {}", trial.words.answer, words_of_page(&second));
        }
        Err(refusal) => trial.words.answer = short(&refusal.message),
    }
    Ok(trial)
}

fn words_of(parameters: &[(&'static str, Json)]) -> String {
    let texts = parameters
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    match parameters.is_empty() {
        true => "no parameters".to_owned(),
        false => texts.collect::<Vec<_>>().join(", "),
    }
}

fn words_of_page(page: &ListPage) -> String {
    let total = page
        .total
        .map_or("no total".to_owned(), |total| format!("a total of {total}"));
    format!("{} resources and {total}", page.resources.len())
}

/// By which attributes the target filters.
pub(super) async fn filters(lab: &mut Lab<'_>, user: &Subject) -> Result<(), Halt> {
    let read = lab.read(USER, &user.id).await?;
    let mut waited = false;
    by(
        lab,
        USER,
        &user.id,
        &read,
        &["externalId", "userName", "emails.value"],
        &mut waited,
    )
    .await?;
    if let Some(id) = lab.group.clone() {
        let read = lab.read(ResourceType::Group, &id).await?;
        by(
            lab,
            ResourceType::Group,
            &id,
            &read,
            &["externalId", "displayName"],
            &mut waited,
        )
        .await?;
    }
    let name = Found::from_json(&read)
        .and_then(|found| found.name)
        .unwrap_or_default();
    if lab.dialect.filters_by(USER, "userName") {
        let parameters = filter_of("userName", &name.to_ascii_uppercase());
        let found = ask(lab, &lab.dialect.clone(), USER, &parameters).await?;
        let is_found = found.is_ok_and(|page| filtering(&page, &user.id) == Filtering::Works);
        lab.note(match is_found {
            true => "filters find a userName whatever the case of its letters",
            false => "filters find a userName only in its own case",
        });
    }
    searched(lab, user, &name).await
}

fn filter_of(attribute: &str, value: &str) -> [(&'static str, Json); 1] {
    [("filter", Json::from(filter::eq(attribute, value)))]
}

/// Tries filters by the values of a canary, and keeps those that work.
async fn by(
    lab: &mut Lab<'_>,
    kind: ResourceType,
    id: &str,
    read: &Json,
    names: &[&str],
    waited: &mut bool,
) -> Result<(), Halt> {
    let found = Found::from_json(read);
    for name in names {
        let value = found.as_ref().and_then(|found| match *name {
            "externalId" => found.external_id.clone(),
            "emails.value" => found.email.clone(),
            _ => found.name.clone(),
        });
        let trial = match value {
            Some(value) => filtered(lab, kind, id, name, &value, waited).await?,
            None => Trial::failed(
                format!("GET /{}/{id}", kind.endpoint()),
                format!("no {name}"),
                format!("a value of {name}, by which to filter"),
            ),
        };
        let mut manner = lab.dialect.clone();
        let known = match kind {
            ResourceType::User => &mut manner.user_filters,
            ResourceType::Group => &mut manner.group_filters,
        };
        match trial.worked {
            true => {
                known.insert((*name).to_owned());
            }
            false => known.retain(|known| !known.eq_ignore_ascii_case(name)),
        }
        lab.adopt(manner, &trial);
    }
    Ok(())
}

/// Tries one filter; where it finds nothing once more after the time that the target takes to show what was written.
async fn filtered(
    lab: &Lab<'_>,
    kind: ResourceType,
    id: &str,
    name: &str,
    value: &str,
    waited: &mut bool,
) -> Result<Trial, Halt> {
    let parameters = filter_of(name, value);
    let request = format!("GET /{} with {}", kind.endpoint(), words_of(&parameters));
    let mut trial = Trial::failed(request, "", THE_CANARY);
    loop {
        let verdict = match ask(lab, &lab.dialect, kind, &parameters).await? {
            Ok(page) => {
                trial.words.answer = words_of_page(&page);
                filtering(&page, id)
            }
            Err(refusal) => {
                trial.words.answer = short(&refusal.message);
                return Ok(trial);
            }
        };
        trial.worked = verdict == Filtering::Works;
        if verdict == Filtering::Ignored {
            trial.words.answer = format!("{}: the filter is ignored", trial.words.answer);
        }
        if verdict != Filtering::FindsNothing || std::mem::replace(waited, true) {
            return Ok(trial);
        }
        tokio::time::sleep(lab.settle()).await;
    }
}

/// Whether searches can be sent by POST, so that values stay out of addresses.
async fn searched(lab: &mut Lab<'_>, user: &Subject, name: &str) -> Result<(), Halt> {
    let post = Dialect {
        post_search: true,
        ..lab.dialect.clone()
    };
    let parameters = filter_of("userName", name);
    let (works, answer) = match ask(lab, &post, USER, &parameters).await? {
        Ok(page) => (
            filtering(&page, &user.id) == Filtering::Works,
            words_of_page(&page),
        ),
        Err(refusal) => (false, short(&refusal.message)),
    };
    match (lab.dialect.post_search, works) {
        (false, true) if lab.dialect.filters_by(USER, "userName") => lab.note(
            "searches by POST .search work, so postSearch = true keeps values out of addresses",
        ),
        (true, false) => {
            let manner = Dialect {
                post_search: false,
                ..post
            };
            let request = format!("POST /Users/.search with {}", words_of(&parameters));
            let trial = Trial::failed(request, answer, THE_CANARY);
            lab.adopt(manner, &trial);
        }
        _ => {}
    }
    Ok(())
}
