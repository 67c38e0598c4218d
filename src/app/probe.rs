//! Trying a directory for the API: how far it can be reached, what is in scope there, and what becomes of one entry.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::Value as Json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::explanation::Explanation;
use crate::admin::probe::{
    Code, MappingPreview, PreviewRefused, Probe, Stage, StageReport, StageStatus, TestError,
    TestReport,
};
use crate::app::Relays;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::fault::Fault;
use crate::id::{ProfileName, TenantName};
use crate::identity::feed::Ladder;
use crate::identity::observation::Observation;
use crate::identity::{Identity, Kind};
use crate::job::ChangeDetection;
use crate::mapping::resource_type;
use crate::scim::dialect::Dialect;
use crate::scim::evidence::Findings;
use crate::scim::path::AttributePath;
use crate::scim::{Value, encode, shape};
use crate::secret::Secret;
use crate::source::examination::{Count, Examination, Excess, Questions};
use crate::source::{self, Depth, Names, Security};

/// How long a test may take in all: less than a request of the API.
const TIME_LIMIT: Duration = Duration::from_secs(50);
/// Stages that are passed once a connection is protected.
const CONNECTED: usize = 2;
/// Stages that are passed once it is bound.
const BOUND: usize = 3;

#[async_trait]
impl Probe for Relays {
    async fn test(
        &self,
        directory: &Directory,
        profile: &Profile,
        password: Option<&Secret>,
        stage: Stage,
    ) -> TestReport {
        let settings = match self.settings_of(directory, profile, password) {
            Ok(settings) => settings,
            Err(problems) => return failed(unresolved(&problems), 0, false),
        };
        let dialect = self.dialect_of(directory);
        let report = timeout(TIME_LIMIT, test(&settings, profile, &dialect, stage)).await;
        report.unwrap_or_else(|_| failed(too_slow(), 0, false))
    }

    async fn explain(
        &self,
        directory: &Directory,
        profile: Option<&ProfileName>,
        selector: &str,
    ) -> Result<Explanation, String> {
        Self::explain(self, directory, profile, selector).await
    }

    async fn probe_target(
        &self,
        tenant: &TenantName,
        stop: CancellationToken,
    ) -> Result<Findings, String> {
        Self::probe_target(self, tenant, stop).await
    }

    async fn preview_mapping(
        &self,
        directory: &Directory,
        profile: &Profile,
        password: Option<&Secret>,
        selector: &str,
    ) -> Result<MappingPreview, PreviewRefused> {
        let settings = self
            .settings_of(directory, profile, password)
            .map_err(|problems| PreviewRefused::Directory(unresolved(&problems)))?;
        let dialect = self.dialect_of(directory);
        let preview = preview_mapping(&settings, profile, &dialect, selector);
        match timeout(TIME_LIMIT, preview).await {
            Ok(preview) => preview,
            Err(_) => Err(PreviewRefused::Directory(too_slow())),
        }
    }
}

/// A server that is too slow, or never comes to an end.
fn too_slow() -> TestError {
    TestError {
        code: Code::Network,
        message: format!(
            "the directory was not done within {} seconds; narrow the search bases and filters, or try one stage alone",
            TIME_LIMIT.as_secs()
        ),
    }
}

/// A password or certificate that cannot be had.
fn unresolved(problems: &[String]) -> TestError {
    TestError {
        code: Code::Authentication,
        message: problems.join("; "),
    }
}

/// Tries a directory as far as is asked for.
pub async fn test(
    settings: &source::Settings,
    profile: &Profile,
    dialect: &Dialect,
    stage: Stage,
) -> TestReport {
    let plain = settings.security == Security::Plain;
    let depth = match stage {
        Stage::Connection => Depth::Connection,
        Stage::Authentication => Depth::Authentication,
        Stage::All => return test_everything(settings, profile, dialect).await,
    };
    let server = match source::reach(settings, depth).await {
        Ok(server) => server,
        Err(error) => return failed_opening(&error, plain),
    };
    let mut warnings = plain_warning(plain);
    warnings.extend(server.warnings());
    warnings.extend(source::try_further(settings, &server, depth).await);
    let passed = match depth {
        Depth::Connection => CONNECTED,
        Depth::Authentication => BOUND,
    };
    TestReport {
        warnings: Some(warnings),
        ..report(passed, plain)
    }
}

