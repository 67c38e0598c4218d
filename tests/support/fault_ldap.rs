//! A scripted LDAP server: polite until the script says otherwise, then it answers with prepared bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What the server does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes, whatever they are.
    Send(Vec<u8>),
    /// Sends the same bytes again and again, until the connection ends.
    Flood(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Says nothing more, and keeps the connection.
    Silence,
    /// Says nothing until this was notified, once more for each of these steps.
    Await(Arc<Notify>),
}

/// A request, as far as scripts look at it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub id: u8,
    /// The tag of the operation: `0x60` bind, `0x63` search, `0x77` extended.
    pub op: u8,
    /// Searches: where it starts.
    pub base: String,
    /// Searches: whether it reaches below its base.
    pub subtree: bool,
    /// Searches: the attributes that are asked for.
    pub attributes: Vec<String>,
    /// Searches: the anchor that a look at one entry asks for, as its entryUUID reads.
    pub anchor: Option<String>,
    /// Searches: the same as the bytes of its objectGUID.
    pub guid: Option<Vec<u8>>,
    /// Searches: the most entries that are wanted; 0 for all of them.
    pub entries_max: usize,
    /// Searches: the entries that are asked for in a page.
    pub page_entries: Option<usize>,
    /// Searches: the paging cookie.
    pub cookie: Option<Vec<u8>>,
    /// Searches: the object identifiers of the controls that come with it.
    pub controls: Vec<String>,
}

type Script = dyn Fn(&Request) -> Option<Vec<Step>> + Send + Sync;

/// A running server; it ends when dropped.
pub struct FaultLdap {
    pub address: SocketAddr,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FaultLdap {
    /// Starts a server. Requests for which the script has `None` are answered as a polite server does.
    pub async fn start(
        script: impl Fn(&Request) -> Option<Vec<Step>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Script> = Arc::new(script);
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&script), Arc::clone(&counter)));
            }
        });
        Self {
            address,
            sent,
            task,
        }
    }

    /// Bytes that the connections have taken so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for FaultLdap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, sent: Arc<AtomicU64>) {
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some((message, bytes)) = element(&buffer) {
                let request = parse(message);
                buffer.drain(..bytes);
                break request;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        for step in script(&request).unwrap_or_else(|| polite(&request)) {
            let (bytes, again) = match step {
                Step::Send(bytes) => (bytes, false),
                Step::Flood(bytes) => (bytes, true),
                Step::Close => return,
                Step::Silence => std::future::pending().await,
                Step::Await(something) => {
                    something.notified().await;
                    continue;
                }
            };
            loop {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
                sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                if !again {
                    break;
                }
            }
        }
    }
}

/// Binds, names the user, shows the base, and finds nothing below it.
fn polite(request: &Request) -> Vec<Step> {
    let id = request.id;
    let answer = match request.op {
        0x60 => message(id, tlv(0x61, &result(0, "")), &[]),
        0x77 => {
            let body = [result(0, ""), tlv(0x8b, b"dn:cn=reader")].concat();
            message(id, tlv(0x78, &body), &[])
        }
        0x63 if !request.subtree => [entry(id, &request.base, &[]), done(id, 0, "")].concat(),
        0x63 => last_page(id),
        _ => return vec![Step::Close],
    };
    vec![Step::Send(answer)]
}

/// One element with its header.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84][..], &length, content].concat()
}

/// A whole message.
pub fn message(id: u8, operation: Vec<u8>, controls: &[Vec<u8>]) -> Vec<u8> {
    let mut content = [tlv(2, &[id]), operation].concat();
    if !controls.is_empty() {
        content.extend(tlv(0xa0, &controls.concat()));
    }
    tlv(0x30, &content)
}

/// The components of a result.
pub fn result(code: u8, text: &str) -> Vec<u8> {
    [tlv(10, &[code]), tlv(4, b""), tlv(4, text.as_bytes())].concat()
}

/// An entry; values are bytes.
pub fn entry(id: u8, dn: &str, attributes: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    entry_named(id, dn.as_bytes(), attributes)
}

