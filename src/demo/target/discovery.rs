//! The discovery endpoints of RFC 7644 section 4.
use scim_v2::schema_urns;
use serde_json::{Value, json};

use crate::demo::target::records::Kind;
use crate::demo::target::schema::Schemas;

/// The most resources that one page of a list holds.
pub const MAX_RESULTS: usize = 1000;

/// `/ServiceProviderConfig`.
pub fn service_provider_config(base: &str) -> Value {
    let no = json!({"supported": false});
    json!({
        "schemas": [schema_urns::SERVICE_PROVIDER_CONFIG],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": MAX_RESULTS},
        "changePassword": no,
        "sort": no,
        "etag": no,
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A bearer token in the Authorization header",
            "primary": true,
        }],
        "meta": {"resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig")},
    })
}

/// The resources of `/ResourceTypes`.
pub fn resource_types(base: &str) -> Vec<Value> {
    let kinds = [
        (Kind::User, schema_urns::USER),
        (Kind::Group, schema_urns::GROUP),
    ];
    let resource_type = |(kind, urn): (Kind, &str)| {
        let name = kind.name();
        let mut resource = json!({
            "schemas": [schema_urns::RESOURCE_TYPE],
            "id": name,
            "name": name,
            "endpoint": kind.endpoint(),
            "schema": urn,
            "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{name}")},
        });
        if kind == Kind::User {
            resource["schemaExtensions"] =
                json!([{"schema": schema_urns::ENTERPRISE_USER, "required": false}]);
        }
        resource
    };
    kinds.into_iter().map(resource_type).collect()
}

/// The resources of `/Schemas`.
pub fn schemas(schemas: &Schemas, base: &str) -> Vec<Value> {
    let served = schemas.served.iter().cloned();
    served
        .map(|mut schema| {
            let id = schema["id"].as_str().unwrap_or_default().to_owned();
            schema["schemas"] = json!([schema_urns::SCHEMA]);
            schema["meta"] =
                json!({"resourceType": "Schema", "location": format!("{base}/Schemas/{id}")});
            schema
        })
        .collect()
}

/// A ListResponse (RFC 7644 section 3.4.2).
pub fn list(resources: Vec<Value>, total: usize, start_index: usize) -> Value {
    json!({
        "schemas": [schema_urns::LIST_RESPONSE],
        "totalResults": total,
        "startIndex": start_index,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}
