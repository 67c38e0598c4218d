//! One entry explained: where it is, in scope or not, and which clause of the search decides that.

use crate::identity::observation::Observation;
use crate::source::Names;

/// What is asked of a directory about one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// The DN, the anchor as it is printed, or the name.
    pub selector: String,
    /// The attributes by which people call entries.
    pub names: Names,
    /// Where the directory starts: entries outside the searches are looked for from here, and from the naming context above.
    pub base_dn: String,
    /// What the filter of users was put together from: the field, and its part.
    pub users: Vec<(&'static str, String)>,
}

/// What was found of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explained {
    /// The one that is meant.
    Found(Box<Explanation>),
    /// Several are called so, and which one is meant cannot be told: their names.
    Several(Vec<String>),
    /// None, as far as the account may see.
    Absent(Absence, String),
}

/// How certain it is that an entry is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is not there.
    Missing,
    /// It is there, or something above it is, and the account may not see it.
    Hidden,
    /// The server does not let it be told.
    Untold,
}

/// An entry, and what each clause of the search for its kind says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The entry as a read would state it, were it in scope.
    pub observation: Observation,
    /// Whether the search has it.
    pub in_scope: bool,
    /// The clauses, in order.
    pub clauses: Vec<Clause>,
    /// Others that are called so, and are not in scope.
    pub also: Vec<String>,
}

/// One clause of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// `base`, or the field that it comes from.
    pub name: &'static str,
    /// The base DN, or the filter.
    pub text: String,
    /// Whether the entry passes; `None` when the server does not say.
    pub passes: Option<bool>,
    /// Why it does not.
    pub reason: Option<String>,
    /// What a filter of several parts consists of.
    pub parts: Vec<Part>,
}

/// How a part of a filter is made of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// All must match.
    And,
    /// One must match.
    Or,
    /// It must not match.
    Not,
    /// It is made of no others: it compares an attribute.
    Compare,
}

/// A part of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part as RFC 4515 writes it.
    pub filter: String,
    /// How it is made of its parts.
    pub operator: Operator,
    /// Whether the server says that the entry matches; `None` when it does not say.
    pub matches: Option<bool>,
    /// What the entry has of the attribute that is compared; absent when it was not asked for.
    pub has: Option<String>,
    /// Its parts.
    pub parts: Vec<Part>,
}
