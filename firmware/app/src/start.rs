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

/// Says what starts where, and reads the identity from `partition`: the bytes of the identity partition, or why the
/// board could not read them. It returns only with a usable identity; otherwise it says for ever how to mend it.
pub async fn start(board: &str, free_heap: usize, partition: Result<Vec<u8>, &'static str>) -> Identity {
    info!("tbprov firmware {} on {board}", env!("CARGO_PKG_VERSION"));
    info!("free heap {free_heap} bytes");
    let partition = match partition {
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
