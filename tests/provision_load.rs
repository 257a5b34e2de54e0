//! How many devices one process provisions at once, over the library. Ignored: figures, not checks. Run with
//! `cargo test --release --test provision_load -- --ignored --nocapture`
//! (`TMPDIR` says on which disk).

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tbprov::dial::Dialer;
use tbprov::event::Progress;
use tbprov::flow::{self, IdentityPlan, Outcome, Prover, ProvisionPlan, RegistrationPlan, Run};
use tbprov::ledger::folder::Folders;
use tbprov::server::Server;
use tbprov::tls::{Trust, TrustSource};
use tbprov::{DeviceName, Secret, sim};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Devices provisioned at once.
const AT_ONCE: usize = 64;
/// Devices in all.
const DEVICES: usize = 640;

fn plan(number: usize) -> ProvisionPlan {
    ProvisionPlan {
        device_name: DeviceName::parse(&format!("device {number}")).unwrap(),
        registration: RegistrationPlan::ByRequest {
            provision_key: "key".to_owned(),
            provision_secret: Secret::new("secret"),
            gateway: false,
        },
        identity: IdentityPlan::Generate { key_type: None, days: None },
        verify_connect: true,
        answer_timeout: flow::DEFAULT_ANSWER_TIMEOUT,
        telemetry: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn devices_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let config = sim::Config::new("key", Secret::new("secret"));
    let simulator = sim::Simulator::start(config, Arc::new(())).await.unwrap();
    let pin = vec![simulator.certificate().clone()];
    let trust = Arc::new(Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false));
    let server = Server { host: "localhost".parse().unwrap(), port: simulator.address().port(), trust };
    let prover = Arc::new(Prover::new(Arc::new(Dialer::new(server, Duration::from_secs(60)))));
    let ledger = Folders::new(folder.path().join("devices"));
    let (begin, gate) = (Instant::now(), Arc::new(tokio::sync::Semaphore::new(AT_ONCE)));
    let mut running = JoinSet::new();
    for number in 0..DEVICES {
        let (prover, ledger, gate) = (Arc::clone(&prover), ledger.clone(), Arc::clone(&gate));
        running.spawn(async move {
            let _permit = gate.acquire().await.unwrap();
            let (interrupt, progress) = (CancellationToken::new(), Progress::silent());
            let run = Run {
                ledger: &ledger,
                prover: &prover,
                interrupt: &interrupt,
                stop_telemetry: &interrupt,
                progress: &progress,
            };
            flow::provision(&plan(number), run).await.unwrap().outcome
        });
    }
    let outcomes = running.join_all().await;
    let seconds = begin.elapsed().as_secs_f64();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Provisioned));
    assert_eq!(simulator.devices().len(), DEVICES);
    println!("{DEVICES} devices, {AT_ONCE} at once: {:.0} a second", DEVICES as f64 / seconds);
}
