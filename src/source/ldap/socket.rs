//! The way to the server: name resolution, TCP, and TLS from the first byte or by StartTLS (RFC 4511 §4.14).

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::fault::Fault;
use crate::source::ldap::answer::Answer;
use crate::source::ldap::request;
use crate::source::ldap::tls::Tls;
use crate::source::ldap::wire::{Stream, Wire, WireError};
use crate::source::ldap::words;
use crate::source::{Error, Security, Settings, Stage};

const EXTENDED_RESPONSE: u8 = 0x78;
/// An answer to StartTLS is short; whatever is longer is not one.
const START_TLS_BYTES_MAX: usize = 64 * 1024;
/// How long a silent connection is left alone before the peer is asked whether it still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Connects and protects the connection, within the time that the settings allow for both; answers the server's address,
/// too.
pub(super) async fn connect(
    settings: &Settings,
    server: &str,
) -> Result<(Box<dyn Stream>, SocketAddr), Error> {
    let limit = settings.connect_timeout;
    let deadline = Instant::now() + limit;
    let (stream, peer) = tcp(settings, server, deadline).await?;
    let stream: Box<dyn Stream> = Box::new(stream);
    if settings.security == Security::Plain {
        return Ok((stream, peer));
    }
    let tls = Tls::prepare(settings, server)?;
    let protect = async {
        let stream = if settings.security == Security::StartTls {
            start_tls(stream, settings, server).await?
        } else {
            stream
        };
        tls.wrap(stream, server).await
    };
    let protected = timeout(left(deadline), protect).await.unwrap_or_else(|_| {
        let message = format!(
            "{server}: no TLS handshake within {} seconds; check that the port speaks TLS",
            limit.as_secs_f64()
        );
        Err(Error::new(Stage::Tls, Fault::Transient, message))
    });
    Ok((protected?, peer))
}

/// Tries each address of the host in turn, each with its share of the time that is left.
async fn tcp(
    settings: &Settings,
    server: &str,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), Error> {
    let failed = |what: String| {
        let message = format!("{server}: {what}; check host, port and firewall");
        Error::new(Stage::Network, Fault::Transient, message)
    };
    let addresses: Vec<SocketAddr> = match settings.peer {
        Some(peer) => vec![peer],
        None => {
            let lookup = lookup_host((settings.host.as_str(), settings.port));
            let found = timeout(left(deadline), lookup).await;
            let found =
                found.map_err(|_| failed("the name was not resolved in time".to_owned()))?;
            found
                .map_err(|error| failed(format!("the name cannot be resolved: {error}")))?
                .collect()
        }
    };
    let mut problem = "the name has no address".to_owned();
    for (tried, address) in addresses.iter().enumerate() {
        let share = left(deadline) / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                tune(&stream).map_err(|error| failed(error.to_string()))?;
                return Ok((stream, *address));
            }
            Ok(Err(error)) => problem = format!("{address}: {error}"),
            Err(_) => problem = format!("{address}: no connection in time"),
        }
    }
    Err(failed(problem))
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

sockopt_impl!(
    /// The bytes that must have come before a reader is woken.
    WakeAt,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    libc::c_int
);

impl Stream for TcpStream {
    fn wake_at(&self, bytes: usize) {
        // A stream that cannot do that wakes for each byte, which costs time and nothing else.
        let bytes = libc::c_int::try_from(bytes).unwrap_or(1);
        let _ = setsockopt(self, WakeAt, &bytes);
    }
}

/// Small requests leave at once, and a peer that vanished is noticed.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Asks for TLS, and gives back the stream only when the server agreed and has sent nothing beyond its answer: what
/// came in plain text must never be read as if it had come through TLS.
async fn start_tls(
    stream: Box<dyn Stream>,
    settings: &Settings,
    server: &str,
) -> Result<Box<dyn Stream>, Error> {
    let doing = "StartTLS";
    let mut wire = Wire::new(stream, START_TLS_BYTES_MAX, settings.connect_timeout);
    let answer = wire
        .ask(request::start_tls())
        .await
        .and_then(|message| match message.op {
            EXTENDED_RESPONSE => Ok(Answer::decode(message.body())?.0),
            _ => Err(WireError::Unexpected),
        })
        .map_err(|error| words::broken(server, doing, &error))?;
    let refused = |what: &str| {
        let message = format!("{server}: {doing}: {what}");
        Error::new(Stage::Tls, Fault::Denied, message)
    };
    if !answer.is_success() {
        return Err(refused(&format!(
            "{}; the server does not offer it: set up its certificate, or use ldaps",
            answer.words()
        )));
    }
    wire.into_stream().ok_or_else(|| {
        refused("the server sent more than its answer before TLS began; somebody may be in between")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// How long a reader is watched that shall sleep on.
    const WATCHED: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_reader_is_woken_when_enough_has_come_or_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let near = near.await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let woken = async |within| timeout(within, near.readable()).await.is_ok();
        let read = || {
            let mut bytes = vec![0; 10_000];
            near.try_read(&mut bytes).unwrap_or_default()
        };
        near.wake_at(5_000);
        far.write_all(&[1; 4_999]).await.unwrap();
        assert!(!woken(WATCHED).await);
        far.write_all(&[1]).await.unwrap();
        assert!(woken(WATCHED * 100).await);
        assert_eq!(read(), 5_000);
        assert_eq!(read(), 0);
        far.write_all(&[1]).await.unwrap();
        assert!(!woken(WATCHED).await);
        near.wake_at(1);
        assert!(woken(WATCHED * 100).await);
        assert_eq!(read(), 1);
        assert_eq!(read(), 0);
        near.wake_at(5_000);
        far.shutdown().await.unwrap();
        assert!(woken(WATCHED * 100).await);
    }
}