async fn test_everything(
    settings: &source::Settings,
    profile: &Profile,
    dialect: &Dialect,
) -> TestReport {
    let plain = settings.security == Security::Plain;
    let source = match source::open(settings).await {
        Ok(source) => source,
        Err(error) => return failed_opening(&error, plain),
    };
    let required = profile.mapping.required_user_attributes();
    let questions = Questions {
        computers_filter: profile.scope.computers_filter.clone(),
        required: required.into_iter().collect(),
    };
    let examined = source.examine(&questions).await;
    source.close().await;
    match examined {
        Ok(examination) => {
            let mut warnings = warnings(&examination);
            let depth = Depth::Authentication;
            warnings.extend(source::try_further(settings, &examination.server, depth).await);
            let sample = examination
                .sample
                .map(|sample| mapped(profile, dialect, sample))
                .and_then(|sample| {
                    let dn = &sample.dn;
                    let cannot = |problem: &String| {
                        format!("the sample user `{dn}` cannot be sent: {problem}")
                    };
                    warnings.extend(sample.problems.iter().map(cannot));
                    sample.resource
                });
            TestReport {
                users_found: Some(examination.users.entries),
                groups_found: examination.groups.map(|groups| groups.entries),
                warnings: Some(warnings),
                sample,
                change_detection: Some(change_detection(&examination.ladder, profile)),
                ..report(Code::ALL.len(), plain)
            }
        }
        Err(error) => {
            let error = test_error(&error, Code::Permission);
            let passed = position(error.code).max(BOUND);
            failed(error, passed, plain)
        }
    }
}

fn position(code: Code) -> usize {
    Code::ALL
        .iter()
        .position(|other| *other == code)
        .unwrap_or_default()
}

fn failed_opening(error: &source::Error, plain: bool) -> TestReport {
    let error = test_error(error, Code::Network);
    let passed = position(error.code).min(BOUND);
    failed(error, passed, plain)
}

/// The error with its code; `otherwise` is that of answers which belong to no stage of their own: what is no LDAP at all
/// while the connection is opened, a limit of the account later.
fn test_error(error: &source::Error, otherwise: Code) -> TestError {
    let code = match error.stage {
        source::Stage::Network => Code::Network,
        source::Stage::Tls => Code::Tls,
        source::Stage::Authentication => Code::Authentication,
        source::Stage::BaseDn => Code::BaseDn,
        source::Stage::Filter => Code::Filter,
        source::Stage::Permission => Code::Permission,
        source::Stage::Reading if error.fault() == Fault::Transient => Code::Network,
        source::Stage::Reading => otherwise,
    };
    TestError {
        code,
        message: error.message.clone(),
    }
}

/// The report of a test in which so many stages passed.
fn report(passed: usize, plain: bool) -> TestReport {
    let stage = |(at, name): (usize, &Code)| {
        let (status, detail) = match name {
            Code::Tls if plain => (StageStatus::Skipped, Some("the connection uses no TLS")),
            _ if at < passed => (StageStatus::Ok, None),
            _ => (StageStatus::Skipped, None),
        };
        StageReport {
            name: *name,
            status,
            detail: detail.map(str::to_owned),
        }
    };
    TestReport {
        success: true,
        users_found: None,
        groups_found: None,
        error: None,
        stages: Code::ALL.iter().enumerate().map(stage).collect(),
        warnings: None,
        sample: None,
        change_detection: None,
    }
}

/// The report of a test in which one stage failed after so many passed.
fn failed(error: TestError, passed: usize, plain: bool) -> TestReport {
    let mut report = report(passed, plain);
    report.success = false;
    for stage in &mut report.stages {
        if stage.name == error.code {
            stage.status = StageStatus::Failed;
            stage.detail = Some(error.message.clone());
        }
    }
    report.error = Some(error);
    report
}

fn plain_warning(plain: bool) -> Vec<String> {
    let words =
        "the bind password and all answers cross the network without TLS; use ldaps or StartTLS";
    plain.then(|| words.to_owned()).into_iter().collect()
}

