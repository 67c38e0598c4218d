//! The search operation (RFC 4511 section 4.5) with simple paged results (RFC 2696).
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapOp, LdapPartialAttribute, LdapResult, LdapResultCode, LdapSearchRequest,
    LdapSearchResultEntry, LdapSearchScope,
};
use uuid::Uuid;

use crate::demo::directory::Directory;
use crate::demo::directory::dn::Key;
use crate::demo::directory::entries::{Entry, Tree};
use crate::demo::directory::filter;

const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";

/// What is sent for one request: operations with their controls.
pub type Reply = Vec<(LdapOp, Vec<LdapControl>)>;

/// The paged searches that one connection has open.
#[derive(Default)]
pub struct Pages {
    open: HashMap<Vec<u8>, OpenSearch>,
    made: u64,
}

struct OpenSearch {
    request: LdapSearchRequest,
    last: Key,
    sent: usize,
}

/// The size of a page, and what the client gave back of the last one.
struct PageRequest {
    size: usize,
    cookie: Vec<u8>,
}

/// What one request finds.
struct Found {
    entries: Vec<LdapSearchResultEntry>,
    /// The last entry, if there are more behind it.
    more_after: Option<Key>,
}

/// Answers a search. Whoever has not authenticated sees the root DSE only.
pub fn search(
    directory: &Directory,
    bound: bool,
    pages: &mut Pages,
    request: LdapSearchRequest,
    controls: &[LdapControl],
) -> Reply {
    if controls.iter().any(is_unsupported) {
        return done(
            LdapResultCode::UnavailableCriticalExtension,
            "",
            "a critical control is not supported",
        );
    }
    let tree = directory.read();
    if request.base.is_empty() && request.scope == LdapSearchScope::Base {
        return root_dse(&tree, &request);
    }
    if !bound {
        return done(
            LdapResultCode::InsufficentAccessRights,
            "",
            "bind before you search",
        );
    }
    let Some(base) = Key::parse(&request.base) else {
        return done(
            LdapResultCode::InvalidDNSyntax,
            "",
            "the base is not a distinguished name",
        );
    };
    if tree.get(&base).is_none() {
        let matched = closest(&tree, &base);
        return done(
            LdapResultCode::NoSuchObject,
            &matched,
            "the base does not exist",
        );
    }
    match controls.iter().find_map(page_request) {
        Some(page) => paged(&tree, &base, pages, request, &page),
        None => {
            let limit = limit(&request).unwrap_or(usize::MAX);
            let found = find(&tree, &base, &request, None, limit);
            let code = match found.more_after {
                Some(_) => LdapResultCode::SizeLimitExceeded,
                None => LdapResultCode::Success,
            };
            reply(found.entries, code, Vec::new())
        }
    }
}

fn paged(
    tree: &Tree,
    base: &Key,
    pages: &mut Pages,
    request: LdapSearchRequest,
    page: &PageRequest,
) -> Reply {
    let (after, sent) = match page.cookie.as_slice() {
        [] => (None, 0),
        cookie => match pages.open.remove(cookie) {
            Some(open) if open.request == request => (Some(open.last), open.sent),
            _ => {
                return done(
                    LdapResultCode::UnwillingToPerform,
                    "",
                    "the paged results cookie is not valid",
                );
            }
        },
    };
    if page.size == 0 {
        // RFC 2696 section 3: size 0 with a cookie gives the search up.
        return reply(
            Vec::new(),
            LdapResultCode::Success,
            vec![page_control(Vec::new())],
        );
    }
    let left = limit(&request).map_or(usize::MAX, |limit| limit.saturating_sub(sent));
    let found = find(tree, base, &request, after.as_ref(), page.size.min(left));
    let sent = sent + found.entries.len();
    let (code, cookie) = match found.more_after {
        None => (LdapResultCode::Success, Vec::new()),
        Some(_) if limit(&request).is_some_and(|limit| sent >= limit) => {
            (LdapResultCode::SizeLimitExceeded, Vec::new())
        }
        Some(last) => {
            pages.made += 1;
            let cookie = pages.made.to_be_bytes().to_vec();
            let open = OpenSearch {
                request,
                last,
                sent,
            };
            pages.open.insert(cookie.clone(), open);
            (LdapResultCode::Success, cookie)
        }
    };
    reply(found.entries, code, vec![page_control(cookie)])
}

fn find(
    tree: &Tree,
    base: &Key,
    request: &LdapSearchRequest,
    after: Option<&Key>,
    most: usize,
) -> Found {
    let in_scope = |key: &Key| match request.scope {
        LdapSearchScope::Base => key == base,
        LdapSearchScope::OneLevel => key.depth() == base.depth() + 1,
        LdapSearchScope::Subtree => true,
        LdapSearchScope::Children => key != base,
    };
    let matching = tree.within(base, after).filter(|(key, entry)| {
        in_scope(key) && filter::matches(&request.filter, entry) == Some(true)
    });
    let mut entries = Vec::new();
    let mut last: Option<&Key> = None;
    for (key, entry) in matching {
        if entries.len() == most {
            return Found {
                entries,
                more_after: last.cloned(),
            };
        }
        entries.push(selected(entry, request));
        last = Some(key);
    }
    Found {
        entries,
        more_after: None,
    }
}

