//! The listener: HTTP/1.1 by hyper, with TLS where configured, limits on time, size and connections, and a polite end.
//!
//! hyper's http1 builder, not the automatic one, because that never closes a connection that says nothing. What hyper
//! refuses before there is a request (a header that is broken, far too large or too slow) it answers itself with 400, 414
//! or 431 and no body, or by closing.

mod places;
pub(super) mod tls;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::middleware::{HEADER_BYTES_MAX, HEADER_LINES_MAX};
use crate::admin::server::places::{Limits, Place, Places, UnderWay};
use crate::admin::server::tls::Tls;

/// Connections open at the same time. A process often may have 1,024 files open, and the jobs need some of them.
const LIMITS: Limits = Limits {
    total: 768,
    peer: 384,
};
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the header of a request may take, and so how long a connection may stay silent before and between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an answer may wait for a peer that takes nothing.
#[cfg(target_os = "linux")]
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// What hyper buffers of a request's header, roughly, and how many lines it takes; what is answered well is half of that.
const HEADER_BUFFER: usize = 2 * HEADER_BYTES_MAX;
const HEADER_LINES: usize = 2 * HEADER_LINES_MAX;
/// How long requests under way may take once the relay stops, and what has begun no request.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const SILENCE_PATIENCE: Duration = Duration::from_secs(1);
/// What is taken from a peer after the last answer.
const LINGER_BYTES_MAX: u64 = 1024 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often it is said that connections cannot be accepted.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Serves until told to stop, then waits for the requests under way, those included that nobody waits for any more.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    requests: TaskTracker,
    stop: CancellationToken,
) {
    let acceptor = tls.as_ref().map(|tls| tls.acceptor.clone());
    if let Some(tls) = tls {
        tokio::spawn(tls.keep_up(stop.clone()));
    }
    let places = Places::new(LIMITS);
    let connections = TaskTracker::new();
    let mut complaints = Complaints::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                // Most likely out of file descriptors: who says nothing gives way.
                complaints.make(&format!("connections cannot be accepted: {error}"));
                places.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip()) else {
            complaints.make("all connections are at work; a new one was closed");
            continue;
        };
        let (router, acceptor, stop) = (router.clone(), acceptor.clone(), stop.clone());
        connections.spawn(async move {
            set_up(&stream);
            let Some(acceptor) = acceptor else {
                return connection(stream, (&place, peer), router, stop).await;
            };
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
            let shaken = tokio::select! {
                shaken = handshake => shaken,
                () = place.gives_way() => return,
                () = stop.cancelled() => return,
            };
            match shaken {
                Ok(Ok(stream)) => connection(stream, (&place, peer), router, stop).await,
                Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }
    drop(listener);
    connections.close();
    requests.close();
    let ended = async { tokio::join!(connections.wait(), requests.wait()) };
    if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
        tracing::warn!("requests to the admin endpoint did not end in time");
    }
}

/// Serves one connection until it ends, must give way, or the relay stops.
async fn connection(
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    (place, peer): (&Place, SocketAddr),
    router: Router,
    stop: CancellationToken,
) {
    tokio::select! {
        () = answer_requests(&mut stream, (place, peer), router, &stop) => {}
        () = place.gives_way() => return,
    }
    tokio::select! {
        () = linger(&mut stream) => {}
        () = place.gives_way() => {}
        () = stop.cancelled() => {}
    }
}

/// Answers one request after the other. Once the relay stops, the one under way is the last.
async fn answer_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    (place, peer): (&Place, SocketAddr),
    router: Router,
    stop: &CancellationToken,
) {
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let under_way = place.request();
        let answer = TowerToHyperService::new(router.clone()).call(request);
        async move {
            let answer = answer.await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answer { body, under_way }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BUFFER)
        .max_headers(HEADER_LINES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = lasting_silence(place) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection to the admin endpoint ended early");
    }
}

/// Takes what the peer is still sending after the last answer, such as the rest of a body that is too large: a connection
/// that is closed over unread bytes is reset, and the answer may be lost with it.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let (mut rest, mut nowhere) = (stream.take(LINGER_BYTES_MAX), tokio::io::sink());
    let taken = tokio::io::copy(&mut rest, &mut nowhere);
    if let Ok(Err(error)) = tokio::time::timeout(LINGER_TIMEOUT, taken).await {
        tracing::trace!(error = %error, "the peer was gone first");
    }
}

/// Ends when no request has been under way for a while; half a header is no request.
async fn lasting_silence(place: &Place) {
    loop {
        tokio::time::sleep(SILENCE_PATIENCE).await;
        if place.is_silent() {
            return;
        }
    }
}

/// The body of an answer; its connection is at work until it is gone.
struct Answer {
    body: Body,
    #[expect(dead_code, reason = "held, not read: it ends with the body")]
    under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Small answers go at once, and a peer that has gone away or takes nothing is noticed.
fn set_up(stream: &TcpStream) {
    let set = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let set =
        set.and_then(|()| socket2::SockRef::from(stream).set_tcp_user_timeout(Some(SEND_TIMEOUT)));
    if let Err(error) = set {
        tracing::debug!(error = %error, "a connection's options could not be set");
    }
}

/// Whether only this one peer is concerned, which has gone already.
fn is_of_the_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

/// What is said seldom, however often it happens.
#[derive(Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    fn make(&mut self, what: &str) {
        if self.0.is_none_or(|last| last.elapsed() > COMPLAINT) {
            self.0 = Some(Instant::now());
            tracing::warn!("{what}; this is said once a minute at most");
        }
    }
}
