//! What the API answers when it is asked to try something: the report of a directory's test, one entry mapped, and what the probe
//! of a target found.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::admin::explanation::Explanation;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::id::{ProfileName, TenantName};
use crate::identity::Kind;
use crate::job::ChangeDetection;
use crate::scim::evidence::Findings;
use crate::secret::Secret;

/// Tries directories and targets; what stands behind it connects to them.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Tries a directory as far as is asked for; one that is not saved comes with its password.
    async fn test(
        &self,
        directory: &Directory,
        profile: &Profile,
        password: Option<&Secret>,
        stage: Stage,
    ) -> TestReport;

    /// Finds one entry by DN, anchor or userName, and maps it; a directory that is not saved comes with its password.
    ///
    /// # Errors
    /// When the directory cannot be read, or no entry in scope is called so.
    async fn preview_mapping(
        &self,
        directory: &Directory,
        profile: &Profile,
        password: Option<&Secret>,
        selector: &str,
    ) -> Result<MappingPreview, PreviewRefused>;

    /// Explains one entry, found by DN, anchor or userName wherever the directory has it. Nothing is stored, and the target is
    /// only asked. Without a profile it is the one to which the entry belongs.
    ///
    /// # Errors
    /// When the directory cannot be asked, or the store cannot be read; the text names the cure.
    async fn explain(
        &self,
        directory: &Directory,
        profile: Option<&ProfileName>,
        selector: &str,
    ) -> Result<Explanation, String>;

    /// Probes a tenant's target on canaries, which are gone again when it answers, but for those that are named. It keeps the time
    /// of a request, and `stop` ends it earlier.
    ///
    /// # Errors
    /// When the tenant's secrets cannot be had; nothing was sent then.
    async fn probe_target(
        &self,
        tenant: &TenantName,
        stop: CancellationToken,
    ) -> Result<Findings, String>;
}

/// How far a test goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Network and TLS.
    Connection,
    /// The bind too.
    Authentication,
    /// Everything: search bases, filters, counts, a sample.
    #[default]
    All,
}

impl Stage {
    /// Reads a stage from its word.
    ///
    /// # Errors
    /// When there is no such stage.
    pub fn from_word(word: &str) -> Result<Self, String> {
        match word {
            "connection" => Ok(Self::Connection),
            "authentication" => Ok(Self::Authentication),
            other => Err(format!(
                "`{}` is not a stage; use connection or authentication, or leave it out to test everything",
                other.escape_debug()
            )),
        }
    }
}

/// What a test found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestReport {
    /// Whether every stage that was asked for passed.
    pub success: bool,
    /// Users in scope; a warning says when these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_found: Option<u64>,
    /// Groups in scope, organizational units among them where these are groups; absent when neither is synchronized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_found: Option<u64>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TestError>,
    /// Every stage, in order.
    pub stages: Vec<StageReport>,
    /// What an administrator should know; absent when the test failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Vec<String>>,
    /// One user as it would be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Value>,
    /// How changes are noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_detection: Option<ChangeDetection>,
}

/// Why a test failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TestError {
    /// The stage that failed.
    pub code: Code,
    /// What happened and what cures it.
    pub message: String,
}

/// The stages of talking to a directory, and the codes of what can fail there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TestStage")]
pub enum Code {
    /// Name resolution, TCP, and whether an LDAP server answers at all.
    Network,
    /// The TLS handshake or StartTLS.
    Tls,
    /// The bind.
    Authentication,
    /// The search bases.
    BaseDn,
    /// The account's rights and limits.
    Permission,
    /// The filters.
    Filter,
}

impl Code {
    /// All stages, in the order in which they are passed.
    pub const ALL: [Self; 6] = [
        Self::Network,
        Self::Tls,
        Self::Authentication,
        Self::BaseDn,
        Self::Permission,
        Self::Filter,
    ];
}

/// How one stage went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StageReport {
    /// The stage.
    pub name: Code,
    /// What became of it.
    pub status: StageStatus,
    /// What there is to say of it.
    pub detail: Option<String>,
}

/// What became of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// It passed.
    Ok,
    /// It failed.
    Failed,
    /// It was not tried.
    Skipped,
}

/// One entry, mapped.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MappingPreview {
    /// User or group.
    pub kind: Kind,
    /// The anchor.
    pub anchor: Option<String>,
    /// The DN.
    pub dn: String,
    /// The resource as it would be sent, a group's members left out; absent when the entry cannot be mapped.
    pub resource: Option<Value>,
    /// How many members the group's entry names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members_named: Option<usize>,
    /// Whom a user's entry names as manager, who is sent by the id that he has at the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager_named: Option<String>,
    /// Why the entry cannot be mapped.
    pub problems: Vec<String>,
}

/// Why no entry was mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviewRefused {
    /// No entry in scope is called so; the text names the cure.
    NotFound(String),
    /// The directory could not be asked.
    Directory(TestError),
}
