//! How many devices one process provisions at once, over the library, at a simulator in a process of its own. Ignored:
//! figures, not checks. Run with
//! `cargo test --release --test provision_load -- --ignored --nocapture --test-threads 1`
//! (`TMPDIR` says on which disk the folders are).

#![cfg(unix)]
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "ledger/memory.rs"]
mod memory;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memory::Memory;
use tbprov::dial::Dialer;
use tbprov::event::Progress;
use tbprov::flow::{self, IdentityPlan, Outcome, Prover, ProvisionPlan, RegistrationPlan, Run};
use tbprov::ledger::Ledger;
use tbprov::ledger::folder::Folders;
use tbprov::server::Server;
use tbprov::tls::Trust;
use tbprov::{DeviceName, Secret};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Devices provisioned at once.
const AT_ONCE: usize = 64;
/// Devices in all.
const DEVICES: usize = 1_000;

/// `tbprov sim`, which ends when it is dropped.
struct Simulator {
    process: Child,
    ready: serde_json::Value,
    _folder: TempDir,
}

impl Simulator {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ready.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tbprov"));
        command.args(["--quiet", "sim", "--port", "0", "--provision-key", "key"]);
        command.arg("--dir").arg(folder.path()).arg("--ready-file").arg(&file);
        command.env("TBPROV_SIM_PROVISION_SECRET", "secret").stdout(Stdio::null());
        let process = command.spawn().unwrap();
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let ready = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        Self { process, ready, _folder: folder }
    }

    fn server(&self) -> Server {
        let certificate = Path::new(self.ready["server_cert"].as_str().unwrap());
        let trust = Arc::new(Trust::from_file(certificate, false).unwrap());
        let port = self.ready["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        Server { host: "localhost".parse().unwrap(), port, trust }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Milliseconds that a process was on the CPU, where Linux tells them: a hundredth of a second each in its `stat`.
fn on_cpu(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let times = behind_name.split_whitespace().skip(11).take(2);
    times.filter_map(|time| time.parse::<u64>().ok()).sum::<u64>() * 10
}

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

/// Devices go to the ledgers in turn.
async fn provision_all(ledgers: &[Arc<dyn Ledger>], prover: Arc<Prover>) {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for number in 0..DEVICES {
        let ledger = Arc::clone(&ledgers[number % ledgers.len()]);
        let (prover, gate) = (Arc::clone(&prover), Arc::clone(&gate));
        running.spawn(async move {
            let _permit = gate.acquire().await.unwrap();
            let (interrupt, progress) = (CancellationToken::new(), Progress::silent());
            let run = Run {
                ledger: &*ledger,
                prover: &prover,
                interrupt: &interrupt,
                stop_telemetry: &interrupt,
                progress: &progress,
            };
            flow::provision(&plan(number), run).await.unwrap().outcome
        });
    }
    let outcomes = running.join_all().await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Provisioned));
}

async fn measure(what: &str, ledgers: &[Arc<dyn Ledger>]) {
    let simulator = Simulator::start();
    let prover =
        Arc::new(Prover::of_many(Arc::new(Dialer::new(simulator.server(), Duration::from_secs(60)))));
    let processes = [std::process::id(), simulator.process.id()];
    let (begin, before) = (Instant::now(), processes.map(on_cpu));
    provision_all(ledgers, Arc::clone(&prover)).await;
    prover.close().await;
    let (seconds, after) = (begin.elapsed().as_secs_f64(), processes.map(on_cpu));
    let [client, server] = [0, 1].map(|index| (after[index] - before[index]) as f64 / DEVICES as f64);
    println!(
        "{DEVICES} devices, {AT_ONCE} at once, {what}: {:.0} a second; on the CPU for {client:.2} ms a device, and \
         the simulator for {server:.2} ms",
        DEVICES as f64 / seconds
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn in_memory() {
    // It looks at all of its devices for each, so that each has few.
    let ledgers: Vec<Arc<dyn Ledger>> = (0..AT_ONCE).map(|_| Arc::new(Memory::default()) as _).collect();
    measure("in memory", &ledgers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn in_folders() {
    let folder = tempfile::tempdir().unwrap();
    measure("in folders", &[Arc::new(Folders::new(folder.path().join("devices")))]).await;
}
