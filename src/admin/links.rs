//! Link proposals: what was found at the target for entries that are not linked, and what persons decide on it; the same for
//! the API and the command line.

use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{Deed, Event};
use crate::catalog::Hand;
use crate::directory::Directory;
use crate::document::{Fields, Node, Problems};
use crate::id::ProfileName;
use crate::identity::{Anchor, Kind, RowKey};
use crate::plan::decide::name_path;
use crate::plan::linking;
use crate::plan::protected::Protected;
use crate::scim::Value as ScimValue;
use crate::snapshot::{LinkDecision, Match, MatchedBy, Row, Standing};
use crate::store::{Error, Store};

/// Rows that are read or written in one turn.
const ROWS_PER_TURN: usize = 500;

/// How a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProposalState {
    /// Nobody has decided.
    Pending,
    /// It is linked by the next run.
    Accepted,
    /// It is not linked, and not asked for again.
    Refused,
    /// It cannot be linked, whoever consents.
    Impossible,
}

impl ProposalState {
    pub(super) const ALL: [Self; 4] = [
        Self::Pending,
        Self::Accepted,
        Self::Refused,
        Self::Impossible,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Impossible => "impossible",
        }
    }
}

/// A directory, and what of its target is protected.
pub(crate) struct Place<'a> {
    /// Where rows and decisions are.
    pub(crate) store: &'a dyn Store,
    /// The directory.
    pub(crate) directory: &'a Directory,
    /// The protected list of its tenant.
    pub(crate) protected: &'a Protected,
}

/// Which proposals are meant; what is absent does not matter.
#[derive(Default)]
pub(super) struct Filter {
    pub(super) kind: Option<Kind>,
    pub(super) state: Option<ProposalState>,
    /// In lower case.
    pub(super) text: Option<String>,
}

/// A resource that may belong to an entry.
pub(super) struct Proposal {
    pub(super) key: RowKey,
    pub(super) state: ProposalState,
    dn: String,
    profile: ProfileName,
    name: Option<String>,
    found: Match,
    obstacle: Option<String>,
    decision: Option<LinkDecision>,
}

impl Proposal {
    /// What the match of a row comes to; `None` where nobody is asked, because there is no entry or the resource is ours.
    fn of(place: &Place<'_>, row: Row) -> Option<Self> {
        let (profile, seen) = row.owner()?;
        if seen.standing != Standing::Present || row.applied.is_some() {
            return None;
        }
        let found = row.found.clone()?;
        let protected = place.protected.has_found(row.key.kind, &found);
        if found.by == MatchedBy::ExternalId && !protected {
            return None;
        }
        let obstacle = match protected {
            true => Some("it is on the tenant's protected list".to_owned()),
            false => linking::obstacle(&row.key, &found),
        };
        let decision = row.decided().cloned();
        let state = match (&obstacle, decision.as_ref().map(|one| one.accepted)) {
            (_, Some(false)) => ProposalState::Refused,
            (Some(_), _) => ProposalState::Impossible,
            (None, Some(true)) => ProposalState::Accepted,
            (None, None) => ProposalState::Pending,
        };
        let mapping = &place.directory.profile(profile)?.mapping;
        let wanted = mapping.desired(&seen.identity, Utc::now()).resource.ok();
        let name = wanted.as_ref().and_then(|wanted| {
            let name = wanted.get(&name_path(row.key.kind));
            name.and_then(ScimValue::as_text).map(str::to_owned)
        });
        Some(Self {
            dn: seen.identity.dn.clone(),
            profile: profile.clone(),
            key: row.key,
            state,
            name,
            found,
            obstacle,
            decision,
        })
    }

    fn passes(&self, filter: &Filter) -> bool {
        let resource = self.found.resource.as_ref();
        let theirs = resource.and_then(|resource| resource.name.as_ref());
        let has = |text: &String| {
            let mut parts = [
                Some(&self.dn),
                self.name.as_ref(),
                theirs,
                Some(&self.found.id),
            ]
            .into_iter()
            .flatten();
            parts.any(|part| part.to_lowercase().contains(text))
        };
        filter.kind.is_none_or(|kind| kind == self.key.kind)
            && filter.state.is_none_or(|state| state == self.state)
            && filter.text.as_ref().is_none_or(has)
    }

