//! The table of routes, from which dispatch is built: each with its method, path and permission.

mod audit;
mod directories;
mod events;
mod health;
mod jobs;
mod profiles;
mod resources;
mod tenants;
mod tokens;
mod trials;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use chrono::Utc;
use uuid::Uuid;

use crate::access::Permission;
use crate::admin::Admin;
use crate::admin::auth;
use crate::admin::body::BODY_BYTES_MAX;
use crate::admin::middleware::handle;
use crate::admin::problem::Problem;
use crate::audit::Actor;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::document::{Fields, Problems};
use crate::id::{DirectoryId, JobId, ProfileName};

/// What a route concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant, which `X-Tenant-ID` names unless the token is for one alone. The handler finds a `Caller`.
    Tenant,
    /// The relay itself. The handler finds an `Administrator`, and keeps to the tenants that this one may manage.
    Relay,
}

/// One route: what is called how, and what it takes to call it.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path below `/api/v1`, with parameters in braces.
    pub path: &'static str,
    /// What the token must permit.
    pub permission: Permission,
    /// What it concerns.
    pub scope: Scope,
    handler: fn(MethodFilter) -> MethodRouter<Arc<Admin>>,
}

/// A line of the table.
macro_rules! route {
    ($method:ident $path:literal $permission:ident $scope:ident $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            permission: Permission::$permission,
            scope: Scope::$scope,
            handler: |method| on(method, $handler),
        }
    };
}

/// All routes below `/api/v1`.
pub(super) const ROUTES: &[Route] = &[
    route!(GET "/directories" DirectoryRead Tenant directories::list),
    route!(POST "/directories" DirectoryWrite Tenant directories::create),
    route!(GET "/directories/{id}" DirectoryRead Tenant directories::read),
    route!(PUT "/directories/{id}" DirectoryWrite Tenant directories::update),
    route!(DELETE "/directories/{id}" DirectoryWrite Tenant directories::delete),
    route!(POST "/directories/test" DirectoryWrite Tenant trials::test_unsaved),
    route!(POST "/directories/{id}/test" DirectoryWrite Tenant trials::test),
    route!(POST "/directories/{id}/preview-mapping" DirectoryRead Tenant trials::preview_mapping),
    route!(GET "/directories/{id}/profiles" DirectoryRead Tenant profiles::list),
    route!(POST "/directories/{id}/profiles" DirectoryWrite Tenant profiles::create),
    route!(GET "/directories/{id}/profiles/{profileId}" DirectoryRead Tenant profiles::read),
    route!(PUT "/directories/{id}/profiles/{profileId}" DirectoryWrite Tenant profiles::update),
    route!(DELETE "/directories/{id}/profiles/{profileId}" DirectoryWrite Tenant profiles::delete),
    route!(POST "/directories/{id}/sync" DirectoryWrite Tenant jobs::start),
    route!(GET "/directories/{id}/users" DirectoryRead Tenant resources::users),
    route!(GET "/directories/{id}/groups" DirectoryRead Tenant resources::groups),
    route!(GET "/directories/{id}/jobs" DirectoryRead Tenant jobs::list),
    route!(GET "/directories/{id}/jobs/{jobId}" DirectoryRead Tenant jobs::read),
    route!(GET "/directories/{id}/jobs/{jobId}/changes" DirectoryRead Tenant jobs::changes),
    route!(GET "/directories/{id}/jobs/{jobId}/events" DirectoryRead Tenant events::events),
    route!(POST "/directories/{id}/jobs/{jobId}/cancel" DirectoryWrite Tenant jobs::cancel),
    route!(GET "/tenants" Admin Relay tenants::list),
    route!(POST "/tenants" Admin Relay tenants::create),
    route!(GET "/tenants/{name}" Admin Relay tenants::read),
    route!(PUT "/tenants/{name}" Admin Relay tenants::update),
    route!(DELETE "/tenants/{name}" Admin Relay tenants::delete),
    route!(GET "/tokens" Admin Relay tokens::list),
    route!(POST "/tokens" Admin Relay tokens::create),
    route!(GET "/tokens/{tokenId}" Admin Relay tokens::read),
    route!(DELETE "/tokens/{tokenId}" Admin Relay tokens::revoke),
    route!(POST "/tokens/{tokenId}/rotate" Admin Relay tokens::rotate),
    route!(GET "/health" DirectoryRead Tenant health::health),
    route!(GET "/statistics" DirectoryRead Tenant health::statistics),
    route!(GET "/audit" AuditRead Tenant audit::list),
];