/// What an administrator should know before the first run.
fn warnings(examination: &Examination) -> Vec<String> {
    let mut warnings = plain_warning(examination.plain);
    warnings.extend(examination.server.warnings());
    let users = &examination.users;
    count_warnings("users", users, &mut warnings);
    if let Some(groups) = &examination.groups {
        count_warnings("groups", groups, &mut warnings);
    }
    warnings.extend(examination.hidden_bases.iter().map(|base| {
        format!(
            "the search base `{base}` may not be read itself, so an absence below it cannot be proved and nobody is \
             deactivated for it; give the bind account the right to read that entry"
        )
    }));
    if let Some(computers) = examination.computers.as_ref().filter(|all| all.entries > 0) {
        warnings.push(format!(
            "the user filter matches {} computers; they are left out. Use (&(objectCategory=person)(objectClass=user))",
            computers.entries
        ));
    }
    warnings.extend(examination.lacking.iter().map(|(attribute, lacking)| {
        format!(
            "{lacking} of {} users have no `{attribute}` that the account may see, and a required rule of the mapping reads \
             it; fill it in, give the account the right to read it, or change the rule",
            users.entries
        )
    }));
    warnings.extend(examination.excess.iter().map(|excess| {
        match excess {
            Excess::ReadsPasswords => {
                "the bind account may read userPassword of users, which the relay never needs; use an account with less rights"
            }
            Excess::WritesUsers => {
                "the bind account may change users in the directory, which the relay never does; use an account with less rights"
            }
        }
        .to_owned()
    }));
    warnings
}

fn count_warnings(what: &str, count: &Count, warnings: &mut Vec<String>) {
    if let Some(cut) = &count.cut {
        let least = count.entries;
        warnings.push(format!(
            "there are {least} {what} or more: the count broke off: {cut}"
        ));
    } else if count.entries == 0 {
        warnings.push(format!(
            "no {what} match; check the base DN, the filter (a server ignores attributes that it does not know) and what \
             the account may read"
        ));
    }
}

/// The rung that runs use, and why it is not a better one.
fn change_detection(ladder: &Ladder, profile: &Profile) -> ChangeDetection {
    let choice = ladder.choose(profile.change_detection);
    let blind = choice.blind.map(|blind| format!("; {blind}"));
    ChangeDetection {
        rung: choice.rung.as_str().to_owned(),
        reason: format!("{}{}", choice.reason, blind.unwrap_or_default()),
    }
}

/// Finds one entry by DN, anchor or userName, and maps it.
///
/// # Errors
/// When the directory cannot be read, or no entry in scope is called so.
pub async fn preview_mapping(
    settings: &source::Settings,
    profile: &Profile,
    dialect: &Dialect,
    selector: &str,
) -> Result<MappingPreview, PreviewRefused> {
    let refused =
        |error: source::Error| PreviewRefused::Directory(test_error(&error, Code::Permission));
    let names = Names {
        user: profile.mapping.name_attribute(Kind::User),
        group: profile.mapping.name_attribute(Kind::Group),
        unit: profile.mapping.unit_name_attribute(),
    };
    let source = source::open(settings).await.map_err(refused)?;
    let found = source.find(selector, &names).await;
    source.close().await;
    match found.map_err(refused)? {
        Some(found) => Ok(mapped(profile, dialect, found)),
        None => Err(PreviewRefused::NotFound(names.not_found(selector))),
    }
}

/// What becomes of an entry.
pub(super) fn mapped(profile: &Profile, dialect: &Dialect, entry: Observation) -> MappingPreview {
    let identity = match entry {
        Observation::Present(identity, _) => identity,
        Observation::Unreadable(unreadable) => {
            return MappingPreview {
                kind: unreadable.kind,
                anchor: unreadable.anchor.map(|anchor| anchor.to_string()),
                dn: unreadable.dn,
                resource: None,
                members_named: None,
                manager_named: None,
                problems: vec![unreadable.problem],
            };
        }
    };
    let (resource, problems) = match resource(profile, dialect, &identity) {
        Ok(resource) => (resource, Vec::new()),
        Err(problems) => (None, problems),
    };
    let manager = identity.members.first();
    let manager = manager.filter(|_| identity.kind == Kind::User);
    MappingPreview {
        kind: identity.kind,
        anchor: Some(identity.anchor.to_string()),
        members_named: (identity.kind == Kind::Group).then_some(identity.members.len()),
        manager_named: manager.map(|manager| manager.name.clone()),
        dn: identity.dn,
        resource,
        problems,
    }
}

/// The body that creates the resource, as the tenant's target gets it.
fn resource(
    profile: &Profile,
    dialect: &Dialect,
    identity: &Identity,
) -> Result<Option<Json>, Vec<String>> {
    let desired = profile.mapping.desired(identity, Utc::now());
    let mut attributes = desired
        .resource
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    if identity.kind == Kind::User {
        let active = desired.active.ok_or_else(|| {
            vec!["whether the account is enabled cannot be told; give the bind account the right to read that".to_owned()]
        })?;
        attributes.insert(AttributePath::active(), Value::Bool(active));
    }
    dialect.project(&mut attributes);
    let create = encode::create(resource_type(identity.kind), &attributes, &[]);
    Ok(shape::body(&create, dialect).map(Cow::into_owned))
}
