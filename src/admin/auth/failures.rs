//! How many refused tokens an address may present, and which of them are told; all of it in bounded memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Refused requests that an address may send at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// Refused requests that it may send in a minute after that: one every two seconds.
const PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
/// Refusals of an address that are told in a minute.
const TOLD_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN;
/// Refusals that are told in a minute, of all addresses together: the audit log is kept for ever.
const TOLD_IN_ALL: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// Addresses that are counted each by itself; those beyond share one count.
const ADDRESSES_MAX: usize = 1_000;
/// What the addresses beyond are counted under.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The counts of all addresses.
pub(super) struct Failures<C: Clock = DefaultClock> {
    allowed: Counter<C>,
    told: Counter<C>,
    told_in_all: Counter<C>,
}

impl Default for Failures {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Failures<C> {
    fn with_clock(clock: C) -> Self {
        let allowed = Quota::per_minute(PER_MINUTE).allow_burst(AT_ONCE);
        Self {
            allowed: Counter::new(allowed, clock.clone()),
            told: Counter::new(Quota::per_minute(TOLD_PER_MINUTE), clock.clone()),
            told_in_all: Counter::new(Quota::per_minute(TOLD_IN_ALL), clock),
        }
    }

    /// Counts a refusal.
    ///
    /// # Errors
    /// When there were too many: how long to wait.
    pub(super) fn count(&self, address: IpAddr) -> Result<(), Duration> {
        self.allowed.count(network(address))
    }

    /// Whether this refusal goes into the log and the audit log: one for each address and minute does, twenty in all.
    pub(super) fn is_worth_telling(&self, address: IpAddr) -> bool {
        // The limit over all of them comes last, so that it counts only what an address may still tell.
        self.told.count(network(address)).is_ok() && self.told_in_all.count(OTHERS).is_ok()
    }
}

/// One limit for each of many addresses.
struct Counter<C: Clock> {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> Counter<C> {
    fn new(quota: Quota, clock: C) -> Self {
        Self {
            limiter: RateLimiter::hashmap_with_clock(quota, clock),
        }
    }

    fn count(&self, address: IpAddr) -> Result<(), Duration> {
        if self.limiter.len() >= ADDRESSES_MAX {
            self.limiter.retain_recent();
        }
        let key = match self.limiter.len() {
            0..ADDRESSES_MAX => address,
            _ => OTHERS,
        };
        let now = self.limiter.clock().now();
        self.limiter
            .check_key(&key)
            .map_err(|until| until.wait_time_from(now))
    }
}

/// What one host can call from: an address of IPv4, or a network of 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_at_once_then_one_every_two_seconds_for_each_address() {
        let clock = FakeRelativeClock::default();
        let failures = Failures::with_clock(clock.clone());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for number in 0..10 {
            assert_eq!(failures.count(one), Ok(()), "{number}");
        }
        assert_eq!(failures.count(one), Err(Duration::from_secs(2)));
        assert_eq!(failures.count(other), Ok(()));
        clock.advance(Duration::from_secs(2));
        assert_eq!(failures.count(one), Ok(()));
        assert_eq!(failures.count(one), Err(Duration::from_secs(2)));
    }

    #[test]
    fn one_a_minute_is_told() {
        let clock = FakeRelativeClock::default();
        let failures = Failures::with_clock(clock.clone());
        let told = |text: &str| failures.is_worth_telling(address(text));
        assert!(told("192.0.2.1") && !told("192.0.2.1") && told("192.0.2.2"));
        clock.advance(Duration::from_secs(60));
        assert!(told("192.0.2.1") && !told("192.0.2.1"));
    }

    #[test]
    fn addresses_of_one_host_are_one() {
        let failures = Failures::with_clock(FakeRelativeClock::default());
        assert!(failures.is_worth_telling(address("2001:db8::1")));
        assert!(!failures.is_worth_telling(address("2001:db8::ffff:2")));
        assert!(failures.is_worth_telling(address("2001:db8:0:1::1")));
        assert!(failures.is_worth_telling(address("::ffff:192.0.2.1")));
        assert!(!failures.is_worth_telling(address("192.0.2.1")));
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let clock = FakeRelativeClock::default();
        let failures = Failures::with_clock(clock.clone());
        let many = |failures: &Failures<FakeRelativeClock>| {
            let counted = (0..5_000_u32).map(|number| {
                let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
                failures.count(address).is_ok()
            });
            counted.filter(|ok| *ok).count()
        };
        assert_eq!(many(&failures), ADDRESSES_MAX + 10, "the others share ten");
        assert!(failures.allowed.limiter.len() <= ADDRESSES_MAX + 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(failures.count(address("192.0.2.1")), Ok(()));
        assert_eq!(failures.allowed.limiter.len(), 1);
    }
}
