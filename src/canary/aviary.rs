//! The aviary: every canary from just before it is created until it is gone, so that none is forgotten.

use serde_json::Value as Json;

use crate::canary::PAUSE;
use crate::canary::lab::{Halt, Lab, Trial, is_silence, short};
use crate::fault::Fault;
use crate::provider::{Lane, LookupBy, Outcome, Refusal};
use crate::scim::dialect::{Dialect, Paging};
use crate::scim::encode::{self, Request};
use crate::scim::evidence::Leftover;
use crate::scim::resource::Found;
use crate::scim::{Attributes, ResourceType};

/// How often the removal of a canary is tried.
const REMOVALS_MAX: u32 = 6;

/// One canary.
#[derive(Clone, Debug)]
pub(super) struct Canary {
    pub(super) kind: ResourceType,
    /// Its userName or displayName.
    pub(super) name: String,
    /// Its id; unknown until the target says it.
    pub(super) id: Option<String>,
    /// Whether some answer was lost, so that there may be one more of this name.
    pub(super) in_doubt: bool,
}

/// The canaries of one probe.
pub(super) struct Aviary {
    /// What all names begin with.
    prefix: String,
    count: u32,
    canaries: Vec<Canary>,
}

impl Aviary {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            count: 0,
            canaries: Vec::new(),
        }
    }

    /// What all names begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A name for another canary.
    pub(super) fn name(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.prefix, self.count)
    }

    /// Whether a resource bears a name of these canaries.
    fn is_own(&self, resource: &Json) -> bool {
        let name = Found::from_json(resource).and_then(|found| found.name);
        name.is_some_and(|name| name.to_ascii_lowercase().starts_with(&self.prefix))
    }

    /// Takes in a canary that is about to be created.
    pub(super) fn expect(&mut self, kind: ResourceType, name: &str) {
        tracing::info!(
            endpoint = kind.endpoint(),
            name,
            "the probe creates a canary"
        );
        if self.find(kind, name).is_none() {
            self.canaries.push(Canary {
                kind,
                name: name.to_owned(),
                id: None,
                in_doubt: false,
            });
        }
    }

    /// Nobody said what became of its creation.
    pub(super) fn doubt(&mut self, kind: ResourceType, name: &str) {
        if let Some(canary) = self.find(kind, name) {
            canary.in_doubt = true;
        }
    }

    /// Its id is known now.
    pub(super) fn hatched(&mut self, kind: ResourceType, name: &str, id: &str) {
        if let Some(canary) = self.find(kind, name) {
            canary.id = Some(id.to_owned());
        }
    }

    /// It has another name now, or may have.
    pub(super) fn renamed(&mut self, id: &str, name: &str) {
        let mut canaries = self.canaries.iter_mut();
        if let Some(canary) = canaries.find(|canary| canary.id.as_deref() == Some(id)) {
            name.clone_into(&mut canary.name);
        }
    }

    /// Its creation was refused; an earlier try of it may still be in doubt.
    pub(super) fn not_created(&mut self, kind: ResourceType, name: &str) {
        if self.find(kind, name).is_some_and(|canary| !canary.in_doubt) {
            self.forget(kind, name);
        }
    }

    /// It certainly is not there.
    fn forget(&mut self, kind: ResourceType, name: &str) {
        self.canaries
            .retain(|canary| canary.kind != kind || canary.name != name);
    }

    fn find(&mut self, kind: ResourceType, name: &str) -> Option<&mut Canary> {
        let mut canaries = self.canaries.iter_mut();
        canaries.find(|canary| canary.kind == kind && canary.name == name)
    }
}

