//! The laboratory: sends experiments in the manner that they try, and reads back what came of each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use crate::canary::aviary::Aviary;
use crate::canary::{PAUSE, Settings, halted};
use crate::directory::tenant::dialect;
use crate::fault::Fault;
use crate::provider::{Lane, Outcome, Provider, Refusal};
use crate::scim::dialect::{Dialect, Updates};
use crate::scim::encode::{self, Method, Request};
use crate::scim::evidence::{Experiment, agrees, held};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Attributes, ResourceType, shape};

/// How often a request is sent that the target does not answer.
const ATTEMPTS_MAX: u32 = 5;
/// The most of a request or a value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// Why experiments end before their time.
#[derive(Debug)]
pub(super) enum Halt {
    /// Somebody wants it, or the time is over.
    Stopped,
    /// The target lets nothing in, or does not answer.
    Refused(Refusal),
}

/// What came of one experiment.
#[derive(Clone, Debug, Default)]
pub(super) struct Trial {
    pub(super) words: Experiment,
    /// Whether what was expected came of it.
    pub(super) worked: bool,
    /// Whether the target refused the whole because it wants to be told the version.
    pub(super) wants_version: bool,
}

/// What is known so far.
pub(super) struct Lab<'a> {
    pub(super) settings: &'a Settings,
    /// The manner, as far as it was found out.
    pub(super) dialect: Dialect,
    /// The experiments that speak for each field that differs.
    pub(super) reasons: BTreeMap<String, Vec<Experiment>>,
    pub(super) notes: Vec<String>,
    pub(super) aviary: Aviary,
    /// Whether the target creates active users only.
    pub(super) starts_active: bool,
    /// Whether it takes e-mail addresses for userNames only.
    pub(super) names_are_addresses: bool,
    /// The attributes with which users are created.
    pub(super) taken: Vec<AttributePath>,
    /// A group that is there, where groups can be created.
    pub(super) group: Option<String>,
    numbers: u32,
}

impl Trial {
    /// One that did not work.
    pub(super) fn failed(
        request: impl Into<String>,
        answer: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            words: Experiment {
                request: request.into(),
                answer: answer.into(),
                expected: expected.into(),
            },
            ..Self::default()
        }
    }
}

impl<'a> Lab<'a> {
    pub(super) fn new(settings: &'a Settings, name: &str) -> Self {
        Self {
            settings,
            dialect: settings.tenant.dialect.clone(),
            reasons: BTreeMap::new(),
            notes: Vec::new(),
            aviary: Aviary::new(name),
            starts_active: false,
            names_are_addresses: false,
            taken: Vec::new(),
            group: None,
            numbers: 0,
        }
    }

    /// A number that no value had yet.
    pub(super) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn provider(&self, manner: &Dialect) -> Box<dyn Provider> {
        self.settings.provider.in_manner(manner.clone())
    }

    /// Goes on in another manner, for what an experiment in the one before showed.
    pub(super) fn adopt(&mut self, manner: Dialect, because: &Trial) {
        for (field, value) in dialect::differences(&self.dialect, &manner) {
            let reasons = self.reasons.entry(field).or_default();
            // Of a list each name has its own reason.
            if !value.is_array() {
                reasons.clear();
            }
            reasons.push(because.words.clone());
        }
        self.dialect = manner;
    }