    /// The proposal as it is shown.
    pub(super) fn shown(&self) -> Value {
        let resource = self.found.resource.as_ref();
        let decision = self.decision.as_ref();
        json!({
            "kind": self.key.kind,
            "anchor": self.key.anchor.to_string(),
            "dn": self.dn,
            "name": self.name,
            "profile": self.profile,
            "resource": {
                "id": self.found.id,
                "name": resource.and_then(|resource| resource.name.as_ref()),
                "email": resource.and_then(|resource| resource.email.as_ref()),
                "externalId": resource.and_then(|resource| resource.external_id.as_ref()),
                "active": resource.and_then(|resource| resource.active),
            },
            "matchedBy": linking::attribute(self.key.kind, self.found.by),
            "formerEntry": self.found.by == MatchedBy::FormerEntry,
            "state": self.state,
            "obstacle": self.obstacle,
            "decidedAt": decision.map(|decision| decision.at),
            "decidedBy": decision.map(|decision| &decision.by),
        })
    }
}

/// The proposals among the next rows that pass; and the last row that was looked at, `None` after the last of all.
pub(super) async fn turn(
    place: &Place<'_>,
    filter: &Filter,
    after: Option<RowKey>,
) -> Result<(Vec<Proposal>, Option<RowKey>), Error> {
    let names = place.directory.owners();
    let rows = place
        .store
        .matched_rows(place.directory.id, &names, after, ROWS_PER_TURN)
        .await?;
    let last = rows.last().map(|row| row.key.clone());
    let last = last.filter(|_| rows.len() == ROWS_PER_TURN);
    let proposals = rows.into_iter().filter_map(|row| Proposal::of(place, row));
    let proposals = proposals.filter(|proposal| proposal.passes(filter));
    Ok((proposals.collect(), last))
}

/// All proposals, for the command line; `state` by its word.
///
/// # Errors
/// When the store cannot be read, or there is no such state.
pub(crate) async fn all(place: &Place<'_>, state: Option<&str>) -> Result<Vec<Value>, String> {
    let mut filter = Filter::default();
    if let Some(asked) = state {
        let found = ProposalState::ALL
            .into_iter()
            .find(|state| state.as_str() == asked);
        filter.state = Some(found.ok_or_else(|| {
            let words = ProposalState::ALL.map(ProposalState::as_str);
            format!(
                "there is no state `{}`; use {}",
                asked.escape_debug(),
                words.join(", ")
            )
        })?);
    }
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let turned = turn(place, &filter, after).await;
        let (proposals, next) = turned.map_err(|error| error.message)?;
        items.extend(proposals.iter().map(Proposal::shown));
        after = next;
        if after.is_none() {
            return Ok(items);
        }
    }
}

/// What is done with proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// The resource is the entry's: the next run links it.
    Accept,
    /// It is not: it is left alone, and not proposed again.
    Refuse,
    /// An earlier decision is taken back.
    Release,
}

impl Verb {
    fn deed(self) -> Deed {
        match self {
            Self::Accept => Deed::LinkAccept,
            Self::Refuse => Deed::LinkRefuse,
            Self::Release => Deed::LinkRelease,
        }
    }

    /// Whether it can be done to a proposal that stands so.
    fn takes(self, state: ProposalState) -> bool {
        match self {
            Self::Accept => state == ProposalState::Pending,
            Self::Refuse => matches!(state, ProposalState::Pending | ProposalState::Impossible),
            Self::Release => matches!(state, ProposalState::Accepted | ProposalState::Refused),
        }
    }
}

/// One proposal that is meant: the entry, and the resource as it was shown.
struct Chosen {
    kind: Kind,
    anchor: String,
    id: String,
}

