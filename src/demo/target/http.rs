//! The thin HTTP/1.1 shell around the target.
use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::Query;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::demo::target::Target;
use crate::demo::target::answer::{Answer, Call};

/// The path under which the target is served.
pub const BASE_PATH: &str = "/scim/v2";

/// The largest body that is read: a new group with 100,000 members and their references has about 20 MB.
const MAX_BODY: usize = 64 << 20;

/// Serves the target until `shutdown`, then lets the requests in flight end. With a token, every request must carry it.
pub async fn serve(
    target: Target,
    listener: TcpListener,
    token: Option<String>,
    shutdown: CancellationToken,
) {
    if let Ok(address) = listener.local_addr() {
        target.set_base_url(&format!("http://{address}{BASE_PATH}"));
    }
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => connection(stream, &target, token.clone(), &graceful),
            Err(error) => {
                tracing::warn!(%error, "the demo target could not accept a connection");
                // Out of file descriptors most likely: without a pause the loop would only burn CPU.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    graceful.shutdown().await;
}

fn connection(
    stream: TcpStream,
    target: &Target,
    token: Option<String>,
    graceful: &GracefulShutdown,
) {
    // Without it small answers wait for delayed acknowledgements; if it fails they are only slower.
    let _ = stream.set_nodelay(true);
    let target = target.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let target = target.clone();
        let allowed = is_authorized(request.headers(), token.as_deref());
        async move {
            let answer = match allowed {
                false => unauthorized(),
                true => match receive(request).await {
                    Ok(call) => target.handle(call),
                    Err(answer) => answer,
                },
            };
            Ok::<_, Infallible>(respond(answer))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the demo target ended early");
        }
    });
}

/// Whether the request carries the token, where one is asked for.
pub fn is_authorized(headers: &HeaderMap, token: Option<&str>) -> bool {
    let Some(token) = token else {
        return true;
    };
    let given = headers
        .get(AUTHORIZATION)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let (scheme, credentials) = given.split_at_checked("Bearer ".len()).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(credentials.ct_eq(token.as_bytes()))
}

/// The answer to a request without the right token.
pub fn unauthorized() -> Answer {
    Answer::error(401, None, "the bearer token is missing or wrong")
}

/// Takes a call off the wire.
///
/// # Errors
/// The answer to give when the request cannot be a call: outside [`BASE_PATH`], too large, or not JSON.
pub async fn receive(request: Request<Incoming>) -> Result<Call, Answer> {
    let method = request.method().as_str().to_owned();
    let uri = request.uri().clone();
    let Some(path) = uri.path().strip_prefix(BASE_PATH).map(str::to_owned) else {
        return Err(Answer::error(
            404,
            None,
            "the SCIM endpoints are below /scim/v2",
        ));
    };
    let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(&uri) else {
        return Err(Answer::error(
            400,
            Some("invalidSyntax"),
            "the query cannot be decoded",
        ));
    };
    let Ok(bytes) = to_bytes(Body::new(request.into_body()), MAX_BODY).await else {
        return Err(Answer::error(
            413,
            None,
            "the body is too large or was cut off",
        ));
    };
    let body = match bytes.as_ref() {
        [] => None,
        bytes => match serde_json::from_slice(bytes) {
            Ok(body) => Some(body),
            Err(_) => {
                return Err(Answer::error(
                    400,
                    Some("invalidSyntax"),
                    "the body is not JSON",
                ));
            }
        },
    };
    Ok(Call {
        method,
        path,
        query,
        body,
    })
}

/// The HTTP response for an answer.
pub fn respond(answer: Answer) -> Response<Body> {
    let body = match &answer.body {
        Some(body) => Body::from(body.to_string()),
        None => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if answer.body.is_some() {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/scim+json"),
        );
    }
    if answer.status == 401 {
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"SCIM\""),
        );
    }
    if let Some(location) = answer
        .location
        .and_then(|location| HeaderValue::from_str(&location).ok())
    {
        headers.insert(LOCATION, location);
    }
    response
}
