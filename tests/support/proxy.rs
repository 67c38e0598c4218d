//! A TCP proxy before a real server, which cuts or stalls the answers after a number of bytes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::wait_for;

const LIMIT: Duration = Duration::from_secs(30);

/// What happens to answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Plan {
    /// They pass.
    #[default]
    Pass,
    /// After so many bytes the connection ends, and no other one is served.
    Cut(u64),
    /// After so many bytes nothing passes until told so.
    Stall(u64),
}

#[derive(Default)]
struct State {
    plan: Plan,
    sent: u64,
    reached: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy; it takes no more connections when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts before the server on that port of 127.0.0.1; everything passes.
    pub fn start(upstream: u16) -> Self {
        Self::on(([127, 0, 0, 1], 0).into(), upstream)
    }

    /// The same on an address of this machine, for clients that judge a server by its port.
    pub fn on(address: SocketAddr, upstream: u16) -> Self {
        let listener = TcpListener::bind(address).expect("a free port of this machine");
        let address = listener.local_addr().expect("the bound address");
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        std::thread::spawn(move || accept(&listener, upstream, &state));
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Bytes of answers that passed since the plan was last set.
    pub fn sent(&self) -> u64 {
        self.shared.state.lock().unwrap().sent
    }

    /// Lets everything pass, and counts anew.
    pub fn pass(&self) {
        self.set(Plan::Pass);
    }

    /// Cuts after so many more bytes; from then on nobody is served.
    pub fn cut_after(&self, bytes: u64) {
        self.set(Plan::Cut(bytes));
    }

    /// Stalls after so many more bytes, until [`Proxy::pass`].
    pub fn stall_after(&self, bytes: u64) {
        self.set(Plan::Stall(bytes));
    }

    /// Waits until the cut or the stall has come.
    pub fn wait_reached(&self) {
        wait_for("the byte at which the proxy acts", LIMIT, || {
            self.reached().then_some(())
        });
    }

    /// Whether the cut or the stall has come.
    pub fn reached(&self) -> bool {
        self.shared.state.lock().unwrap().reached
    }

    fn set(&self, plan: Plan) {
        let mut state = self.shared.state.lock().unwrap();
        *state = State {
            plan,
            ended: state.ended,
            ..State::default()
        };
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().ended = true;
        self.set(Plan::Pass);
        // Wakes the listener, which then sees that it is over; when it is gone already there is nothing to wake.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, upstream: u16, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        {
            let state = shared.state.lock().unwrap();
            if state.ended {
                return;
            }
            if state.reached && matches!(state.plan, Plan::Cut(_)) {
                continue;
            }
        }
        // A server that is gone ends the client's connection too.
        let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else {
            continue;
        };
        // Small answers must not wait for each other.
        client.set_nodelay(true).expect("an open connection");
        server.set_nodelay(true).expect("an open connection");
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let shared = shared.clone();
        std::thread::spawn(move || answers(server, client, &shared));
    }
}

/// Passes answers on as the plan allows.
fn answers(mut server: TcpStream, mut client: TcpStream, shared: &Shared) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let Some(allowed) = allowed(shared, rest.len()) else {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
                return;
            };
            let (now, later) = rest.split_at(allowed);
            if client.write_all(now).is_err() {
                return;
            }
            rest = later;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// How many of these bytes may pass now; waits while the proxy stalls, `None` when it cuts.
fn allowed(shared: &Shared, wanted: usize) -> Option<usize> {
    let mut state = shared.state.lock().unwrap();
    loop {
        let room = match state.plan {
            Plan::Pass => u64::MAX,
            Plan::Cut(at) | Plan::Stall(at) => at.saturating_sub(state.sent),
        };
        let allowed = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
        if allowed > 0 {
            state.sent += allowed as u64;
            return Some(allowed);
        }
        state.reached = true;
        if matches!(state.plan, Plan::Cut(_)) {
            return None;
        }
        state = shared.changed.wait(state).unwrap();
    }
}
