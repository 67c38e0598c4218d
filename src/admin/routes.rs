//! The table of routes, from which dispatch and the API's description are made.

mod audit;
mod conflicts;
mod directories;
mod events;
mod health;
mod jobs;
mod links;
mod metrics;
mod plans;
mod profiles;
pub(super) mod resources;
pub(super) mod schedules;
mod session;
mod tenants;
pub(super) mod tokens;
mod trials;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use axum::{Extension, Json, Router};
use chrono::Utc;
use serde_json::Value;
use url::form_urlencoded;
use uuid::Uuid;

use crate::access::Permission;
use crate::admin::Admin;
use crate::admin::auth::{self, Bearer};
use crate::admin::body::BODY_BYTES_MAX;
use crate::admin::console;
use crate::admin::middleware::handle;
use crate::admin::openapi;
use crate::admin::problem::Problem;
use crate::admin::query;
use crate::audit::Actor;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::document::{Fields, Problems};
use crate::id::{DirectoryId, JobId, ProfileName};

/// Turns of one call through the rows of a directory, so that a filter that nothing passes ends.
const TURNS_PER_CALL: usize = 8;

/// What a route concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant, which `X-Tenant-ID` names unless the token is for one alone. The handler finds a `Caller`.
    Tenant,
    /// The relay itself. The handler finds an `Administrator`, and keeps to the tenants that this one may manage.
    Relay,
    /// The caller itself. The handler finds a `Bearer`.
    Caller,
}

/// One route: what is called how, what it takes to call it, and what it takes and answers.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path below `/api/v1`, with parameters in braces.
    pub path: &'static str,
    /// What the token must permit; `None` where any token will do.
    pub permission: Option<Permission>,
    /// What it concerns.
    pub scope: Scope,
    handler: fn(MethodFilter) -> MethodRouter<Arc<Admin>>,
    /// Its name, for programs.
    pub(super) id: &'static str,
    /// What it does, for people.
    pub(super) summary: &'static str,
    /// The parameters of its query; any other is refused.
    pub(super) query: &'static [&'static str],
    pub(super) body: Option<Body>,
    /// The status when all goes well.
    pub(super) success: u16,
    pub(super) answer: Answer,
    /// What else it may answer, beside what every route of its kind does.
    pub(super) problems: &'static [u16],
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// The name of its schema.
    pub(super) schema: &'static str,
    /// Whether an empty one is always refused.
    pub(super) required: bool,
}