    /// How long the target takes to show what was written.
    pub(super) fn settle(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.tenant.settle_s))
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Ends the experiments when that is wanted.
    pub(super) fn check_stop(&self) -> Result<(), Halt> {
        match self.settings.stop.is_cancelled() {
            true => Err(Halt::Stopped),
            false => Ok(()),
        }
    }

    /// Sends a change, again while the target does not answer. Not for creates, which may be carried out without an answer.
    async fn send(&self, manner: &Dialect, request: &Request) -> Result<Outcome, Halt> {
        let provider = self.provider(manner);
        let mut attempt = 1;
        loop {
            self.check_stop()?;
            let outcome = provider.submit(request, Lane::Ordinary).await;
            match &outcome {
                Outcome::Refused(refusal) if refusal.fault == Fault::Denied => {
                    return Err(Halt::Refused(refusal.clone()));
                }
                Outcome::Refused(refusal) | Outcome::Unknown(refusal) if is_silence(refusal) => {
                    self.wait_again(refusal, &mut attempt).await?;
                }
                _ => return Ok(outcome),
            }
        }
    }

    /// Waits before a request goes again; ends the experiments when that was tried too often.
    pub(super) async fn wait_again(
        &self,
        refusal: &Refusal,
        attempt: &mut u32,
    ) -> Result<(), Halt> {
        if *attempt >= ATTEMPTS_MAX {
            return Err(Halt::Refused(refusal.clone()));
        }
        tokio::select! {
            () = self.settings.stop.cancelled() => return Err(Halt::Stopped),
            () = tokio::time::sleep(PAUSE * *attempt) => {}
        }
        *attempt += 1;
        Ok(())
    }

    /// Reads a canary that is there.
    pub(super) async fn read(&self, kind: ResourceType, id: &str) -> Result<Json, Halt> {
        self.check_stop()?;
        let read = self.settings.provider.get(kind, id).await?;
        read.ok_or_else(|| {
            halted(format!(
                "GET /{}/{id} does not find what was just created or changed",
                kind.endpoint()
            ))
        })
    }

    /// Changes attributes of a canary in some manner, and looks whether just these have changed. `before` becomes what is read back.
    pub(super) async fn change(
        &self,
        manner: &Dialect,
        kind: ResourceType,
        id: &str,
        before: &mut Attributes,
        wanted: &Attributes,
        paths: &[AttributePath],
    ) -> Result<Trial, Halt> {
        let changes: Vec<AttributeChange> = paths
            .iter()
            .map(|path| AttributeChange {
                path: path.clone(),
                before: before.get(path).cloned(),
                after: wanted.get(path).cloned(),
            })
            .filter(|change| change.before != change.after)
            .collect();
        let request = encode::update(kind, id, before, &changes, manner);
        let known: Vec<AttributePath> = before.keys().chain(wanted.keys()).cloned().collect();
        let (outcome, read) = self.send_and_read(manner, &request).await?;
        let shown = held(&read, &known, manner);
        let trial = Trial {
            words: Experiment {
                request: self.words_of(manner, &request),
                answer: words_of_answer(&outcome, &described(&shown, paths)),
                expected: format!("confirmed, and {} read back", described(wanted, paths)),
            },
            worked: matches!(outcome, Outcome::Acknowledged { .. }) && agrees(wanted, &shown),
            wants_version: wants_version(&outcome),
        };
        *before = shown;
        Ok(trial)
    }

    /// Sends a change of a canary, and reads the canary.
    pub(super) async fn send_and_read(
        &self,
        manner: &Dialect,
        request: &Request,
    ) -> Result<(Outcome, Json), Halt> {
        let outcome = self.send(manner, request).await?;
        let id = request.id.as_deref().unwrap_or_default();
        let read = self.read(request.resource_type, id).await?;
        Ok((outcome, read))
    }

    /// A request in words, as it goes in a manner.
    pub(super) fn words_of(&self, manner: &Dialect, request: &Request) -> String {
        let endpoint = request.resource_type.endpoint();
        let is_put = match manner.updates(request.resource_type) {
            Updates::AsAdvertised => self.settings.provider.puts(request.resource_type),
            Updates::Patch => false,
            Updates::Put => true,
        };
        let (method, body) = match request.method {
            Method::Patch if is_put => {
                ("PUT with the changes made of", shape::body(request, manner))
            }
            method => (method.as_str(), shape::body(request, manner)),
        };
        let body = match request.method {
            Method::Patch => body.map(|body| body["Operations"].to_string()),
            _ => body.map(|body| body.to_string()),
        };
        let id = request
            .id
            .as_ref()
            .map_or(String::new(), |id| format!("/{id}"));
        short(&format!(
            "{method} /{endpoint}{id} {}",
            body.unwrap_or_default()
        ))
    }
}

/// Whether a refusal says nothing of the request: nobody answered, or not now.
pub(super) fn is_silence(refusal: &Refusal) -> bool {
    let passing = matches!(refusal.fault, Fault::Throttled | Fault::Transient);
    passing && matches!(refusal.status, None | Some(408 | 425 | 429 | 502..=504))
        || refusal.fault == Fault::Throttled
}

fn wants_version(outcome: &Outcome) -> bool {
    let status = match outcome {
        Outcome::Refused(refusal) | Outcome::Unknown(refusal) => refusal.status,
        Outcome::Acknowledged { .. } => None,
    };
    matches!(status, Some(412 | 428))
}

/// An answer in words, with what the resource shows afterwards.
pub(super) fn words_of_answer(outcome: &Outcome, shown: &str) -> String {
    match outcome {
        Outcome::Acknowledged { .. } => format!("confirmed; read back: {shown}"),
        Outcome::Refused(refusal) | Outcome::Unknown(refusal) => short(&refusal.message),
    }
}

/// Some attributes with their values.
pub(super) fn described(attributes: &Attributes, paths: &[AttributePath]) -> String {
    let one = |path: &AttributePath| match attributes.get(path) {
        Some(value) => format!("{path} {}", value.to_json()),
        None => format!("no {path}"),
    };
    short(&paths.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Not more of a text than a person reads.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}
