//! A key that takes its time to sign, such as one in a token, holds up nothing but its own handshake.

#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::event::Progress;
use tbprov::identity::{Issue, Profile, Validity, X509Identity, issue};
use tbprov::keys::{KeyType, Scheme, Signer, SoftwareKey};
use tbprov::server::Server;
use tbprov::sim::{Config, Simulator};
use tbprov::tls::{Trust, TrustSource};
use tbprov::{ErrorCode, Result, Secret};
use tokio::runtime::{Builder, Runtime};
use tokio::time::MissedTickBehavior;

/// How long one signature takes.
const SIGNATURE: Duration = Duration::from_millis(100);
/// How often the ticker wants to run.
const TICK: Duration = Duration::from_millis(5);
/// Handshakes at once.
const HANDSHAKES: usize = 16;

#[derive(Debug)]
struct Slow(SoftwareKey);

impl Signer for Slow {
    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    fn key_type(&self) -> KeyType {
        self.0.key_type()
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>> {
        std::thread::sleep(SIGNATURE);
        self.0.sign(scheme, message)
    }

    fn is_slow(&self) -> bool {
        true
    }
}

fn identity() -> X509Identity {
    let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
    let (profile, validity) = (Profile::Device, Validity::days(1));
    let issued =
        issue(&Issue { name: "slow", profile: &profile, validity, key: &key, issuer: None }).unwrap();
    X509Identity { leaf: issued.leaf, intermediates: issued.above, key: Arc::new(Slow(key)) }
}

/// A simulator with threads of its own.
fn serve() -> (Runtime, Dialer) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config::new("key", Secret::new("secret"));
    let simulator = runtime.block_on(Simulator::start(config, Arc::new(()))).unwrap();
    let (certificate, port) = (simulator.certificate().clone(), simulator.address().port());
    runtime.spawn(async move {
        let _served = simulator;
        std::future::pending::<()>().await;
    });
    let trust = Trust::from_certificates(vec![certificate], TrustSource::File("server.pem".into()), false);
    let server = Server { host: "localhost".parse().unwrap(), port, trust: Arc::new(trust) };
    (runtime, Dialer::new(server, Duration::from_secs(15)))
}

/// Ticks until it is dropped, and keeps how late the latest tick was.
async fn tick(worst: &std::cell::Cell<Duration>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.tick().await;
    let mut last = Instant::now();
    loop {
        interval.tick().await;
        worst.set(worst.get().max(last.elapsed().saturating_sub(TICK)));
        last = Instant::now();
    }
}

/// All handshakes at once: how long they took, and how late the ticker was meanwhile.
async fn shake_hands(dialer: Arc<Dialer>) -> (Duration, Duration) {
    let identity = identity();
    let worst = std::cell::Cell::default();
    let started = Instant::now();
    let all = async {
        let running: Vec<_> = (0..HANDSHAKES)
            .map(|_| {
                let (dialer, identity) = (Arc::clone(&dialer), identity.clone());
                tokio::spawn(async move { dialer.dial(Some(&identity), &Progress::silent()).await })
            })
            .collect();
        for handshake in running {
            assert!(handshake.await.unwrap().unwrap().certificate_presented());
        }
    };
    tokio::select! {
        () = all => {}
        () = tick(&worst) => {}
    }
    (started.elapsed(), worst.get())
}

fn measure(client: &Runtime) -> (Duration, Duration) {
    let (_server, dialer) = serve();
    let measured = client.block_on(shake_hands(Arc::new(dialer)));
    println!("{HANDSHAKES} handshakes: {:?}, the latest tick: {:?} late", measured.0, measured.1);
    measured
}

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

#[test]
fn sixteen_handshakes_at_once_hold_up_nobody() {
    for client in runtimes() {
        let (took, late) = measure(&client);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(late < Duration::from_millis(100), "{late:?}");
    }
}

#[test]
fn a_handshake_that_nobody_waits_for_ends() {
    for client in runtimes() {
        // A server that says nothing: without an end, the thread would wait for it for ever.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let trust = Trust::from_certificates(Vec::new(), TrustSource::File("server.pem".into()), false);
        let server = Server { host: "127.0.0.1".parse().unwrap(), port, trust: Arc::new(trust) };
        let dialer = Dialer::new(server, Duration::from_millis(50));
        let failed =
            client.block_on(dialer.dial(Some(&identity()), &Progress::silent())).expect_err("no answer");
        assert_eq!(failed.code, ErrorCode::NetworkTimeout);
        // Waits for every thread.
        drop(client);
    }
}

/// A token that was pulled out, or whose PIN is locked, fails when it has to sign.
#[derive(Debug)]
struct Broken(SoftwareKey);

impl Signer for Broken {
    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    fn key_type(&self) -> KeyType {
        self.0.key_type()
    }

    fn sign(&self, _: Scheme, _: &[u8]) -> Result<Vec<u8>> {
        Err(tbprov::Error::new(ErrorCode::FileIo, "the token is gone").hint(Hint::KeyElsewhere))
    }

    fn is_slow(&self) -> bool {
        true
    }
}

#[test]
fn what_keeps_a_key_from_signing_is_the_error() {
    let (_server, dialer) = serve();
    let key = Broken(SoftwareKey::generate(KeyType::EcP256).unwrap());
    let identity = X509Identity { key: Arc::new(key), ..identity() };
    for client in runtimes() {
        let failed = client
            .block_on(dialer.dial(Some(&identity), &Progress::silent()))
            .expect_err("nothing was signed");
        assert_eq!((failed.code, &failed.hint), (ErrorCode::FileIo, &Some(Hint::KeyElsewhere)));
        assert!(failed.message.ends_with("the token is gone"), "{}", failed.message);
    }
}

/// By hand: `cargo test --release --test slow_signer -- --ignored --nocapture`. The goal is 25 ms.
#[test]
#[ignore = "a measurement, for an idle machine"]
fn the_latest_tick() {
    for client in runtimes() {
        let latest = (0..10).map(|_| measure(&client).1).max().unwrap();
        println!("the latest tick of ten runs: {latest:?} late");
    }
}