/// What is answered when all goes well; the names are those of schemas.
pub(super) enum Answer {
    /// No body.
    Nothing,
    /// One object.
    One(&'static str),
    /// A page of a list.
    List(&'static str),
    /// A stream of server-sent events.
    Events,
}

impl Route {
    /// The names of the path's parameters, in order.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// What a token must permit.
macro_rules! permission {
    (Any) => {
        None
    };
    ($permission:ident) => {
        Some(Permission::$permission)
    };
}

/// An entry of the table.
macro_rules! route {
    ($method:ident $path:literal $permission:ident $scope:ident $handler:path, $id:ident $summary:literal
     $(?[$($query:literal)*])? $(body $body:literal)? $(maybe $maybe:literal)?
     => $success:literal $answer:ident $(($schema:literal))? $($problem:literal)*) => {
        Route {
            method: Method::$method,
            path: $path,
            permission: permission!($permission),
            scope: Scope::$scope,
            handler: |method| on(method, $handler),
            id: stringify!($id),
            summary: $summary,
            query: &[$($($query),*)?],
            body: [
                $(Some(Body { schema: $body, required: true }),)?
                $(Some(Body { schema: $maybe, required: false }),)?
                None,
            ][0],
            success: $success,
            answer: Answer::$answer $(($schema))?,
            problems: &[$($problem),*],
        }
    };
}

/// All routes below `/api/v1`. After the handler: its name and what it does, then the query's parameters, the body (`maybe`
/// when it can be left out), and what it answers, with the problems that are not those of every route.
#[rustfmt::skip] // one route, two lines
pub(super) const ROUTES: &[Route] = &[
    route!(GET "/directories" DirectoryRead Tenant directories::list,
        listDirectories "Lists directories by name" ?["limit" "cursor" "text"] => 200 List("Directory")),
    route!(POST "/directories" DirectoryWrite Tenant directories::create,
        createDirectory "Creates a directory" body "NewDirectory" => 201 One("Directory") 404 409),
    route!(GET "/directories/{id}" DirectoryRead Tenant directories::read,
        getDirectory "Shows a directory" => 200 One("Directory")),
    route!(PUT "/directories/{id}" DirectoryWrite Tenant directories::update,
        updateDirectory "Changes the fields that are sent" maybe "DirectoryChange" => 200 One("Directory") 409),
    route!(DELETE "/directories/{id}" DirectoryWrite Tenant directories::delete,
        deleteDirectory "Forgets a directory; accounts in the target stay as they are" => 204 Nothing 409),
    route!(POST "/directories/test" DirectoryWrite Tenant trials::test_unsaved,
        testUnsavedDirectory "Tries a connection that is not saved" ?["stage"] body "NewDirectory" => 200 One("TestReport")),
    route!(POST "/directories/{id}/test" DirectoryWrite Tenant trials::test,
        testDirectory "Tries a directory" ?["stage"] maybe "Test" => 200 One("TestReport")),
    route!(POST "/directories/{id}/preview-mapping" DirectoryRead Tenant trials::preview_mapping,
        previewMapping "Maps one entry and sends nothing" body "PreviewMapping" => 200 One("MappingPreview")),
    route!(POST "/directories/preview-mapping" DirectoryWrite Tenant trials::preview_unsaved_mapping,
        previewUnsavedMapping "Maps one entry of a directory that is not saved" body "PreviewUnsavedMapping" => 200 One("MappingPreview") 404),
    route!(POST "/directories/{id}/explain" DirectoryRead Tenant trials::explain,
        explainEntry "Explains one entry: found, in scope and why, mapped, at the target, and what the next run does; changes nothing" body "Explain" => 200 One("Explanation")),
    route!(POST "/directories/{id}/probe" DirectoryWrite Tenant trials::probe_target,
        probeTarget "Finds out how the target wants to be spoken to, on users and groups that it creates and removes" body "ProbeTarget" => 200 One("ProbeReport") 409),
    route!(GET "/directories/{id}/profiles" DirectoryRead Tenant profiles::list,
        listProfiles "Lists profiles in the order in which they own users" ?["limit" "cursor"] => 200 List("Profile")),
    route!(POST "/directories/{id}/profiles" DirectoryWrite Tenant profiles::create,
        createProfile "Adds a profile after those that are there" body "NewProfile" => 201 One("Profile") 409),
    route!(GET "/directories/{id}/profiles/{profileId}" DirectoryRead Tenant profiles::read,
        getProfile "Shows a profile" => 200 One("Profile")),
    route!(PUT "/directories/{id}/profiles/{profileId}" DirectoryWrite Tenant profiles::update,
        updateProfile "Changes the fields that are sent" maybe "ProfileChange" => 200 One("Profile") 409),
    route!(DELETE "/directories/{id}/profiles/{profileId}" DirectoryWrite Tenant profiles::delete,
        deleteProfile "Removes a profile and releases its users" => 204 Nothing 409),
    route!(POST "/directories/{id}/sync" DirectoryWrite Tenant jobs::start,
        startJob "Starts a job" maybe "Sync" => 202 One("StartedJob") 409),
    route!(GET "/directories/{id}/users" DirectoryRead Tenant resources::users,
        listUsers "Lists users: how each stands, and what is in its way" ?["limit" "cursor" "state" "text"] => 200 List("LinkedUser")),
    route!(GET "/directories/{id}/groups" DirectoryRead Tenant resources::groups,
        listGroups "Lists groups: how each stands, and what is in its way" ?["limit" "cursor" "state" "text"] => 200 List("LinkedGroup")),
    route!(GET "/directories/{id}/links" DirectoryRead Tenant links::list,
        listLinks "Lists what the target already has for entries that are not linked" ?["limit" "cursor" "kind" "state" "text"] => 200 List("LinkProposal")),
    route!(POST "/directories/{id}/links/accept" DirectoryWrite Tenant links::accept,
        acceptLinks "Accepts proposals; the next run links them" body "LinkChoice" => 200 One("LinksDecided")),
    route!(POST "/directories/{id}/links/refuse" DirectoryWrite Tenant links::refuse,
        refuseLinks "Refuses proposals; they are not made again" body "LinkChoice" => 200 One("LinksDecided")),
    route!(POST "/directories/{id}/links/release" DirectoryWrite Tenant links::release,
        releaseLinks "Takes decisions on proposals back" body "LinkChoice" => 200 One("LinksDecided")),
    route!(GET "/directories/{id}/conflicts" DirectoryRead Tenant conflicts::list,
        listConflicts "Lists attributes that somebody changed at the target, and what is made of that" ?["limit" "cursor" "kind" "state" "attribute" "text"] => 200 List("Conflict")),
    route!(POST "/directories/{id}/conflicts/{conflictId}/resolve" DirectoryWrite Tenant conflicts::resolve_one,
        resolveConflict "Takes one side of a conflict" body "Take" => 200 One("Conflict")),
    route!(POST "/directories/{id}/conflicts/resolve" DirectoryWrite Tenant conflicts::resolve,
        resolveConflicts "Takes one side of conflicts; the next run sends the directory's values" body "ConflictChoice" => 200 One("ConflictsDecided")),
    route!(POST "/directories/{id}/conflicts/release" DirectoryWrite Tenant conflicts::release,
        releaseConflicts "Takes decisions on conflicts back" body "ConflictRelease" => 200 One("ConflictsDecided")),
    route!(GET "/directories/{id}/jobs" DirectoryRead Tenant jobs::list,
        listJobs "Lists jobs, newest first" ?["limit" "cursor" "profile" "status" "mode" "trigger" "since" "until"] => 200 List("Job")),
    route!(GET "/directories/{id}/jobs/{jobId}" DirectoryRead Tenant jobs::read,
        getJob "Shows a job" => 200 One("Job")),
    route!(GET "/directories/{id}/jobs/{jobId}/changes" DirectoryRead Tenant jobs::changes,
        listChanges "Lists what a job changed, and every error" ?["limit" "cursor" "errors" "operation" "text"] => 200 List("Change")),
    route!(GET "/directories/{id}/jobs/{jobId}/events" DirectoryRead Tenant events::events,
        watchJob "Watches a job until its end" => 200 Events),
    route!(POST "/directories/{id}/jobs/{jobId}/cancel" DirectoryWrite Tenant jobs::cancel,
        cancelJob "Stops a job; one that has ended stays as it is" => 202 One("Job")),
    route!(GET "/directories/{id}/jobs/{jobId}/plan" DirectoryRead Tenant plans::read,
        getPlan "Shows what a job planned, what of it waits, and why; a plan that was carried out whole is not kept" => 200 One("Plan")),
    route!(GET "/directories/{id}/jobs/{jobId}/plan/steps" DirectoryRead Tenant plans::steps,
        listSteps "Lists the steps of a plan in the order in which they are carried out" ?["limit" "cursor" "operation" "held" "text"] => 200 List("Step")),
    route!(POST "/directories/{id}/jobs/{jobId}/approve" DirectoryWrite Tenant plans::approve,
        approvePlan "Approves a plan by its digest: what waits in it is carried out, and nothing else" body "Approval" => 202 One("Job") 409),
    route!(POST "/directories/{id}/jobs/{jobId}/reject" DirectoryWrite Tenant plans::reject,
        rejectPlan "Rejects a plan: what waits in it is not planned again until the directory has something new" maybe "Rejection" => 200 One("Job") 409),
    route!(POST "/directories/{id}/jobs/{jobId}/undo" DirectoryWrite Tenant jobs::undo,
        undoJob "Starts a job that puts back what an earlier one changed; the changes are not planned again" maybe "Undo" => 202 One("StartedJob") 409),
    route!(GET "/directories/{id}/holds" DirectoryRead Tenant plans::held,
        listHolds "Lists what waits on users and groups for a person, or was rejected or undone by one" ?["limit" "cursor" "state" "text"] => 200 List("Held")),
    route!(POST "/directories/{id}/holds/release" DirectoryWrite Tenant plans::release,
        releaseHolds "Lets rejected and undone changes be planned again" body "HoldChoice" => 200 One("HoldsReleased")),
    route!(POST "/directories/{id}/quarantine" DirectoryWrite Tenant plans::clear_quarantine,
        clearQuarantine "Ends the quarantine of a profile: it is tried by its schedule again" maybe "Test" => 200 One("Quarantined")),
    route!(GET "/tenants" Admin Relay tenants::list,
        listTenants "Lists tenants by name" ?["limit" "cursor"] => 200 List("Tenant")),
    route!(POST "/tenants" Admin Relay tenants::create,
        createTenant "Creates a tenant" body "NewTenant" => 201 One("Tenant") 409),
    route!(GET "/tenants/{name}" Admin Relay tenants::read,
        getTenant "Shows a tenant" => 200 One("Tenant")),
    route!(PUT "/tenants/{name}" Admin Relay tenants::update,
        updateTenant "Changes the fields that are sent" maybe "TenantChange" => 200 One("Tenant") 409),
    route!(DELETE "/tenants/{name}" Admin Relay tenants::delete,
        deleteTenant "Deletes a tenant without directories" => 204 Nothing 409),
    route!(GET "/tokens" Admin Relay tokens::list,
        listTokens "Lists tokens, oldest first" ?["limit" "cursor"] => 200 List("Token")),
    route!(POST "/tokens" Admin Relay tokens::create,
        createToken "Issues a token; its text is shown this once" body "NewToken" => 201 One("IssuedToken")),
    route!(GET "/tokens/{tokenId}" Admin Relay tokens::read,
        getToken "Shows a token, without its text" => 200 One("Token")),
    route!(DELETE "/tokens/{tokenId}" Admin Relay tokens::revoke,
        revokeToken "Revokes a token; the next request with it is refused" => 204 Nothing),
    route!(POST "/tokens/{tokenId}/rotate" Admin Relay tokens::rotate,
        rotateToken "Issues a successor; the token works beside it for a while" maybe "Rotate" => 201 One("IssuedToken") 409),
    route!(GET "/health" DirectoryRead Tenant health::health,
        getHealth "Says how each directory is, and why" => 200 One("Health")),
    route!(GET "/statistics" DirectoryRead Tenant health::statistics,
        getStatistics "Counts what is linked, and the jobs of a day" => 200 One("Statistics")),
    route!(POST "/schedules/preview" DirectoryRead Tenant schedules::preview,
        previewSchedule "Says in words when a schedule runs, and its next times" body "PreviewSchedule" => 200 One("SchedulePreview")),
    route!(GET "/session" Any Caller session::read,
        getSession "Says who calls, for which tenants, and what is permitted" => 200 One("Session")),
    route!(POST "/session" Any Caller session::create,
        createSession "Exchanges the token for the cookie of a console's session" => 201 One("Session")),
    route!(DELETE "/session" Any Caller session::delete,
        deleteSession "Ends the session" => 204 Nothing),
    route!(GET "/audit" AuditRead Tenant audit::list,
        listAuditRecords "Lists the audit log, newest first" ?["limit" "cursor" "action" "since" "text"] => 200 List("AuditRecord")),
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
    let document = openapi::document().to_string();
    let document = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    let requests = admin.requests.clone();
    let handle = middleware::from_fn(move |request: Request, next: Next| {
        handle(requests.clone(), request, next)
    });
    Router::new()
        .nest("/api/v1", api)
        .route("/api/v1/openapi.json", get(document))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .merge(console::router())
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

/// GET /metrics: what the token's tenants have, for a token that may see directories.
async fn measured(
    State(admin): State<Arc<Admin>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let peer = peer.map(|peer| peer.0.0);
    let bearer = known(&admin, (&method, &headers), peer).await?;
    bearer.must_have(Permission::DirectoryRead)?;
    metrics::metrics(&admin, &bearer.for_relay()).await
}

/// Whoever sent a request, by its token or its session.
async fn known(
    admin: &Admin,
    request: (&Method, &HeaderMap),
    peer: Option<SocketAddr>,
) -> Result<Bearer, Problem> {
    // A request whose address nobody knows is counted with all others like it.
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let bearer = auth::admit(&admin.keyring, request, address, Utc::now()).await?;
    Ok(bearer.without_newer(&admin.catalog.contents()))
}

/// Lets a request in, and tells its handler from whom it comes, and the access log too.
async fn admit(admin: &Admin, route: &Route, request: &mut Request) -> Result<Actor, Problem> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|peer| peer.0);
    let bearer = known(admin, (request.method(), request.headers()), peer).await?;
    if let Some(permission) = route.permission {
        bearer.must_have(permission)?;
    }
    let actor = bearer.actor.clone();
    query::only(route.query, request.uri())?;
    match route.scope {
        Scope::Tenant => {
            let caller = bearer.for_tenant(request.headers(), &admin.tenants())?;
            request.extensions_mut().insert(caller);
        }
        Scope::Relay => {
            bearer.check_tenant(request.headers())?;
            request.extensions_mut().insert(bearer.for_relay());
        }
        Scope::Caller => {
            bearer.check_tenant(request.headers())?;
            request.extensions_mut().insert(bearer);
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

/// 201 with where the new object is, and the object as it is shown.
fn created(place: &[&str], shown: Value) -> Response {
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    // A name may have characters that stand for themselves in no address.
    let place: Vec<String> = place
        .iter()
        .map(|part| form_urlencoded::byte_serialize(part.as_bytes()).collect())
        .map(|part: String| part.replace('+', "%20"))
        .collect();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/{}", place.join("/"))) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
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