/// Builds the whole router.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let mut api = Router::new();
    for route in ROUTES {
        let admin = admin.clone();
        let admit = middleware::from_fn(move |request: Request, next: Next| {
            let admin = admin.clone();
            async move { admitted(&admin, route, request, next).await }
        });
        if let Ok(method) = MethodFilter::try_from(route.method.clone()) {
            api = api.route(route.path, (route.handler)(method).layer(admit));
        }
    }
    let requests = admin.requests.clone();
    let handle = middleware::from_fn(move |request: Request, next: Next| {
        handle(requests.clone(), request, next)
    });
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(handle)
        .with_state(admin)
}

async fn admitted(admin: &Admin, route: &Route, mut request: Request, next: Next) -> Response {
    match admit(admin, route, &mut request).await {
        Ok(actor) => {
            let mut answer = next.run(request).await;
            answer.extensions_mut().insert(actor);
            answer
        }
        Err(problem) => problem.into_response(),
    }
}

/// Lets a request in, and tells its handler from whom it comes, and the access log too.
async fn admit(admin: &Admin, route: &Route, request: &mut Request) -> Result<Actor, Problem> {
    // A request whose address nobody knows is counted with all others like it.
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let bearer = auth::admit(&admin.keyring, request.headers(), address, Utc::now()).await?;
    let bearer = bearer.without_newer(&admin.catalog.contents());
    bearer.must_have(route.permission)?;
    let actor = bearer.actor.clone();
    match route.scope {
        Scope::Tenant => {
            let caller = bearer.for_tenant(request.headers(), &admin.tenants())?;
            request.extensions_mut().insert(caller);
        }
        Scope::Relay => {
            bearer.check_tenant(request.headers())?;
            request.extensions_mut().insert(bearer.for_relay());
        }
    }
    Ok(actor)
}

/// The router adds the header Allow, which is all that OPTIONS asks for.
async fn no_such_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Problem::method_not_allowed().into_response()
    }
}

/// The store answers and the scheduler runs.
async fn ready(State(admin): State<Arc<Admin>>) -> Result<&'static str, Problem> {
    match admin.store.key_check().await {
        Ok(_) => Ok("ready\n"),
        Err(error) => {
            tracing::error!(error = %error, "the store does not answer");
            Err(Problem::not_ready())
        }
    }
}

/// The longest name of one entry.
const ENTRY_BYTES_MAX: usize = 1024;

/// The profile that a body names, `default` when it names none.
fn chosen_profile<'a>(
    directory: &'a Directory,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
) -> Option<&'a Profile> {
    if !fields.has("profile") {
        fields.node("profile");
        return directory.profiles.first();
    }
    fields.parsed("profile", problems, |name| {
        let found = directory.profile(&ProfileName(name.to_owned()));
        found.ok_or_else(|| {
            let names = directory.profile_names();
            let names: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
            format!("there is no such profile; there are: {}", names.join(", "))
        })
    })
}

/// What names one entry: its DN, its anchor or its userName.
fn entry_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.len() {
        0 => Err("is empty; name one entry by its DN, its anchor or its userName".to_owned()),
        1..=ENTRY_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("is longer than {ENTRY_BYTES_MAX} bytes")),
    }
}

/// An id from a path; what is none names nothing.
fn directory_id(text: &str) -> Result<DirectoryId, Problem> {
    Uuid::parse_str(text)
        .map(DirectoryId)
        .map_err(|_| Problem::not_found())
}

fn job_id(text: &str) -> Result<JobId, Problem> {
    Uuid::parse_str(text)
        .map(JobId)
        .map_err(|_| Problem::not_found())
}
