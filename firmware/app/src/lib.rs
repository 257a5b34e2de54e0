//! The firmware's application, the same on every board: wait for the network, get the time, connect by mutual TLS,
//! speak MQTT 3.1.1, send readings at QoS 1, and connect again for ever.
//!
//! A board brings up its memory, its clock and its log, reads its identity partition and gives that to [`start`].
//! With the identity that it gets back it brings up its network and its random numbers, and gives them to `run`.
#![no_std]
// Without TLS, which is there for chips only, most parts are used by nothing but their tests.
#![cfg_attr(not(feature = "mbedtls"), allow(dead_code))]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "mbedtls")]
mod application;
mod backoff;
mod clock;
mod dial;
mod fault;
pub mod life;
mod logger;
mod mqtt;
mod network;
mod readings;
mod reconnect;
mod sntp;
mod start;
#[cfg(test)]
mod testing;
mod time_server;
mod tls;
pub mod trace;
pub mod wifi;

#[cfg(feature = "mbedtls")]
pub use application::run;
pub use logger::write_record;
pub use readings::{Readings, Samples};
pub use start::{start, unusable};
pub use tbprov_contract::Identity;

/// What a board gives the application.
pub struct Board<R> {
    /// Its network, whose address comes by DHCP. The application has up to three sockets in it at a time, beside
    /// DHCP's own: `StackResources::<5>` is enough.
    pub stack: embassy_net::Stack<'static>,
    /// The TLS library, which holds the board's cryptographic random number generator.
    #[cfg(feature = "mbedtls")]
    pub tls: mbedtls_rs::TlsReference<'static>,
    /// A random number, for the jitter of pauses; it need not be a secret.
    pub random: fn() -> u32,
    /// Free bytes of the heap.
    pub free_heap: fn() -> usize,
    /// Where readings come from.
    pub readings: R,
}
