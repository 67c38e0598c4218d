//! One entry explained, wherever it is: found by what people call it, in scope or not, and each clause of the search for it
//! asked of the server by itself, so that the server's own matching rules decide.

mod judge;

use std::collections::BTreeSet;
use std::sync::Arc;

use lber::structure::StructureTag;

use crate::fault::Fault;
use crate::identity::Anchor;
use crate::identity::dn::Dn;
use crate::source::explanation::{Absence, Explained, Explanation, Inquiry};
use crate::source::ldap::answer::{Answer, printable};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::find;
use crate::source::ldap::frame::Message;
use crate::source::ldap::missing::{self, Verdict};
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::{Scope, Sought, readable_dn};
use crate::source::ldap::session::{NAMING_CONTEXTS, NO_SUCH_OBJECT, Session};
use crate::source::ldap::wire::{Found, WireError};
use crate::source::ldap::words;
use crate::source::{Error, Stage};

/// Entries of one name that are told of.
const SEVERAL_MAX: u16 = 20;
/// Questions about parts of filters, for one entry.
const QUESTIONS_MAX: usize = 200;
/// The result codes of a text that is no name to the server, and of an answer cut short (RFC 4511 §4.1.9).
const INVALID_DN: u32 = 34;
const SIZE_LIMIT: u32 = 4;
/// The object classes of what is a group, whatever a profile takes for one.
const GROUPS: [&str; 4] = ["group", "groupOfNames", "groupOfUniqueNames", "posixGroup"];
const UNITS: [&str; 1] = ["organizationalUnit"];

/// Finds the entry that is called so, and says what each clause makes of it.
pub(super) async fn explain(session: &mut Session, inquiry: &Inquiry) -> Result<Explained, Error> {
    session.check_server()?;
    let doing = format!("the search for `{}`", inquiry.selector.escape_debug());
    let mut asking = Asking {
        doing,
        bases: wide_bases(session, inquiry).await,
        scopes: session.scopes(),
        session,
        questions: 0,
    };
    let (candidates, absent) = asking.candidates(inquiry).await?;
    if candidates.is_empty() {
        let (absence, why) = absent.unwrap_or_else(|| asking.nowhere(inquiry));
        return Ok(Explained::Absent(absence, why));
    }
    let (entry, also) = match asking.chosen(candidates).await? {
        Ok(chosen) => chosen,
        Err(several) => return Ok(Explained::Several(several)),
    };
    let explanation = asking.explained(inquiry, entry, also).await?;
    Ok(Explained::Found(Box::new(explanation)))
}

/// Where everything is that a search could ever have: what the server holds above the directory's start, and search bases
/// that lie elsewhere.
async fn wide_bases(session: &mut Session, inquiry: &Inquiry) -> Vec<String> {
    let start: Option<Dn> = inquiry.base_dn.parse().ok();
    // A server that does not show its root leaves the start of the configuration.
    let root = session.root(&[NAMING_CONTEXTS]).await.unwrap_or_default();
    let context = root.into_iter().map(|(_, text)| text).find(|text| {
        let context: Option<Dn> = text
            .parse()
            .ok()
            .filter(|dn: &Dn| !dn.normalized().is_empty());
        let holds = |context: &Dn| start.as_ref().is_some_and(|start| start.is_within(context));
        context.as_ref().is_some_and(holds)
    });
    let mut bases: Vec<String> = context.into_iter().collect();
    // What an account may read need not be readable from the context on.
    bases.push(inquiry.base_dn.clone());
    for scope in session.scopes() {
        if !bases.iter().any(|wide| is_below(&scope.base, wide)) {
            bases.push(scope.base.clone());
        }
    }
    bases.dedup_by_key(|base| base.parse::<Dn>().ok());
    bases
}

/// An entry that was found, as the server sent it.
struct Candidate {
    dn: String,
    message: Message,
}

/// Questions about one entry.
struct Asking<'a> {
    session: &'a mut Session,
    scopes: Vec<Arc<Scope>>,
    bases: Vec<String>,
    doing: String,
    questions: usize,
}

