//! What a domain controller of Active Directory says of itself in its root DSE, which is read on every connection.

use crate::fault::Fault;
use crate::identity::DirectoryType;
use crate::source::examination::{Caveat, Server};
use crate::source::{Error, Settings, Stage};

/// The attribute with the server's own name (MS-ADTS §3.1.1.3.2.3).
const HOST_NAME: &str = "dnsHostName";
/// The attribute with what the server is able to do (MS-ADTS §3.1.1.3.2.16).
const CAPABILITIES: &str = "supportedCapabilities";
/// The attributes of the root DSE that tell which server it is.
pub(super) const ATTRIBUTES: [&str; 2] = [HOST_NAME, CAPABILITIES];
/// The capability of a read-only domain controller (MS-ADTS §3.1.1.3.4.3.6, LDAP_CAP_ACTIVE_DIRECTORY_PARTIAL_SECRETS_OID).
const READ_ONLY: &str = "1.2.840.113556.1.4.1920";
/// The ports of the global catalog. Nothing else tells it apart: the same server says the same on its other ports.
const GLOBAL_CATALOG_PORTS: [u16; 2] = [3268, 3269];

/// Adds to what is known of a server what follows from its port and its root DSE.
pub(super) fn describe(server: &mut Server, root: &[(&'static str, String)]) {
    let values = |name: &'static str| {
        root.iter()
            .filter(move |(found, _)| *found == name)
            .map(|(_, value)| value.as_str())
    };
    server.name = values(HOST_NAME).next().map(str::to_owned);
    if GLOBAL_CATALOG_PORTS.contains(&server.address.port) {
        server.caveats.push(Caveat::GlobalCatalog);
    }
    if values(CAPABILITIES).any(|oid| oid == READ_ONLY) {
        server.caveats.push(Caveat::ReadOnly);
    }
}

/// Whether these settings read groups from a global catalog.
pub(super) fn cannot_tell_members(settings: &Settings) -> bool {
    settings.directory_type == DirectoryType::ActiveDirectory
        && GLOBAL_CATALOG_PORTS.contains(&settings.port)
        && settings.groups.is_some()
}

/// The error of a profile that reads groups from a global catalog: members that are missing there look like members that
/// left.
pub(super) fn no_members(server: &str) -> Error {
    let message = format!(
        "{server}: the port is that of the global catalog, which lacks the members of global and domain local groups of other \
         domains, so the members of groups cannot be told; use port 636 (LDAPS) or 389 (StartTLS) of a domain controller, or \
         set synchronizeGroups = false to read users only"
    );
    Error::new(Stage::Network, Fault::Denied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(port: u16, root: &[(&'static str, String)]) -> Server {
        let mut server = Server::default();
        server.address.port = port;
        describe(&mut server, root);
        server
    }

    #[test]
    fn the_catalog_is_known_by_its_port_and_a_read_only_controller_by_what_it_says() {
        let full = "1.2.840.113556.1.4.800";
        for (port, capabilities, caveats) in [
            (636, vec![full], vec![]),
            (3268, vec![full], vec![Caveat::GlobalCatalog]),
            (3269, vec![full], vec![Caveat::GlobalCatalog]),
            (389, vec![full, READ_ONLY], vec![Caveat::ReadOnly]),
            (
                3269,
                vec![READ_ONLY],
                vec![Caveat::GlobalCatalog, Caveat::ReadOnly],
            ),
        ] {
            let mut root = vec![(HOST_NAME, "dc1.example.org".to_owned())];
            root.extend(
                capabilities
                    .iter()
                    .map(|oid| (CAPABILITIES, (*oid).to_owned())),
            );
            let described = described(port, &root);
            assert_eq!(described.name.as_deref(), Some("dc1.example.org"));
            assert_eq!(described.caveats, caveats, "{port}");
        }
        let silent = described(389, &[]);
        assert_eq!((silent.name, silent.caveats), (None, vec![]));
    }
}
