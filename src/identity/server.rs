//! Where a directory server is: a host and a port, as an administrator writes them.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A host and a port; its text is `host:port`, an IPv6 address in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerAddress {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl ServerAddress {
    /// Reads `host` or `host:port`, an IPv6 address in brackets; without a port it is the usual one.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str, usual_port: u16) -> Result<Self, String> {
        let wrong = |what: &str| {
            let text = text.escape_debug();
            Err(format!(
                "`{text}` {what}; write host or host:port, an IPv6 address in brackets"
            ))
        };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bare {
            Some(bare) if bare.parse::<Ipv6Addr>().is_err() => {
                return wrong("has brackets without an IPv6 address");
            }
            Some(bare) => bare,
            None if host.is_empty() => return wrong("names no host"),
            None if !host.chars().all(is_of_a_name) => return wrong("is no host"),
            None => host,
        };
        match port.map(str::parse) {
            None => Ok(usual_port),
            Some(Ok(port @ 1..)) => Ok(port),
            Some(_) => return wrong("has no port between 1 and 65535 after the colon"),
        }
        .map(|port| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let is_loopback = |address: IpAddr| address.is_loopback();
        self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

/// What the names of hosts are made of; `_` is in none, but in some that people use.
fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | '_')
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_is_a_host_with_or_without_a_port() {
        for (text, host, port) in [
            ("dc2.example.org", "dc2.example.org", 636),
            ("dc2.example.org:1636", "dc2.example.org", 1636),
            ("10.0.0.2:389", "10.0.0.2", 389),
            ("[fd00::2]", "fd00::2", 636),
            ("[fd00::2]:389", "fd00::2", 389),
        ] {
            let server = ServerAddress::parse(text, 636).unwrap_or_default();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{text}");
            let again = ServerAddress::parse(&server.to_string(), 1);
            assert_eq!(again, Ok(server), "{text}");
        }
        for (text, words) in [
            ("", "names no host"),
            (":636", "names no host"),
            ("dc2:", "no port"),
            ("dc2:0", "no port"),
            ("dc2:65536", "no port"),
            ("dc2:ldap", "no port"),
            ("fd00::2", "is no host"),
            ("[dc2]", "brackets"),
            ("[fd00::2", "is no host"),
            ("ldaps://dc2:636", "is no host"),
            ("dc1, dc2", "is no host"),
            ("reader@dc2", "is no host"),
        ] {
            let refused = ServerAddress::parse(text, 636).unwrap_err();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (host, is_loopback) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("10.0.0.1", false),
            ("localhost.example.org", false),
        ] {
            let host = host.to_owned();
            let server = ServerAddress { host, port: 389 };
            assert_eq!(server.is_loopback(), is_loopback, "{server}");
        }
    }
}
