//! What is entered through the API: every document is a tenant or a directory, or has mistakes.
#![no_main]

use scim_relay::directory::{Origin, read, tenant};
use scim_relay::document::{Node, Problems};
use scim_relay::id::{DirectoryId, TenantName};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else {
        return;
    };
    let node = Node::of_json(json);
    let mut problems = Problems::default();
    let read_tenant = tenant::read(&node, "", true, &mut problems);
    assert!(read_tenant.is_some() || !problems.0.is_empty());
    let mut problems = Problems::default();
    let origin = Origin::Api(
        DirectoryId(uuid::Uuid::nil()),
        TenantName("acme".to_owned()),
    );
    let directory = read::directory(&node, "", &origin, &mut problems);
    assert!(directory.is_some() || !problems.0.is_empty());
});
