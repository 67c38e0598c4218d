//! The servers and the harness that the tests share: real slapd, real Samba, real 389 Directory Server, real scim2-server, real Chromium, a made-up company, the relay itself.

// Every test binary takes what it needs; the rest is not dead, it is used by the others.
#![allow(dead_code)]

pub mod browser;
pub mod ds389;
pub mod fault_ldap;
pub mod fault_target;
pub mod ldap_tools;
pub mod ldif;
pub mod mirror;
pub mod nginx;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod samba;
pub mod scim2_server;
pub mod scim_servers;
pub mod slapd;
pub mod tampering;
pub mod tls;
pub mod world;

use std::time::{Duration, Instant};

/// Asks again and again, every 10 ms, until `probe` has an answer.
///
/// # Panics
/// When there is none within `limit`; the message names `what` was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a future to its end, whether or not the caller is inside a runtime of its own.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a tokio runtime")
                    .block_on(future)
            })
            .join()
            .expect("the future ran to its end")
    })
}