/// An entry with the attributes that were asked for (RFC 4511 section 4.5.1.8).
fn selected(entry: &Entry, request: &LdapSearchRequest) -> LdapSearchResultEntry {
    let asks = |name: &str| {
        request
            .attrs
            .iter()
            .any(|asked| asked.eq_ignore_ascii_case(name))
    };
    let all_user = request.attrs.is_empty() || asks("*");
    let user = entry
        .attributes
        .iter()
        .map(|(name, values)| (name.as_str(), values.clone(), all_user));
    let operational = entry
        .operational()
        .map(|(name, value)| (name, vec![value.into_bytes()], asks("+")));
    let attributes = user
        .chain(operational)
        .filter(|(name, _, all)| *all || asks(name))
        .map(|(name, values, _)| LdapPartialAttribute {
            atype: name.to_owned(),
            vals: if request.typesonly {
                Vec::new()
            } else {
                values
            },
        });
    LdapSearchResultEntry {
        dn: entry.dn.clone(),
        attributes: attributes.collect(),
    }
}

fn root_dse(tree: &Tree, request: &LdapSearchRequest) -> Reply {
    let text = |values: &[&str]| {
        values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect()
    };
    let contexts: Vec<&str> = tree.roots().map(|entry| entry.dn.as_str()).collect();
    let attributes: [(&str, Vec<Vec<u8>>); 6] = [
        ("objectClass", text(&["top"])),
        ("namingContexts", text(&contexts)),
        ("supportedLDAPVersion", text(&["3"])),
        ("supportedControl", text(&[PAGED_RESULTS])),
        ("vendorName", text(&["scim-relay"])),
        (
            "vendorVersion",
            text(&[concat!("demo directory ", env!("CARGO_PKG_VERSION"))]),
        ),
    ];
    let entry = Entry {
        dn: String::new(),
        uuid: Uuid::nil(),
        created: DateTime::<Utc>::UNIX_EPOCH,
        modified: DateTime::<Utc>::UNIX_EPOCH,
        attributes: attributes
            .map(|(name, values)| (name.to_owned(), values))
            .to_vec(),
    };
    if filter::matches(&request.filter, &entry) != Some(true) {
        return done(LdapResultCode::Success, "", "");
    }
    // These attributes are operational, so "+" asks for them; they are not those that every entry has.
    let mut request = request.clone();
    for asked in &mut request.attrs {
        if asked == "+" {
            "*".clone_into(asked);
        }
    }
    reply(
        vec![selected(&entry, &request)],
        LdapResultCode::Success,
        Vec::new(),
    )
}

/// The DN of the closest entry above a base that does not exist.
fn closest(tree: &Tree, base: &Key) -> String {
    let mut above = base.parent();
    while let Some(key) = above {
        if let Some(entry) = tree.get(&key) {
            return entry.dn.clone();
        }
        above = key.parent();
    }
    String::new()
}

fn limit(request: &LdapSearchRequest) -> Option<usize> {
    usize::try_from(request.sizelimit)
        .ok()
        .filter(|limit| *limit > 0)
}

fn page_request(control: &LdapControl) -> Option<PageRequest> {
    match control {
        LdapControl::SimplePagedResults { size, cookie } => Some(PageRequest {
            size: usize::try_from(*size).unwrap_or(0),
            cookie: cookie.clone(),
        }),
        _ => None,
    }
}

fn page_control(cookie: Vec<u8>) -> LdapControl {
    // Size 0: the server has no estimate of the total.
    LdapControl::SimplePagedResults { size: 0, cookie }
}

fn is_unsupported(control: &LdapControl) -> bool {
    match control {
        LdapControl::SyncRequest { criticality, .. }
        | LdapControl::ShowDeleted { criticality }
        | LdapControl::SdFlags { criticality, .. }
        | LdapControl::SearchOptions { criticality, .. }
        | LdapControl::ExtendedDn { criticality, .. }
        | LdapControl::Unknown { criticality, .. } => *criticality,
        LdapControl::AdDirsync { .. } => true,
        _ => false,
    }
}

fn reply(
    entries: Vec<LdapSearchResultEntry>,
    code: LdapResultCode,
    controls: Vec<LdapControl>,
) -> Reply {
    let entries = entries.into_iter();
    let mut reply: Reply = entries
        .map(|entry| (LdapOp::SearchResultEntry(entry), Vec::new()))
        .collect();
    reply.push((LdapOp::SearchResultDone(result(code, "", "")), controls));
    reply
}

fn done(code: LdapResultCode, matched: &str, message: &str) -> Reply {
    vec![(
        LdapOp::SearchResultDone(result(code, matched, message)),
        Vec::new(),
    )]
}

/// An LDAPResult without referral.
pub fn result(code: LdapResultCode, matched: &str, message: &str) -> LdapResult {
    LdapResult {
        code,
        matcheddn: matched.to_owned(),
        message: message.to_owned(),
        referral: Vec::new(),
    }
}
