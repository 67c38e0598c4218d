//! A proxy before any LDAP server that understands what passes, and falsifies one answer to the listing of users and groups.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::fault_ldap::{
    done, element, elements, entry_named, last_page, message, parse, reference, result, tlv,
};

/// What is falsified. The lies about a page come at a page that is not the last one of its search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Instead of an entry the search ends with this result code.
    Ends(u8),
    /// Instead of an entry the server says that it closes the connection, and does.
    Disconnects,
    /// An entry comes without its anchor.
    HidesAnchor,
    /// An entry and those after it in its page do not come.
    DropsEntries,
    /// One entry does not come.
    DropsEntry,
    /// A reference to another server comes before an entry.
    Refers,
    /// An entry breaks the encoding.
    Breaks,
    /// Of the members of a group with several of them only a range comes, and the connection ends when the rest is asked for.
    CutsMembers,
    /// The result of a page has no paging control.
    LosesControl,
    /// A page claims to be the last one.
    EndsEarly,
    /// The next page has the entries of this one again, and not its own.
    RepeatsPage,
}

/// What passed of the listing since the last [`Tampering::lie`] or [`Tampering::pass`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    /// Entries.
    pub entries: usize,
    /// Pages that others follow.
    pub pages: usize,
    /// Groups with several members.
    pub groups: usize,
    /// Bytes of all answers up to the last of the listing, of all connections.
    pub bytes: usize,
}

#[derive(Default)]
struct State {
    lie: Option<(Lie, usize)>,
    passed: Passed,
    bytes: usize,
    told: bool,
    ended: bool,
}

/// A running proxy; it takes no more connections when dropped.
pub struct Tampering {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
}

impl Tampering {
    /// Starts before the server on that port of 127.0.0.1; everything passes.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port of this machine");
        let address = listener.local_addr().expect("the bound address");
        let shared = Arc::new(Mutex::new(State::default()));
        let state = shared.clone();
        std::thread::spawn(move || accept(&listener, upstream, &state));
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lies about the entry, the page or the group of this number from now on, from 0.
    pub fn lie(&self, lie: Lie, at: usize) {
        self.set(Some((lie, at)));
    }

    /// Lets everything pass.
    pub fn pass(&self) {
        self.set(None);
    }

    /// What passed.
    pub fn passed(&self) -> Passed {
        self.shared.lock().unwrap().passed
    }

    /// Whether the lie was told.
    pub fn told(&self) -> bool {
        self.shared.lock().unwrap().told
    }

    fn set(&self, lie: Option<(Lie, usize)>) {
        let mut state = self.shared.lock().unwrap();
        *state = State {
            lie,
            ended: state.ended,
            ..State::default()
        };
    }
}

