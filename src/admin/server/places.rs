//! Places for connections: how many there may be, for each peer and in all, and who gives way when none is left.
//!
//! A connection without a request under way gives way, the longest silent first: one that holds many and says nothing
//! gains nothing by it. One whose request is being answered is never closed for another.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of all peers together.
    pub(super) total: usize,
    /// Of one peer. The machine itself has no limit of its own: a proxy there speaks for everybody.
    pub(super) peer: usize,
}

/// The table of places.
#[derive(Clone)]
pub(super) struct Places {
    limits: Limits,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    /// Counts up with each event, so that who is silent longest has the lowest number.
    now: u64,
    taken: HashMap<u64, Taken>,
}

struct Taken {
    peer: Peer,
    /// Since when no request is under way.
    silent_since: Option<u64>,
    gives_way: CancellationToken,
}

/// Who counts as one: an IPv4 address, or the /64 that an IPv6 subscriber has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer(IpAddr);

impl Peer {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let network = address.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address => address,
        })
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn count(&self, of: Option<Peer>) -> usize {
        let counted = |taken: &&Taken| of.is_none_or(|peer| taken.peer == peer);
        self.taken.values().filter(counted).count()
    }

    /// Frees the place of the connection that has been silent longest; answers whether there was one.
    fn make_room(&mut self, of: Option<Peer>) -> bool {
        let silent = self.taken.iter().filter_map(|(id, taken)| {
            let counts = of.is_none_or(|peer| taken.peer == peer);
            Some((taken.silent_since.filter(|_| counts)?, *id))
        });
        let Some((_, longest)) = silent.min() else {
            return false;
        };
        if let Some(taken) = self.taken.remove(&longest) {
            taken.gives_way.cancel();
        }
        true
    }
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: Arc::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, if need be of a silent one; none when all of the peer's or all of them are at work.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let peer = Peer::of(address);
        let mut table = self.table();
        let crowded = !peer.0.is_loopback() && table.count(Some(peer)) >= self.limits.peer;
        if crowded && !table.make_room(Some(peer)) {
            return None;
        }
        if table.count(None) >= self.limits.total && !table.make_room(None) {
            return None;
        }
        let id = table.tick();
        let gives_way = CancellationToken::new();
        table.taken.insert(
            id,
            Taken {
                peer,
                silent_since: Some(id),
                gives_way: gives_way.clone(),
            },
        );
        Some(Place {
            id,
            places: self.clone(),
            gives_way,
        })
    }

    /// Closes the connection that has been silent longest, because the system has no room for another.
    pub(super) fn make_room(&self) {
        self.table().make_room(None);
    }
}

/// The place of one connection; free again when dropped.
pub(super) struct Place {
    id: u64,
    places: Places,
    gives_way: CancellationToken,
}

impl Place {
    /// Ends when the connection must give way to another.
    pub(super) async fn gives_way(&self) {
        self.gives_way.cancelled().await;
    }

    /// Whether no request is under way.
    pub(super) fn is_silent(&self) -> bool {
        let table = self.places.table();
        let taken = table.taken.get(&self.id);
        taken.is_none_or(|taken| taken.silent_since.is_some())
    }

    /// A request is under way until the answer is dropped.
    pub(super) fn request(&self) -> UnderWay {
        if let Some(taken) = self.places.table().taken.get_mut(&self.id) {
            taken.silent_since = None;
        }
        UnderWay {
            id: self.id,
            places: self.places.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().taken.remove(&self.id);
    }
}

/// A request under way.
pub(super) struct UnderWay {
    id: u64,
    places: Places,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut table = self.places.table();
        let now = table.tick();
        if let Some(taken) = table.taken.get_mut(&self.id) {
            taken.silent_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: Limits = Limits { total: 6, peer: 3 };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn closed(place: &Place) -> bool {
        place.gives_way.is_cancelled()
    }

    #[test]
    fn admin_places_of_a_crowded_peer_are_its_own_longest_silent_ones() {
        let places = Places::new(LIMITS);
        let other = places.take(address("10.0.0.2")).unwrap();
        let first = places.take(address("10.0.0.1")).unwrap();
        let second = places.take(address("10.0.0.1")).unwrap();
        let third = places.take(address("10.0.0.1")).unwrap();
        // The first one speaks now and then, so that the second has been silent longest.
        drop(first.request());
        let _fourth = places.take(address("10.0.0.1")).unwrap();
        let gone = [&other, &first, &second, &third].map(closed);
        assert_eq!(gone, [false, false, true, false]);
        assert_eq!(places.table().taken.len(), 4);
    }

    #[test]
    fn admin_places_with_a_request_under_way_never_give_way() {
        let places = Places::new(LIMITS);
        let peer = address("10.0.0.1");
        let taken: Vec<Place> = (0..3).map(|_| places.take(peer).unwrap()).collect();
        let mut at_work: Vec<UnderWay> = taken.iter().map(Place::request).collect();
        assert!(places.take(peer).is_none());
        // Another peer has room all the same.
        assert!(places.take(address("10.0.0.2")).is_some());
        at_work.pop();
        let _next = places.take(peer).unwrap();
        assert_eq!(
            taken.iter().map(closed).collect::<Vec<_>>(),
            [false, false, true]
        );
    }

    #[test]
    fn admin_places_of_a_proxy_on_this_machine_are_all_of_them_and_a_silent_one_makes_room() {
        let places = Places::new(LIMITS);
        let taken: Vec<Place> = (0..LIMITS.total)
            .map(|_| places.take(address("127.0.0.1")).unwrap())
            .collect();
        assert!(!taken.iter().any(closed));
        let newcomer = places.take(address("10.0.0.1")).unwrap();
        assert!(closed(&taken[0]) && !taken[1..].iter().any(closed));
        let _at_work: Vec<UnderWay> = taken
            .iter()
            .chain([&newcomer])
            .map(Place::request)
            .collect();
        assert!(places.take(address("10.0.0.2")).is_none());
        drop(taken);
        assert_eq!(places.table().taken.len(), 1);
    }

    #[test]
    fn admin_places_count_an_ipv6_network_as_one_peer() {
        assert_eq!(
            Peer::of(address("2001:db8::1")),
            Peer::of(address("2001:db8::ffff"))
        );
        assert_ne!(
            Peer::of(address("2001:db8::1")),
            Peer::of(address("2001:db8:0:1::1"))
        );
        assert_eq!(
            Peer::of(address("::ffff:10.0.0.1")),
            Peer::of(address("10.0.0.1"))
        );
        assert!(Peer::of(address("::1")).0.is_loopback());
    }
}