/// Why nothing was decided.
pub(crate) enum Undecided {
    /// What was asked for cannot be done.
    Invalid(Problems),
    /// The store cannot do it.
    Store(Error),
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Decides on the proposals that a request names: `links`, each with kind, anchor and id, or `all` of them, of one `kind` if
/// that is said. Answers how many. Of those that are named, all are decided or none.
///
/// # Errors
/// When the request makes no sense, names what is not proposed, or the store cannot do it.
pub(crate) async fn decide(
    place: &Place<'_>,
    verb: Verb,
    request: &Node,
    hand: &Hand,
) -> Result<u64, Undecided> {
    let mut problems = Problems::default();
    let (chosen, kind) = read(request, &mut problems);
    problems.verdict(Some(())).map_err(Undecided::Invalid)?;
    let Some(chosen) = chosen else {
        return decide_all(place, verb, kind, hand).await;
    };
    let mut proposals = Vec::new();
    let mut problems = Problems::default();
    for (at, chosen) in chosen.iter().enumerate() {
        match find(place, verb, chosen).await? {
            Ok(proposal) => proposals.push(proposal),
            Err(why) => problems.add(None, &format!("/links/{at}"), why),
        }
    }
    problems.verdict(Some(())).map_err(Undecided::Invalid)?;
    write(place, verb, &proposals, hand).await?;
    Ok(proposals.len() as u64)
}

/// Reads a request: those that are named, or `None` for all of a kind.
fn read(request: &Node, problems: &mut Problems) -> (Option<Vec<Chosen>>, Option<Kind>) {
    let mut fields = Fields::of(request, "", problems);
    let all = fields.boolean("all", false, problems);
    let kind = fields.parsed("kind", problems, kind_of);
    let named = fields.has("links");
    let mut chosen = Vec::new();
    for (pointer, node) in fields.tables("links", problems) {
        let mut link = Fields::of(node, &pointer, problems);
        link.required_text("kind", "user or group", problems);
        let kind = link.parsed("kind", problems, kind_of);
        let anchor = link.required_text("anchor", "the entry's anchor", problems);
        let id = link.required_text("id", "the id of the resource, as it is listed", problems);
        if let (Some(kind), Some(anchor), Some(id)) = (kind, anchor, id) {
            let (anchor, id) = (anchor.to_owned(), id.to_owned());
            chosen.push(Chosen { kind, anchor, id });
        }
        link.finish(problems);
    }
    if named == all {
        let cure = "name some by `links`, or write `all`: true for all that wait";
        fields.refuse("links", cure, problems);
    }
    if named && kind.is_some() {
        fields.refuse(
            "kind",
            "goes with `all` only; each of `links` has its own",
            problems,
        );
    }
    fields.finish(problems);
    (named.then_some(chosen), kind)
}

pub(super) fn kind_of(word: &str) -> Result<Kind, String> {
    match word {
        "user" => Ok(Kind::User),
        "group" => Ok(Kind::Group),
        _ => Err("must be user or group".to_owned()),
    }
}

/// The proposal that is meant, or why nothing can be decided on it.
async fn find(
    place: &Place<'_>,
    verb: Verb,
    chosen: &Chosen,
) -> Result<Result<Proposal, String>, Error> {
    let anchors = [
        Uuid::try_parse(&chosen.anchor).ok().map(Anchor::Uuid),
        Some(Anchor::Text(chosen.anchor.clone())),
    ];
    let kind = chosen.kind;
    let keys = anchors.into_iter().flatten();
    let keys = keys.map(|anchor| RowKey { kind, anchor }).collect();
    let names = place.directory.owners();
    let rows = place.store.rows(place.directory.id, &names, keys).await?;
    let proposal = rows.into_iter().find_map(|row| Proposal::of(place, row));
    Ok(match proposal {
        None => Err("nothing is proposed for this entry; list the links again".to_owned()),
        Some(proposal) if proposal.found.id != chosen.id => Err(format!(
            "resource {} is proposed for this entry now; list the links again",
            proposal.found.id
        )),
        Some(proposal) if !verb.takes(proposal.state) => Err(match &proposal.obstacle {
            Some(obstacle) => format!("cannot be linked: {obstacle}"),
            None => format!("is {} already", proposal.state.as_str()),
        }),
        Some(proposal) => Ok(proposal),
    })
}

async fn decide_all(
    place: &Place<'_>,
    verb: Verb,
    kind: Option<Kind>,
    hand: &Hand,
) -> Result<u64, Undecided> {
    let filter = Filter {
        kind,
        ..Filter::default()
    };
    let (mut count, mut after) = (0, None);
    loop {
        let (mut proposals, next) = turn(place, &filter, after).await?;
        // What can never be linked is refused only by name.
        proposals.retain(|one| verb.takes(one.state) && one.state != ProposalState::Impossible);
        write(place, verb, &proposals, hand).await?;
        count += proposals.len() as u64;
        after = next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

async fn write(
    place: &Place<'_>,
    verb: Verb,
    proposals: &[Proposal],
    hand: &Hand,
) -> Result<(), Error> {
    if proposals.is_empty() {
        return Ok(());
    }
    let decision = |proposal: &Proposal| LinkDecision {
        id: proposal.found.id.clone(),
        accepted: verb == Verb::Accept,
        at: hand.at,
        by: hand.actor.to_string(),
    };
    let decisions = proposals.iter().map(|proposal| {
        let decided = (verb != Verb::Release).then(|| decision(proposal));
        (proposal.key.clone(), decided)
    });
    let events = proposals.iter().map(|proposal| Event {
        at: hand.at,
        actor: hand.actor.clone(),
        tenant: Some(place.directory.tenant.clone()),
        deed: verb.deed(),
        subject: format!("{} {}", proposal.key.kind.as_str(), proposal.dn),
        details: vec![
            ("directory".to_owned(), place.directory.name.clone()),
            ("anchor".to_owned(), proposal.key.anchor.to_string()),
            ("id".to_owned(), proposal.found.id.clone()),
        ],
    });
    let (decisions, events) = (decisions.collect(), events.collect());
    place
        .store
        .decide_links(place.directory.id, decisions, events)
        .await
}