impl Asking<'_> {
    fn broken(&self, error: &WireError) -> Error {
        words::broken(&self.session.server, &self.doing, error)
    }

    /// The controls of every search; the same for all of them.
    fn controls(&self) -> Vec<ldap3::controls::RawControl> {
        let first = self.scopes.first();
        first.map(|scope| scope.controls()).unwrap_or_default()
    }

    async fn ask(
        &mut self,
        base: &str,
        reach: Reach,
        filter: StructureTag,
        attributes: &[&str],
    ) -> Result<Found, Error> {
        let search = Search {
            base,
            reach,
            filter,
            entries_max: 0,
            attributes,
            names_only: false,
        };
        let controls = self.controls();
        let found = self.session.wire.find_up_to(SEVERAL_MAX, search, controls);
        found.await.map_err(|error| self.broken(&error))
    }

    /// Everything that is called so: by DN, else by anchor, else by name; and of a DN that has no entry, why.
    async fn candidates(
        &mut self,
        inquiry: &Inquiry,
    ) -> Result<(Vec<Candidate>, Option<(Absence, String)>), Error> {
        let text = inquiry.selector.as_str();
        let mut absent = None;
        if text.parse().is_ok_and(|dn: Dn| !dn.normalized().is_empty()) {
            let wanted = self.wanted();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let found = self
                .ask(text, Reach::Base, request::any_entry(), &wanted)
                .await?;
            let answer = found.answer.clone();
            let candidates = self.read(found)?;
            if !candidates.is_empty() {
                return Ok((candidates, None));
            }
            absent = self.why_absent(text, &answer).await?;
        }
        for (attribute, value) in self.names_of(inquiry) {
            let any = request::any_entry();
            let filter = request::narrowed(&any, &attribute, &value);
            let candidates = self.below(filter).await?;
            if !candidates.is_empty() {
                return Ok((candidates, None));
            }
        }
        Ok((Vec::new(), absent))
    }

    /// The attributes and values by which the text may name an entry, in the order in which they are tried.
    fn names_of(&self, inquiry: &Inquiry) -> Vec<(String, Vec<u8>)> {
        let text = inquiry.selector.as_str();
        let mut names = Vec::new();
        if let Some(scope) = self.scopes.first() {
            let anchor = match uuid::Uuid::try_parse(text) {
                Ok(uuid) => Anchor::Uuid(uuid),
                Err(_) => Anchor::Text(text.to_owned()),
            };
            let forms = [anchor, Anchor::Text(text.to_owned())];
            let value = forms.iter().find_map(|form| scope.anchor_form.encode(form));
            names.extend(value.map(|value| (scope.anchor_attribute.clone(), value)));
        }
        let called = &inquiry.names;
        let attributes = [&called.user, &called.group, &called.unit];
        let attributes = attributes.into_iter().flatten();
        names.extend(attributes.map(|name| (name.clone(), text.as_bytes().to_vec())));
        names
    }

    /// Entries that match, below the first of the wide bases that has any.
    async fn below(&mut self, filter: StructureTag) -> Result<Vec<Candidate>, Error> {
        let wanted = self.wanted();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut refused = None;
        for base in self.bases.clone() {
            let found = self.ask(&base, Reach::Subtree, filter.clone(), &wanted);
            let found = found.await?;
            refused = match found.answer.code {
                0 | SIZE_LIMIT | NO_SUCH_OBJECT => None,
                _ => Some(found.answer.clone()),
            };
            let mut candidates = self.read(found)?;
            candidates.dedup_by(|one, other| one.dn == other.dn);
            if !candidates.is_empty() {
                return Ok(candidates);
            }
        }
        match refused {
            Some(answer) => Err(words::refused(&self.session.server, &self.doing, &answer)),
            None => Ok(Vec::new()),
        }
    }

    fn read(&self, found: Found) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for message in found.entries {
            let entry = Entry::decode(&message).map_err(|error| self.broken(&error.into()))?;
            let dn = readable_dn(entry.dn).map_err(|problem| {
                let message = format!("{}: {}: {problem}", self.session.server, self.doing);
                Error::new(Stage::Reading, Fault::Rejected, message)
            })?;
            candidates.push(Candidate {
                dn: dn.to_owned(),
                message: message.clone(),
            });
        }
        Ok(candidates)
    }

    /// Everything that any of the searches asks for.
    fn wanted(&self) -> Vec<String> {
        let wanted = self.scopes.iter().flat_map(|scope| scope.wanted.iter());
        let wanted: BTreeSet<&String> = wanted.collect();
        wanted.into_iter().cloned().collect()
    }

    /// Why there is nothing under a DN.
    async fn why_absent(
        &mut self,
        dn: &str,
        answer: &Answer,
    ) -> Result<Option<(Absence, String)>, Error> {
        let name = printable(dn.as_bytes());
        match answer.code {
            0 => {
                let why = format!("`{name}` is there, but the account may not see it");
                return Ok(Some((Absence::Hidden, why)));
            }
            NO_SUCH_OBJECT => {}
            INVALID_DN => return Ok(None),
            _ => return Err(words::refused(&self.session.server, &self.doing, answer)),
        }
        let controls = self.controls();
        let verdict = missing::judge(self.session, dn, &controls, &self.doing, answer).await?;
        Ok(Some(match verdict {
            Verdict::NotThere(what) if self.session.active_directory => (
                Absence::Untold,
                format!(
                    "`{name}`: {what}; Active Directory says the same of an entry that the account may not see"
                ),
            ),
            Verdict::NotThere(what) => (Absence::Missing, format!("`{name}`: {what}")),
            Verdict::Hidden(above) if above == dn => (
                Absence::Hidden,
                format!("`{name}` is there, but the account may not see it"),
            ),
            Verdict::Hidden(above) | Verdict::Bare(above) if !self.is_readable(&above).await? => (
                Absence::Hidden,
                format!(
                    "`{}` above `{name}` is there, but the account may not see it, so what is below cannot be told",
                    printable(above.as_bytes())
                ),
            ),
            Verdict::Hidden(_) | Verdict::Bare(_) | Verdict::Untold => (
                Absence::Untold,
                format!(
                    "`{name}` does not exist, or the account may not see it: the server's answer is the same for both"
                ),
            ),
        }))
    }

    async fn is_readable(&mut self, dn: &str) -> Result<bool, Error> {
        let asked = self.ask(
            dn,
            Reach::Base,
            request::any_entry(),
            &[request::NO_ATTRIBUTES],
        );
        Ok(!asked.await?.entries.is_empty())
    }

    fn nowhere(&self, inquiry: &Inquiry) -> (Absence, String) {
        let bases = self.bases.join("`, `");
        let by = match inquiry.names.user {
            Some(_) => "by DN, anchor or userName",
            None => {
                "by DN or anchor; the profile does not take the userName from one attribute of the directory"
            }
        };
        let why = format!(
            "nothing below `{bases}` that the account may see is called `{}` {by}; check the spelling, and the account's rights",
            inquiry.selector.escape_debug()
        );
        (Absence::Untold, why)
    }

    /// The one that is meant: the only one, or the only one in scope, with the names of the others. Else all names.
    async fn chosen(
        &mut self,
        mut candidates: Vec<Candidate>,
    ) -> Result<Result<(Candidate, Vec<String>), Vec<String>>, Error> {
        let mut at = None;
        if candidates.len() > 1 {
            for (index, candidate) in candidates.iter().enumerate() {
                let dn = candidate.dn.clone();
                if self.scope_of(&dn).await?.is_some() && at.replace(index).is_some() {
                    at = None;
                    break;
                }
            }
        } else {
            at = Some(0);
        }
        Ok(match at {
            Some(at) => {
                let chosen = candidates.swap_remove(at);
                Ok((
                    chosen,
                    candidates.into_iter().map(|other| other.dn).collect(),
                ))
            }
            None => Err(candidates.into_iter().map(|other| other.dn).collect()),
        })
    }

    /// The first search that has an entry.
    async fn scope_of(&mut self, dn: &str) -> Result<Option<Arc<Scope>>, Error> {
        for scope in self.scopes.clone() {
            if is_below(dn, &scope.base) && self.matches(dn, &scope.filter).await? == Some(true) {
                return Ok(Some(scope));
            }
        }
        Ok(None)
    }

    /// The search that would have the entry if it were in scope, by what it is.
    async fn likeliest(&mut self, dn: &str) -> Result<Option<Arc<Scope>>, Error> {
        let scopes = self.scopes.clone();
        for scope in &scopes {
            if self.matches(dn, &scope.filter).await? == Some(true) {
                return Ok(Some(scope.clone()));
            }
        }
        for (sought, classes) in [(Sought::Groups, &GROUPS[..]), (Sought::Units, &UNITS)] {
            let Some(scope) = scopes.iter().find(|scope| scope.sought == sought) else {
                continue;
            };
            let classes = classes
                .iter()
                .map(|class| ("objectClass", class.as_bytes()));
            let classes: Vec<_> = classes.collect();
            let filter = request::with_any(&request::any_entry(), &classes);
            if self.matches(dn, &filter).await? == Some(true) {
                return Ok(Some(scope.clone()));
            }
        }
        Ok(scopes.into_iter().next())
    }

    /// Whether the server says that an entry matches; `None` when it does not say, or was asked too much already.
    async fn matches(&mut self, dn: &str, filter: &StructureTag) -> Result<Option<bool>, Error> {
        self.questions += 1;
        if self.questions > QUESTIONS_MAX {
            return Ok(None);
        }
        let found = self.ask(dn, Reach::Base, filter.clone(), &[request::NO_ATTRIBUTES]);
        let found = found.await?;
        Ok(found
            .answer
            .is_success()
            .then_some(!found.entries.is_empty()))
    }

    async fn explained(
        &mut self,
        inquiry: &Inquiry,
        entry: Candidate,
        also: Vec<String>,
    ) -> Result<Explanation, Error> {
        let dn = entry.dn.clone();
        let own = self.scope_of(&dn).await?;
        let in_scope = own.is_some();
        let scope = match own {
            Some(scope) => Some(scope),
            None => self.likeliest(&dn).await?,
        };
        let Some(scope) = scope else {
            let message = format!(
                "{}: {}: the profile has no search",
                self.session.server, self.doing
            );
            return Err(Error::new(Stage::Reading, Fault::Defect, message));
        };
        let observed = find::observed(self.session, &scope, entry.message).await;
        let observation = observed.map_err(|error| self.broken(&error))?;
        Ok(Explanation {
            observation,
            in_scope,
            clauses: self.clauses(inquiry, &scope, &dn).await?,
            also,
        })
    }
}

fn is_below(dn: &str, base: &str) -> bool {
    let (dn, base): (Option<Dn>, Option<Dn>) = (dn.parse().ok(), base.parse().ok());
    dn.zip(base).is_some_and(|(dn, base)| dn.is_within(&base))
}
