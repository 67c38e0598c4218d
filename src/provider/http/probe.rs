//! Discovery: whether a SCIM target is there, lets us in, and what it says it can do.

use serde_json::Value as Json;
use tokio::time::Instant;

use std::sync::PoisonError;

use crate::fault::Fault;
use crate::provider::http::call::Call;
use crate::provider::http::{Http, lists, outcome};
use crate::provider::{BulkLimits, Capabilities, Lane, Refusal};
use crate::scim::resource::{ListPage, attribute};
use crate::scim::{GROUP_SCHEMA, ResourceType, USER_SCHEMA};

impl Http {
    /// See [`crate::provider::Provider::discover`].
    pub(super) async fn capabilities(&self) -> Result<Capabilities, Refusal> {
        let config = self.service_provider_config().await?;
        let users = self.harmless_read(Lane::Ordinary).await;
        match (users, &config) {
            (Ok(()), _) => {}
            // A target that describes itself may still not list its users; but it must let us in.
            (Err(refusal), Some(_)) if !is_stop(&refusal) => {}
            (Err(refusal), _) => return Err(no_target(refusal)),
        }
        let supported = |feature: &str| {
            let said = attribute(config.as_ref()?, feature)?;
            attribute(said, "supported")?.as_bool()
        };
        let pages =
            |way: &str| attribute(attribute(config.as_ref()?, "pagination")?, way)?.as_bool();
        Ok(Capabilities {
            patch: supported("patch"),
            filter: supported("filter"),
            bulk: bulk_limits(config.as_ref()),
            cursors_only: pages("cursor") == Some(true) && pages("index") == Some(false),
            email_verified: self.email_verified_path().await?,
        })
    }

    /// What the target says of itself (RFC 7644 §4); `None` where it says nothing, as some do.
    async fn service_provider_config(&self) -> Result<Option<Json>, Refusal> {
        let call = Call::get("ServiceProviderConfig", Vec::new());
        let answer = self.read(&call, Lane::Ordinary).await?;
        if matches!(answer.status, 300..=399 | 401) {
            return Err(outcome::refusal(&call.to_string(), &answer));
        }
        let config = outcome::json_of(&call.to_string(), answer).ok();
        let is_config = |config: &Json| {
            let names = ["patch", "filter", "authenticationSchemes"];
            names.iter().any(|name| attribute(config, name).is_some())
        };
        Ok(config.filter(is_config))
    }

    /// Reads at most one user, or all where the target cannot be asked for fewer; shows that the target speaks SCIM, and that
    /// the credentials are good for reading.
    pub(super) async fn harmless_read(&self, lane: Lane) -> Result<(), Refusal> {
        let call = self.list_call(ResourceType::User, self.one_user());
        let label = call.to_string();
        let answer = self.read(&call, lane).await?;
        lists::list_of(&label, &outcome::json_of(&label, answer)?)?;
        let mut worked = self
            .read_worked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *worked = Some(Instant::now());
        Ok(())
    }

    /// Looks for an attribute named emailVerified in the schemas of users; a target without schemas has none.
    async fn email_verified_path(&self) -> Result<Option<String>, Refusal> {
        let call = Call::get("Schemas", Vec::new());
        let schemas = match self.read(&call, Lane::Ordinary).await {
            Ok(answer) if answer.status == 401 => {
                return Err(outcome::refusal(&call.to_string(), &answer));
            }
            Ok(answer) => outcome::json_of(&call.to_string(), answer),
            Err(refusal) => Err(refusal),
        };
        let page = schemas
            .ok()
            .and_then(|body| ListPage::from_json(&body).ok());
        Ok(page.and_then(|page| page.resources.iter().find_map(email_verified_in)))
    }
}

/// What Bulk takes, where it is supported; with modest limits where the target names none.
fn bulk_limits(config: Option<&Json>) -> Option<BulkLimits> {
    let bulk = attribute(config?, "bulk")?;
    let number = |name: &str| {
        let number = attribute(bulk, name)?.as_u64()?;
        usize::try_from(number).ok().filter(|number| *number > 0)
    };
    (attribute(bulk, "supported")?.as_bool()?).then(|| BulkLimits {
        operations: number("maxOperations").unwrap_or(100),
        payload_bytes: number("maxPayloadSize").unwrap_or(1 << 20),
    })
}

/// The path of emailVerified, if this is a schema that a user can have and the attribute can be written.
fn email_verified_in(schema: &Json) -> Option<String> {
    let urn = attribute(schema, "id")?.as_str()?;
    if urn == GROUP_SCHEMA {
        return None;
    }
    let text = |of: &Json, name: &str| {
        attribute(of, name)
            .and_then(Json::as_str)
            .map(str::to_owned)
    };
    let attributes = attribute(schema, "attributes")?.as_array()?;
    let name = attributes.iter().find_map(|candidate| {
        let name = text(candidate, "name")?;
        let fits = name.eq_ignore_ascii_case("emailVerified")
            && text(candidate, "type").is_none_or(|kind| kind.eq_ignore_ascii_case("boolean"))
            && text(candidate, "mutability")
                .is_none_or(|kind| !kind.eq_ignore_ascii_case("readOnly"));
        fits.then_some(name)
    })?;
    Some(if urn == USER_SCHEMA {
        name
    } else {
        format!("{urn}:{name}")
    })
}

fn is_stop(refusal: &Refusal) -> bool {
    refusal.fault == Fault::Denied || matches!(refusal.status, Some(401 | 403))
}

/// Nothing that was asked shows a SCIM target: the operator must act, unless the failure passes by itself.
fn no_target(refusal: Refusal) -> Refusal {
    let passing = refusal.fault == Fault::Throttled
        || (refusal.fault == Fault::Transient && refusal.status.is_none_or(|status| status >= 500));
    if passing {
        return refusal;
    }
    let cure = match refusal.status {
        // The message says already that the credentials are wrong; what refuses them may still be something else.
        Some(401 | 403) => "check the SCIM base URL too",
        _ => "no SCIM target answers here: check the SCIM base URL and the credentials",
    };
    Refusal {
        fault: Fault::Denied,
        message: format!("{}; {cure}", refusal.message),
        ..refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_attribute_that_can_be_written_is_found_in_core_and_extensions() {
        let schema = |urn: &str, attribute: Json| json!({"id": urn, "attributes": [{"name": "x"}, attribute]});
        let plain = || json!({"name": "emailVerified", "type": "boolean"});
        let extension = "urn:acme:2.0:User";
        for (schema, path) in [
            (
                schema(USER_SCHEMA, plain()),
                Some("emailVerified".to_owned()),
            ),
            (
                schema(extension, plain()),
                Some(format!("{extension}:emailVerified")),
            ),
            (
                schema(USER_SCHEMA, json!({"name": "EmailVerified"})),
                Some("EmailVerified".to_owned()),
            ),
            (schema(GROUP_SCHEMA, plain()), None),
            (
                schema(
                    USER_SCHEMA,
                    json!({"name": "emailVerified", "mutability": "readOnly"}),
                ),
                None,
            ),
            (
                schema(
                    USER_SCHEMA,
                    json!({"name": "emailVerified", "type": "string"}),
                ),
                None,
            ),
            (json!({"id": USER_SCHEMA}), None),
            (json!("text"), None),
        ] {
            assert_eq!(email_verified_in(&schema), path, "{schema}");
        }
    }
}