impl Lab<'_> {
    /// Creates a canary in some manner; the id, or why there is none.
    pub(super) async fn create(
        &mut self,
        manner: &Dialect,
        kind: ResourceType,
        name: &str,
        attributes: &Attributes,
        members: &[String],
    ) -> Result<Result<String, Trial>, Halt> {
        let request = encode::create(kind, attributes, members);
        let mut attempt = 1;
        loop {
            self.check_stop()?;
            self.aviary.expect(kind, name);
            let outcome = self.provider(manner).submit(&request, Lane::Ordinary).await;
            let refusal = match outcome {
                Outcome::Acknowledged { id: Some(id), .. } => {
                    self.aviary.hatched(kind, name, &id);
                    return Ok(Ok(id));
                }
                Outcome::Acknowledged { id: None, .. } => None,
                Outcome::Refused(refusal) => {
                    self.aviary.not_created(kind, name);
                    if refusal.fault == Fault::Denied {
                        return Err(Halt::Refused(refusal));
                    }
                    Some(refusal)
                }
                // It may be there all the same.
                Outcome::Unknown(refusal) => {
                    self.aviary.doubt(kind, name);
                    tokio::time::sleep(PAUSE).await;
                    if let Some(id) = self.sought(kind, name).await?.into_iter().next() {
                        self.aviary.hatched(kind, name, &id);
                        return Ok(Ok(id));
                    }
                    Some(refusal)
                }
            };
            match refusal {
                Some(refusal) if is_silence(&refusal) => {
                    self.wait_again(&refusal, &mut attempt).await?
                }
                refusal => return Ok(Err(self.refused(manner, &request, refusal))),
            }
        }
    }

    fn refused(&self, manner: &Dialect, request: &Request, refusal: Option<Refusal>) -> Trial {
        let answer = refusal.map(|refusal| refusal.message);
        Trial::failed(
            self.words_of(manner, request),
            short(&answer.unwrap_or_else(|| "no id".to_owned())),
            "201 with the new resource",
        )
    }

    /// The ids of canaries whose creation was not answered, read from the list, since filters are not known to work.
    async fn sought(&self, kind: ResourceType, name: &str) -> Result<Vec<String>, Refusal> {
        let mut last = None;
        for paging in [self.dialect.paging, Paging::None, Paging::Cursor] {
            let manner = Dialect {
                paging,
                user_filters: Default::default(),
                group_filters: Default::default(),
                ..self.dialect.clone()
            };
            let provider = self.provider(&manner);
            match provider
                .find(kind, LookupBy::Name, name, Lane::Ordinary)
                .await
            {
                Ok(found) => return Ok(found.into_iter().map(|found| found.id).collect()),
                Err(refusal) => last = last.or(Some(refusal)),
            }
        }
        last.map_or_else(|| Ok(Vec::new()), Err)
    }

    /// Removes one canary before the end.
    pub(super) async fn remove(&mut self, kind: ResourceType, name: &str) {
        if let Some(canary) = self.aviary.find(kind, name).cloned()
            && self.gone(&canary).await.is_ok()
        {
            self.aviary.forget(kind, name);
        }
    }

    /// Removes all canaries, groups first; answers those that are still there.
    pub(super) async fn remove_all(&mut self) -> Vec<Leftover> {
        let mut canaries = std::mem::take(&mut self.aviary.canaries);
        canaries.sort_by_key(|canary| std::cmp::Reverse(canary.kind));
        let mut left = Vec::new();
        for canary in canaries {
            let mut all = vec![canary.clone()];
            if canary.id.is_none() || canary.in_doubt {
                match self.sought_patiently(&canary).await {
                    Ok(ids) => {
                        let others = ids.into_iter().filter(|id| Some(id) != canary.id.as_ref());
                        all.extend(others.map(|id| Canary {
                            id: Some(id),
                            ..canary.clone()
                        }));
                    }
                    Err(refusal) => {
                        left.push(self.leftover(&Canary { id: None, ..canary }, &refusal.message))
                    }
                }
            }
            for canary in all {
                if let Err(why) = self.gone(&canary).await {
                    tracing::warn!(
                        endpoint = canary.kind.endpoint(),
                        name = canary.name,
                        id = canary.id,
                        why,
                        "a canary could not be removed"
                    );
                    left.push(self.leftover(&canary, &why));
                }
            }
        }
        left
    }

    async fn sought_patiently(&self, canary: &Canary) -> Result<Vec<String>, Refusal> {
        let mut attempt = 1;
        loop {
            match self.sought(canary.kind, &canary.name).await {
                Err(refusal) if is_silence(&refusal) && attempt < REMOVALS_MAX => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    /// Removes a canary, and looks whether it is gone; the error says why it is not.
    async fn gone(&self, canary: &Canary) -> Result<(), String> {
        let Some(id) = &canary.id else { return Ok(()) };
        let request = encode::delete(canary.kind, id);
        let provider = self.provider(&self.dialect);
        let mut attempt = 1;
        loop {
            let why = match self.settings.provider.get(canary.kind, id).await {
                Ok(None) => return Ok(()),
                Ok(Some(shown)) if !self.aviary.is_own(&shown) => {
                    return Err(
                        "it does not bear the name of a canary, so it was left alone".to_owned(),
                    );
                }
                Err(refusal) => refusal.message,
                Ok(Some(_)) => match provider.submit(&request, Lane::Ordinary).await {
                    Outcome::Refused(refusal) if !is_silence(&refusal) => {
                        return Err(refusal.message);
                    }
                    Outcome::Refused(refusal) | Outcome::Unknown(refusal) => refusal.message,
                    Outcome::Acknowledged { .. } => {
                        // A target may take a moment to show it.
                        if let Ok(None) = self.settings.provider.get(canary.kind, id).await {
                            return Ok(());
                        }
                        "the target confirmed the removal, and still shows it".to_owned()
                    }
                },
            };
            if attempt >= REMOVALS_MAX {
                return Err(why);
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    fn leftover(&self, canary: &Canary, why: &str) -> Leftover {
        let (base, endpoint) = (&self.settings.tenant.base_url, canary.kind.endpoint());
        let cure = match &canary.id {
            Some(id) => {
                format!("send DELETE {base}/{endpoint}/{id}, or remove it in the target's console")
            }
            None => format!(
                "look for {} in the target's console, where it may be, and remove it",
                canary.name
            ),
        };
        Leftover {
            endpoint: endpoint.to_owned(),
            id: canary.id.clone(),
            name: canary.name.clone(),
            cure: format!("{}; {cure}", short(why)),
        }
    }
}