impl Drop for Tampering {
    fn drop(&mut self) {
        self.shared.lock().unwrap().ended = true;
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// What a request is about, as far as answers to it are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Listing,
    /// Further values of an attribute.
    Range,
    Other,
}

type Requests = Arc<Mutex<HashMap<u8, About>>>;

fn accept(listener: &TcpListener, upstream: u16, shared: &Arc<Mutex<State>>) {
    for client in listener.incoming().flatten() {
        if shared.lock().unwrap().ended {
            return;
        }
        // A server that is gone ends the client's connection too.
        let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else {
            continue;
        };
        // Small answers must not wait for each other.
        client.set_nodelay(true).expect("an open connection");
        server.set_nodelay(true).expect("an open connection");
        let requests = Requests::default();
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let noted = requests.clone();
        std::thread::spawn(move || pass_requests(from, to, &noted));
        let mut answers = Answers {
            shared: shared.clone(),
            requests,
            swallowed: None,
            is_dropping: false,
            page: Vec::new(),
            again: None,
        };
        std::thread::spawn(move || answers.pass(server, client));
    }
}

fn pass_requests(mut client: TcpStream, mut server: TcpStream, requests: &Requests) {
    let mut buffer = Vec::new();
    let mut read = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut read) {
        buffer.extend_from_slice(&read[..count]);
        while let Some((content, length)) = element(&buffer) {
            let request = parse(content);
            let is_look = request.anchor.is_some() || request.guid.is_some();
            let mut names = request.attributes.iter();
            let about = match request.op {
                0x63 if request.subtree && request.cookie.is_some() && !is_look => About::Listing,
                0x63 if names.any(|name| name.contains(";range=")) => About::Range,
                _ => About::Other,
            };
            requests.lock().unwrap().insert(request.id, about);
            if server.write_all(&buffer[..length]).is_err() {
                return;
            }
            buffer.drain(..length);
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// What becomes of one answer.
enum Fate {
    Passes,
    /// These bytes come instead.
    Instead(Vec<u8>),
    /// These bytes come instead, and the connection ends.
    Ends(Vec<u8>),
}

/// The answers of one connection.
struct Answers {
    shared: Arc<Mutex<State>>,
    requests: Requests,
    /// The search that a lie has ended: what the server still says to it does not come.
    swallowed: Option<u8>,
    is_dropping: bool,
    /// The entries of the page that is coming.
    page: Vec<Vec<u8>>,
    /// The entries that come instead of those of this page.
    again: Option<Vec<Vec<u8>>>,
}

impl Answers {
    fn pass(&mut self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = Vec::new();
        let mut read = [0; 4096];
        'connection: while let Ok(count @ 1..) = server.read(&mut read) {
            buffer.extend_from_slice(&read[..count]);
            while let Some((content, length)) = element(&buffer) {
                self.shared.lock().unwrap().bytes += length;
                let (bytes, ends) = match self.fate(content) {
                    Fate::Passes => (buffer[..length].to_vec(), false),
                    Fate::Instead(bytes) => (bytes, false),
                    Fate::Ends(bytes) => (bytes, true),
                };
                if client.write_all(&bytes).is_err() || ends {
                    break 'connection;
                }
                buffer.drain(..length);
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn fate(&mut self, content: &[u8]) -> Fate {
        let parts = elements(content);
        let id = *parts[0].1.last().unwrap();
        let (op, body) = parts[1];
        if self.swallowed == Some(id) {
            if op == 0x65 {
                self.swallowed = None;
            }
            return Fate::Instead(Vec::new());
        }
        let about = self.requests.lock().unwrap().get(&id).copied();
        match (about, op) {
            (Some(About::Listing), 0x64) => self.entry(id, body),
            (Some(About::Listing), 0x65) => self.end_of_page(id, body, parts.get(2)),
            (Some(About::Range), _) => {
                let state = self.shared.lock().unwrap();
                match state.lie {
                    Some((Lie::CutsMembers, _)) if state.told => Fate::Ends(Vec::new()),
                    _ => Fate::Passes,
                }
            }
            // The group is read anew when its values did not come at once.
            (Some(About::Other), 0x64) => {
                let state = self.shared.lock().unwrap();
                let members = members(body);
                match state.lie {
                    Some((Lie::CutsMembers, at)) if state.told && members > 1 => {
                        Fate::Instead(with_range(id, body, 1 + at % (members - 1)))
                    }
                    _ => Fate::Passes,
                }
            }
            _ => Fate::Passes,
        }
    }

    fn entry(&mut self, id: u8, body: &[u8]) -> Fate {
        let shared = self.shared.clone();
        let mut state = shared.lock().unwrap();
        let number = state.passed.entries;
        state.passed.entries += 1;
        self.page.push(body.to_vec());
        let members = members(body);
        let group = state.passed.groups;
        state.passed.groups += usize::from(members > 1);
        if self.again.is_some() || self.is_dropping {
            return Fate::Instead(Vec::new());
        }
        let Some((lie, at)) = state.lie else {
            return Fate::Passes;
        };
        if lie == Lie::CutsMembers {
            if members < 2 || group != at {
                return Fate::Passes;
            }
            state.told = true;
            return Fate::Instead(with_range(id, body, 1 + at % (members - 1)));
        }
        let is_about_pages = matches!(lie, Lie::LosesControl | Lie::EndsEarly | Lie::RepeatsPage);
        if is_about_pages || number != at {
            return Fate::Passes;
        }
        state.told = true;
        self.lie_about_entry(lie, id, body)
    }

    fn lie_about_entry(&mut self, lie: Lie, id: u8, body: &[u8]) -> Fate {
        let original = message(id, tlv(0x64, body), &[]);
        match lie {
            Lie::Ends(code) => {
                self.swallowed = Some(id);
                Fate::Instead(done(id, code, "told so"))
            }
            Lie::Disconnects => {
                let name = tlv(0x8a, b"1.3.6.1.4.1.1466.20036");
                let body = [result(52, "told so"), name].concat();
                Fate::Ends(message(0, tlv(0x78, &body), &[]))
            }
            Lie::HidesAnchor => Fate::Instead(without_anchor(original)),
            Lie::DropsEntries => {
                self.is_dropping = true;
                Fate::Instead(Vec::new())
            }
            Lie::DropsEntry => Fate::Instead(Vec::new()),
            Lie::Refers => {
                let dn = String::from_utf8_lossy(elements(body)[0].1).into_owned();
                let (_, above) = dn.split_once(',').unwrap();
                let uri = format!("ldap://other.example.org/ou=far,{above}");
                Fate::Instead([reference(id, &uri), original].concat())
            }
            // A name that is said to be longer than the entry.
            _ => Fate::Instead(message(id, vec![0x64, 4, 4, 100, 1, 2], &[])),
        }
    }

    fn end_of_page(&mut self, id: u8, body: &[u8], controls: Option<&(u8, &[u8])>) -> Fate {
        let page = std::mem::take(&mut self.page);
        self.is_dropping = false;
        {
            let mut state = self.shared.lock().unwrap();
            state.passed.bytes = state.bytes;
        }
        let original = || {
            let controls = controls.map_or(Vec::new(), |(_, list)| list.to_vec());
            message(id, tlv(0x65, body), &[controls])
        };
        if let Some(again) = self.again.take() {
            let again = again.iter().map(|body| message(id, tlv(0x64, body), &[]));
            return Fate::Instead([again.collect::<Vec<_>>().concat(), original()].concat());
        }
        if !is_followed(controls) {
            return Fate::Passes;
        }
        let mut state = self.shared.lock().unwrap();
        let number = state.passed.pages;
        state.passed.pages += 1;
        let Some((lie, at)) = state.lie else {
            return Fate::Passes;
        };
        let fate = match lie {
            _ if number != at => return Fate::Passes,
            Lie::LosesControl => Fate::Instead(done(id, 0, "")),
            Lie::EndsEarly => Fate::Instead(last_page(id)),
            Lie::RepeatsPage => {
                self.again = Some(page);
                Fate::Passes
            }
            _ => return Fate::Passes,
        };
        state.told = true;
        fate
    }
}

/// Whether the paging control of a result has a cookie.
fn is_followed(controls: Option<&(u8, &[u8])>) -> bool {
    let controls = controls.map_or(Vec::new(), |(_, list)| elements(list));
    controls.iter().any(|(_, control)| {
        let parts = elements(control);
        parts[0].1 == b"1.2.840.113556.1.4.319"
            && elements(elements(parts[parts.len() - 1].1)[0].1)
                .get(1)
                .is_some_and(|(_, cookie)| !cookie.is_empty())
    })
}

type Attribute<'a> = (&'a str, Vec<Vec<u8>>);

fn attributes(body: &[u8]) -> Vec<Attribute<'_>> {
    let list = elements(elements(body)[1].1);
    list.iter()
        .map(|(_, attribute)| {
            let parts = elements(attribute);
            let values = elements(parts[1].1).into_iter();
            let name = std::str::from_utf8(parts[0].1).unwrap();
            (name, values.map(|(_, value)| value.to_vec()).collect())
        })
        .collect()
}

/// How many values `member` has.
fn members(body: &[u8]) -> usize {
    let attributes = attributes(body);
    let member = attributes.iter().find(|(name, _)| *name == "member");
    member.map_or(0, |(_, values)| values.len())
}

/// The entry with the first so many values of `member` only, as a server gives them that does not give all at once.
fn with_range(id: u8, body: &[u8], count: usize) -> Vec<u8> {
    let range = format!("member;range=0-{}", count - 1);
    let mut changed: Vec<Attribute<'_>> = Vec::new();
    for (name, mut values) in attributes(body) {
        if name == "member" {
            changed.push((name, Vec::new()));
            values.truncate(count);
            changed.push((&range, values));
        } else {
            changed.push((name, values));
        }
    }
    entry_named(id, elements(body)[0].1, &changed)
}

/// The message with the anchor's attribute under another name.
fn without_anchor(mut message: Vec<u8>) -> Vec<u8> {
    for name in [&b"entryUUID"[..], b"objectGUID"] {
        let found = message
            .windows(name.len())
            .position(|part| part.eq_ignore_ascii_case(name));
        if let Some(at) = found {
            message[at] = b'x';
        }
    }
    message
}
