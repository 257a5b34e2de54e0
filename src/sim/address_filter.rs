//! Addresses with many wrong logins are blocked for a time (`DefaultTransportRateLimitService`, `IpFilter`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(super) struct AddressFilter {
    /// So many wrong logins without a good one in between.
    most: u64,
    /// Counted from the last login, good or wrong.
    lasts: Duration,
    addresses: Mutex<HashMap<IpAddr, Logins>>,
}

#[derive(Debug, Clone, Copy)]
struct Logins {
    wrong: u64,
    is_blocked: bool,
    last: Instant,
}

impl AddressFilter {
    pub(super) fn new(most: u64, lasts: Duration) -> Self {
        Self { most, lasts, addresses: Mutex::default() }
    }

    /// Whether a connection of this address may go on.
    pub(super) fn admits(&self, address: IpAddr, now: Instant) -> bool {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = |logins: &Logins| now.saturating_duration_since(logins.last);
        addresses.get(&address).is_none_or(|logins| !logins.is_blocked || passed(logins) > self.lasts)
    }

    /// A login was good. It ends a block, which a connection that was open before can do.
    pub(super) fn succeeded(&self, address: IpAddr, now: Instant) {
        self.change(address, now, |logins| (logins.wrong, logins.is_blocked) = (0, false));
    }

    /// A login was wrong. After a block one is enough for the next.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        self.change(address, now, |logins| {
            logins.wrong += 1;
            logins.is_blocked |= logins.wrong >= self.most;
        });
    }

    fn change(&self, address: IpAddr, now: Instant, change: impl FnOnce(&mut Logins)) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let none = Logins { wrong: 0, is_blocked: false, last: now };
        let logins = addresses.entry(address).or_insert(none);
        logins.last = now;
        change(logins);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const OTHER: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn blocked_until_the_time_after_the_last_login_is_over() {
        let filter = AddressFilter::new(3, Duration::from_secs(60));
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        for _ in 0..2 {
            filter.failed(ADDRESS, begin);
        }
        filter.succeeded(ADDRESS, begin);
        for _ in 0..3 {
            assert!(filter.admits(ADDRESS, begin));
            filter.failed(ADDRESS, begin);
        }
        assert!(!filter.admits(ADDRESS, begin) && filter.admits(OTHER, begin));
        filter.failed(ADDRESS, after(50));
        assert!(!filter.admits(ADDRESS, after(100)));
        assert!(filter.admits(ADDRESS, after(111)));
        filter.failed(ADDRESS, after(111));
        assert!(!filter.admits(ADDRESS, after(111)));
        filter.succeeded(ADDRESS, after(112));
        assert!(filter.admits(ADDRESS, after(112)));
    }
}