/// An entry whose name is any bytes.
pub fn entry_named(id: u8, dn: &[u8], attributes: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| tlv(4, value)).collect();
            tlv(
                0x30,
                &[tlv(4, name.as_bytes()), tlv(0x31, &values)].concat(),
            )
        })
        .collect();
    let body = [tlv(4, dn), tlv(0x30, &attributes)].concat();
    message(id, tlv(0x64, &body), &[])
}

/// The end of a search, without a paging control.
pub fn done(id: u8, code: u8, text: &str) -> Vec<u8> {
    message(id, tlv(0x65, &result(code, text)), &[])
}

/// The end of a page.
pub fn page(id: u8, cookie: &[u8]) -> Vec<u8> {
    let value = tlv(0x30, &[tlv(2, &[0]), tlv(4, cookie)].concat());
    let control = tlv(
        0x30,
        &[tlv(4, b"1.2.840.113556.1.4.319"), tlv(4, &value)].concat(),
    );
    message(id, tlv(0x65, &result(0, "")), &[control])
}

/// The end of the last page.
pub fn last_page(id: u8) -> Vec<u8> {
    page(id, b"")
}

/// A search result reference.
pub fn reference(id: u8, uri: &str) -> Vec<u8> {
    message(id, tlv(0x73, &tlv(4, uri.as_bytes())), &[])
}

/// The content of the first element, and how many bytes it has with its header.
pub fn element(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let first = usize::from(*bytes.get(1)?);
    let (header, length) = if first < 0x80 {
        (2, first)
    } else {
        let count = first & 0x7f;
        let length = bytes.get(2..2 + count)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (2 + count, length)
    };
    Some((bytes.get(header..header + length)?, header + length))
}

/// All elements that follow each other, with their tags.
pub fn elements(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some((content, length)) = element(bytes) {
        found.push((bytes[0], content));
        bytes = &bytes[length..];
    }
    found
}

/// The value of the part `(NAME=…)` of a filter (RFC 4511 §4.5.1.7), at any depth of ands.
fn compared((tag, content): (u8, &[u8]), name: &str) -> Option<Vec<u8>> {
    match tag {
        0xa0 => elements(content)
            .into_iter()
            .find_map(|part| compared(part, name)),
        0xa3 => {
            let parts = elements(content);
            let is_it = parts[0].1.eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| parts[1].1.to_vec())
        }
        _ => None,
    }
}

/// An integer that is not negative.
fn number(bytes: &[u8]) -> usize {
    let bytes = bytes.iter();
    bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A request, from the content of its message.
pub fn parse(message: &[u8]) -> Request {
    let parts = elements(message);
    let (op, body) = parts[1];
    let mut request = Request {
        id: parts[0].1[parts[0].1.len() - 1],
        op,
        ..Request::default()
    };
    if op == 0x63 {
        let fields = elements(body);
        request.base = String::from_utf8(fields[0].1.to_vec()).unwrap();
        request.subtree = fields[1].1 == [2];
        request.entries_max = number(fields[3].1);
        request.anchor =
            compared(fields[6], "entryUUID").map(|text| String::from_utf8(text).unwrap());
        request.guid = compared(fields[6], "objectGUID");
        request.attributes = elements(fields[7].1)
            .iter()
            .map(|(_, name)| String::from_utf8(name.to_vec()).unwrap())
            .collect();
        for (_, control) in parts.get(2).map_or(Vec::new(), |(_, list)| elements(list)) {
            let control = elements(control);
            let oid = String::from_utf8(control[0].1.to_vec());
            request.controls.push(oid.unwrap());
            if control[0].1 == b"1.2.840.113556.1.4.319" {
                assert_eq!(control[1], (1, &[0xff][..]), "paging must be critical");
                let value = elements(elements(control[2].1)[0].1);
                request.page_entries = Some(number(value[0].1));
                request.cookie = Some(value[1].1.to_vec());
            }
        }
    }
    request
}
