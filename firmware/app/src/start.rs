//! The first lines of the log, and the identity that all else needs.

use alloc::vec::Vec;
use core::fmt;

use embassy_time::{Duration, Timer};
use log::{error, info};
use tbprov_contract::Identity;
use tbprov_contract::partition::decode;
use tbprov_contract::report::Trouble;
use zeroize::Zeroizing;

/// How often what only a new identity can mend is said again: whoever attaches to the log later sees it too.
const REMINDER: Duration = Duration::from_secs(30);

/// Says what starts where, and reads the identity: `partition` gives a copy of the identity partition, or why the board
/// could not read it. It returns only with a usable identity; otherwise it says for ever how to mend it.
pub async fn start(
    board: &str,
    free_heap: fn() -> usize,
    partition: impl FnOnce() -> Result<Vec<u8>, &'static str>,
) -> Identity {
    info!("tbprov firmware {} on {board}", env!("CARGO_PKG_VERSION"));
    // Before there is a copy of the partition, which takes 24 KiB.
    info!("free heap {} bytes", free_heap());
    let partition = match partition() {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(why) => unusable(why).await,
    };
    let decoded = decode(&partition);
    drop(partition);
    match decoded {
        Ok(identity) => identity,
        Err(error) => unusable(error).await,
    }
}

/// Says for ever why the identity cannot be used and which command mends it, such as that a board with nothing but
/// a radio has no wireless network in its identity.
pub async fn unusable(why: impl fmt::Display) -> ! {
    loop {
        error!("{}{why}; write one: tbprov firmware flash --identity-only --device NAME", Trouble::Identity);
        Timer::after(REMINDER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use tbprov_contract::partition::{SIZE, encode};

    use super::*;
    use crate::testing::{alone, identity};

    fn refused(partition: Result<Vec<u8>, &'static str>) -> Vec<std::string::String> {
        let alone = alone();
        assert!(alone.run_for(Duration::from_secs(100), start("test", || 1000, || partition)).is_none());
        assert_eq!(alone.troubles(), [Trouble::Identity; 4], "said at once, then every 30 s");
        alone.lines()
    }

    #[test]
    fn an_identity_that_cannot_be_used_is_said_again_and_again() {
        let lines = refused(Ok(alloc::vec![0xFF; SIZE]));
        assert_eq!(lines[1], "I (0) tbprov: free heap 1000 bytes");
        assert_eq!(
            lines[2],
            "E (0) tbprov: [firmware/identity] the identity partition is empty; write one: tbprov firmware flash \
             --identity-only --device NAME"
        );
        for partition in [Ok(Vec::new()), Ok(alloc::vec![0; SIZE]), Err("the flash cannot be read")] {
            refused(partition);
        }
    }

    #[test]
    fn a_usable_identity_is_returned() {
        let pem = |label: &str| alloc::format!("-----BEGIN {label}-----\nQUJD\n-----END {label}-----\n");
        let written = Identity {
            server_certificates: pem("CERTIFICATE"),
            certificate: pem("CERTIFICATE"),
            key: pem("PRIVATE KEY").into(),
            ..identity()
        };
        let partition = encode(&written).unwrap().to_vec();
        let alone = alone();
        assert!(alone.run(start("test", || 1000, || Ok(partition))) == written);
        let version = env!("CARGO_PKG_VERSION").to_string();
        assert_eq!(alone.lines()[0], alloc::format!("I (0) tbprov: tbprov firmware {version} on test"));
    }

    #[test]
    fn the_heap_is_looked_at_before_the_partition_takes_its_part() {
        use core::sync::atomic::{AtomicUsize, Ordering};
        static FREE: AtomicUsize = AtomicUsize::new(100_000);
        let partition = || {
            FREE.fetch_sub(SIZE, Ordering::Relaxed);
            Ok(alloc::vec![0xFF; SIZE])
        };
        let alone = alone();
        let started = start("test", || FREE.load(Ordering::Relaxed), partition);
        assert!(alone.run_for(Duration::from_secs(1), started).is_none());
        assert_eq!(alone.lines()[1], "I (0) tbprov: free heap 100000 bytes");
    }
}
