//! Connections to the directory: one task each, one request after the other.
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapBindResponse, LdapCompareRequest, LdapExtendedRequest,
    LdapExtendedResponse, LdapMsg, LdapOp, LdapResultCode, OID_WHOAMI,
};
use ldap3_proto::{DisconnectionNotice, LdapCodec};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

use crate::demo::directory::Directory;
use crate::demo::directory::dn::Key;
use crate::demo::directory::filter;
use crate::demo::directory::search::{Pages, Reply, result, search};

/// Answers are written out when this much has gathered.
const WRITE_AT: usize = 64 << 10;

/// Serves the directory until `shutdown`, which ends open connections too.
pub async fn serve(directory: Directory, listener: TcpListener, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let session = Session {
                    directory: directory.clone(),
                    bound: false,
                    pages: Pages::default(),
                };
                let ended = shutdown.clone().cancelled_owned();
                tokio::spawn(async move {
                    tokio::select! {
                        () = ended => {}
                        end = session.run(stream) => if let Err(error) = end {
                            tracing::debug!(%error, "a connection to the demo directory ended early");
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the demo directory could not accept a connection");
                // Out of file descriptors most likely: without a pause the loop would only burn CPU.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

struct Session {
    directory: Directory,
    bound: bool,
    pages: Pages,
}

impl Session {
    async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut codec = LdapCodec::default();
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        loop {
            let message = match codec.decode(&mut input) {
                Ok(Some(message)) => message,
                Ok(None) => {
                    if stream.read_buf(&mut input).await? == 0 {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => {
                    let notice = DisconnectionNotice::gen_response(
                        LdapResultCode::ProtocolError,
                        "not an LDAP message",
                    );
                    codec.encode(notice, &mut output)?;
                    stream.write_all(&output).await?;
                    return Err(error);
                }
            };
            let id = message.msgid;
            let Some(reply) = self.answer(message.op, &message.ctrl) else {
                return Ok(());
            };
            for (op, ctrl) in reply {
                codec.encode(
                    LdapMsg {
                        msgid: id,
                        op,
                        ctrl,
                    },
                    &mut output,
                )?;
                if output.len() >= WRITE_AT {
                    stream.write_all(&output).await?;
                    output.clear();
                }
            }
            stream.write_all(&output).await?;
            output.clear();
        }
    }

    /// What to send for a request; `None` to close the connection.
    fn answer(&mut self, op: LdapOp, controls: &[LdapControl]) -> Option<Reply> {
        let read_only = || {
            result(
                LdapResultCode::UnwillingToPerform,
                "",
                "this directory is read-only",
            )
        };
        let op = match op {
            LdapOp::UnbindRequest => return None,
            // Every request is answered before the next is read, so there is never anything to abandon.
            LdapOp::AbandonRequest(_) => return Some(Vec::new()),
            LdapOp::SearchRequest(request) => {
                let pages = &mut self.pages;
                return Some(search(
                    &self.directory,
                    self.bound,
                    pages,
                    request,
                    controls,
                ));
            }
            LdapOp::BindRequest(request) => LdapOp::BindResponse(self.bind(&request)),
            LdapOp::ExtendedRequest(request) => LdapOp::ExtendedResponse(self.extended(&request)),
            LdapOp::CompareRequest(request) => LdapOp::CompareResult(self.compare(&request)),
            LdapOp::ModifyRequest(_) => LdapOp::ModifyResponse(read_only()),
            LdapOp::AddRequest(_) => LdapOp::AddResponse(read_only()),
            LdapOp::DelRequest(_) => LdapOp::DelResponse(read_only()),
            LdapOp::ModifyDNRequest(_) => LdapOp::ModifyDNResponse(read_only()),
            // Answers, which only a server sends.
            _ => return None,
        };
        Some(vec![(op, Vec::new())])
    }

    fn bind(&mut self, request: &LdapBindRequest) -> LdapBindResponse {
        // RFC 4511 section 4.2.1: whatever comes of it, a bind ends the earlier authentication.
        self.bound = false;
        self.pages = Pages::default();
        let (code, message) = match &request.cred {
            _ if request.version != 3 => (
                LdapResultCode::ProtocolError,
                "only LDAP version 3 is spoken",
            ),
            LdapBindCred::Simple(password) if request.dn.is_empty() && password.is_empty() => {
                (LdapResultCode::Success, "")
            }
            // RFC 4513 section 5.1.2: a name without password must not look like an authentication.
            LdapBindCred::Simple(password) if password.is_empty() => (
                LdapResultCode::UnwillingToPerform,
                "a bind with a name needs a password",
            ),
            LdapBindCred::Simple(password) if self.is_reader(&request.dn, password) => {
                self.bound = true;
                (LdapResultCode::Success, "")
            }
            LdapBindCred::Simple(_) => (LdapResultCode::InvalidCredentials, ""),
            _ => (
                LdapResultCode::AuthMethodNotSupported,
                "only simple binds are supported",
            ),
        };
        LdapBindResponse {
            res: result(code, "", message),
            saslcreds: None,
        }
    }

    fn is_reader(&self, dn: &str, password: &str) -> bool {
        let Some(reader) = &self.directory.reader else {
            return false;
        };
        let key = Key::parse(dn);
        let same_password = bool::from(password.as_bytes().ct_eq(reader.password.as_bytes()));
        key.is_some() && key == reader.key && same_password
    }

    fn extended(&self, request: &LdapExtendedRequest) -> LdapExtendedResponse {
        let reader = self.directory.reader.as_ref().filter(|_| self.bound);
        let (res, value) = match request.name.as_str() {
            OID_WHOAMI => {
                let identity = reader.map(|reader| format!("dn:{}", reader.dn));
                let value = identity.unwrap_or_default().into_bytes();
                (result(LdapResultCode::Success, "", ""), Some(value))
            }
            _ => (
                result(
                    LdapResultCode::ProtocolError,
                    "",
                    "the extended operation is not supported",
                ),
                None,
            ),
        };
        LdapExtendedResponse {
            res,
            name: None,
            value,
        }
    }

    fn compare(&self, request: &LdapCompareRequest) -> ldap3_proto::proto::LdapResult {
        if !self.bound {
            return result(
                LdapResultCode::InsufficentAccessRights,
                "",
                "bind before you compare",
            );
        }
        let tree = self.directory.read();
        let Some(entry) = Key::parse(&request.dn).and_then(|key| tree.get(&key)) else {
            return result(LdapResultCode::NoSuchObject, "", "the entry does not exist");
        };
        let wanted = String::from_utf8_lossy(&request.val);
        let is_held =
            |held: &Vec<u8>| filter::equal(&request.atype, &String::from_utf8_lossy(held), &wanted);
        match entry.values(&request.atype) {
            [] => result(
                LdapResultCode::NoSuchAttribute,
                "",
                "the entry has no such attribute",
            ),
            values if values.iter().any(is_held) => result(LdapResultCode::CompareTrue, "", ""),
            _ => result(LdapResultCode::CompareFalse, "", ""),
        }
    }
}
