//! The table of routes, from which dispatch is built: each with its method, path and permission.

mod audit;
mod directories;
mod events;
mod health;
mod jobs;
mod profiles;
mod query;
mod resources;
mod tenants;
mod trials;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use uuid::Uuid;

use crate::access::Permission;
use crate::admin::Admin;
use crate::admin::auth;
use crate::admin::body::BODY_BYTES_MAX;
use crate::admin::middleware::handle;
use crate::admin::problem::Problem;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::document::{Fields, Problems};
use crate::id::{DirectoryId, JobId, ProfileName, TenantName};

/// One route: what is called how, and what it takes to call it.
struct Route {
    method: Method,
    path: &'static str,
    permission: Permission,
    handler: fn(MethodFilter) -> MethodRouter<Arc<Admin>>,
}

/// A line of the table.
macro_rules! route {
    ($method:ident $path:literal $permission:ident $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            permission: Permission::$permission,
            handler: |method| on(method, $handler),
        }
    };
}

/// All routes below `/api/v1`.
const ROUTES: &[Route] = &[
    route!(GET "/directories" DirectoryRead directories::list),
    route!(POST "/directories" DirectoryWrite directories::create),
    route!(GET "/directories/{id}" DirectoryRead directories::read),
    route!(PUT "/directories/{id}" DirectoryWrite directories::update),
    route!(DELETE "/directories/{id}" DirectoryWrite directories::delete),
    route!(POST "/directories/test" DirectoryWrite trials::test_unsaved),
    route!(POST "/directories/{id}/test" DirectoryWrite trials::test),
    route!(POST "/directories/{id}/preview-mapping" DirectoryRead trials::preview_mapping),
    route!(GET "/directories/{id}/profiles" DirectoryRead profiles::list),
    route!(POST "/directories/{id}/profiles" DirectoryWrite profiles::create),
    route!(GET "/directories/{id}/profiles/{profileId}" DirectoryRead profiles::read),
    route!(PUT "/directories/{id}/profiles/{profileId}" DirectoryWrite profiles::update),
    route!(DELETE "/directories/{id}/profiles/{profileId}" DirectoryWrite profiles::delete),
    route!(POST "/directories/{id}/sync" DirectoryWrite jobs::start),
    route!(GET "/directories/{id}/users" DirectoryRead resources::users),
    route!(GET "/directories/{id}/groups" DirectoryRead resources::groups),
    route!(GET "/directories/{id}/jobs" DirectoryRead jobs::list),
    route!(GET "/directories/{id}/jobs/{jobId}" DirectoryRead jobs::read),
    route!(GET "/directories/{id}/jobs/{jobId}/changes" DirectoryRead jobs::changes),
    route!(GET "/directories/{id}/jobs/{jobId}/events" DirectoryRead events::events),
    route!(POST "/directories/{id}/jobs/{jobId}/cancel" DirectoryWrite jobs::cancel),
    route!(GET "/tenants" Admin tenants::list),
    route!(POST "/tenants" Admin tenants::create),
    route!(GET "/tenants/{name}" Admin tenants::read),
    route!(PUT "/tenants/{name}" Admin tenants::update),
    route!(DELETE "/tenants/{name}" Admin tenants::delete),
    route!(GET "/health" DirectoryRead health::health),
    route!(GET "/statistics" DirectoryRead health::statistics),
    route!(GET "/audit" AuditRead audit::list),
];

/// Builds the whole router.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let mut api = Router::new();
    for route in ROUTES {
        let permission = route.permission;
        let admin = admin.clone();
        let admit = middleware::from_fn(move |request: Request, next: Next| {
            let admin = admin.clone();
            async move { admitted(&admin, permission, request, next).await }
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

async fn admitted(
    admin: &Admin,
    permission: Permission,
    mut request: Request,
    next: Next,
) -> Response {
    let contents = admin.catalog.contents();
    let tenants: Vec<TenantName> = contents
        .tenants()
        .map(|entry| entry.definition.name.clone())
        .collect();
    match auth::admit(&admin.token, &tenants, request.headers(), permission) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
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
    match admin.store.unfinished_jobs().await {
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
