//! Requests that share connections: one after the other on each, and what ends one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tbprov::dial::Dialer;
use tbprov::event::{self, Progress};
use tbprov::flow::{self, IdentityPlan, Outcome, Prover, ProvisionPlan, Provisioned, RegistrationPlan, Run};
use tbprov::ledger::{Ledger as _, Which};
use tbprov::server::Server;
use tbprov::sim::{self, Config, Fault, HeldCredentials, PreProvisioned, Simulator};
use tbprov::tls::{Trust, TrustSource};
use tbprov::{DeviceId, DeviceName, Result, Secret, State};
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;

/// Longer than a busy machine takes for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the simulator tells, as JSON.
#[derive(Default)]
struct Heard(Mutex<Vec<serde_json::Value>>);

impl sim::Observer for Heard {
    fn event(&self, event: &sim::Event) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
}

/// Sleeps when a device is recorded as `sent`: a slow disk.
struct SlowRecord(Duration);

impl event::Observer for SlowRecord {
    fn event(&self, _: Option<&DeviceId>, event: &event::Event) {
        if matches!(event, event::Event::StateReached { state: State::Sent, .. }) {
            std::thread::sleep(self.0);
        }
    }
}

struct Case {
    simulator: Simulator,
    heard: Arc<Heard>,
    ledger: Memory,
    prover: Prover,
}

impl Case {
    async fn new(make: fn(Arc<Dialer>) -> Prover, change: impl FnOnce(&mut Config)) -> Self {
        let heard = Arc::new(Heard::default());
        let mut config = Config::new("key", Secret::new("secret"));
        change(&mut config);
        let simulator = Simulator::start(config, heard.clone()).await.unwrap();
        let pin = vec![simulator.certificate().clone()];
        let trust = Arc::new(Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false));
        let server = Server { host: "localhost".parse().unwrap(), port: simulator.address().port(), trust };
        let prover = make(Arc::new(Dialer::new(server, PATIENCE)));
        Self { simulator, heard, ledger: Memory::default(), prover }
    }

    async fn of_many(change: impl FnOnce(&mut Config)) -> Self {
        Self::new(Prover::of_many, change).await
    }

    async fn provision(&self, name: &str) -> Result<Provisioned> {
        let identity = IdentityPlan::Generate { key_type: None, days: None };
        self.provision_as(name, identity, &Progress::silent()).await
    }

    async fn provision_as(
        &self,
        name: &str,
        identity: IdentityPlan,
        progress: &Progress,
    ) -> Result<Provisioned> {
        let plan = ProvisionPlan {
            device_name: DeviceName::parse(name).unwrap(),
            registration: RegistrationPlan::ByRequest {
                provision_key: "key".to_owned(),
                provision_secret: Secret::new("secret"),
                gateway: false,
            },
            identity,
            verify_connect: true,
            answer_timeout: PATIENCE,
            telemetry: None,
        };
        let interrupt = CancellationToken::new();
        let run = Run {
            ledger: &self.ledger,
            prover: &self.prover,
            interrupt: &interrupt,
            stop_telemetry: &interrupt,
            progress,
        };
        flow::provision(&plan, run).await
    }

    async fn provisioned(&self, name: &str) {
        assert_eq!(self.provision(name).await.unwrap().outcome, Outcome::Provisioned, "{name}");
    }

    /// The provisioning connections, in order: each with the events that are about it.
    fn connections(&self) -> Vec<Vec<serde_json::Value>> {
        let all = self.heard.0.lock().unwrap().clone();
        let opened = all.iter().filter(|event| event["mode"] == "provision");
        opened
            .map(|opened| {
                all.iter().filter(|event| event["connection"] == opened["connection"]).cloned().collect()
            })
            .collect()
    }

    /// Waits until each provisioning connection was closed by a DISCONNECT.
    async fn until_disconnected(&self) {
        let deadline = Instant::now() + PATIENCE;
        let is_closed = |events: &Vec<serde_json::Value>| {
            events.iter().any(|event| event["reason"] == "disconnected by the client")
        };
        while !self.connections().iter().all(is_closed) {
            assert!(Instant::now() < deadline, "{:?}", self.connections());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Fails unless the server holds for each device what the ledger has.
    async fn assert_agree(&self) {
        let at_server = self.simulator.devices();
        for (_, entry) in self.ledger.list().await.unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.record.state(), State::Proved);
            let name = entry.record.device.clone().unwrap();
            let held = at_server.iter().find(|device| device.name == name).unwrap();
            let kept = self.ledger.key(&entry, Which::Current).await.unwrap().open(&name).unwrap();
            let own = kept.x509().map(|identity| HeldCredentials::certificate(&identity.leaf));
            assert!(own.is_none_or(|own| own.public_id() == held.credentials_id), "{name}");
        }
    }
}

#[tokio::test]
async fn requests_share_a_connection_which_ends_with_a_disconnect() {
    let case = Case::of_many(|_| ()).await;
    for name in ["a", "b", "c", "d"] {
        case.provisioned(name).await;
    }
    assert_eq!(case.connections().len(), 1);
    case.prover.close().await;
    case.until_disconnected().await;
    case.assert_agree().await;
    case.provisioned("e").await;
    assert_eq!(case.connections().len(), 2);
}

#[tokio::test]
async fn a_run_of_one_device_has_a_connection_of_its_own() {
    let case = Case::new(Prover::new, |_| ()).await;
    case.provisioned("a").await;
    case.until_disconnected().await;
    case.provisioned("b").await;
    case.until_disconnected().await;
    assert_eq!(case.connections().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_one_request_at_a_time() {
    let case =
        Arc::new(Case::of_many(|config| config.faults.push(Fault::Delay(Duration::from_millis(5)))).await);
    let mut running = tokio::task::JoinSet::new();
    for first in 0..8 {
        let case = Arc::clone(&case);
        running.spawn(async move {
            for number in 0..8 {
                case.provisioned(&format!("device {first} {number}")).await;
            }
        });
    }
    running.join_all().await;
    let connections = case.connections();
    assert!((1..=8).contains(&connections.len()), "{}", connections.len());
    for events in connections {
        let mut names = events.iter().filter_map(|event| event["event"].as_str());
        let asked = ["provision-request", "provision-answer"];
        let talk: Vec<_> = names.by_ref().filter(|name| asked.contains(name)).collect();
        assert!(talk.chunks(2).all(|pair| pair == asked), "{talk:?}");
    }
    case.assert_agree().await;
}

/// The answer to one request comes again, and would be taken for that to the next.
#[tokio::test]
async fn an_answer_that_is_repeated_is_no_other_devices() {
    for token in [false, true] {
        let case = Case::of_many(|config| config.faults.push(Fault::RepeatAnswer)).await;
        let mut tokens = Vec::new();
        for number in 0..6 {
            let name = format!("device {number}");
            let identity = match token {
                true => IdentityPlan::AccessToken,
                false => IdentityPlan::Generate { key_type: None, days: None },
            };
            let provisioned = case.provision_as(&name, identity, &Progress::silent()).await.unwrap();
            assert_eq!(provisioned.outcome, Outcome::Provisioned, "{name}");
            assert!(
                provisioned.entry.record.candidate.is_none() && provisioned.entry.record.previous.is_none()
            );
            let kept = case.ledger.key(&provisioned.entry, Which::Current).await.unwrap();
            if let tbprov::ledger::Kept::AccessToken(token) = kept {
                assert!(!tokens.contains(&token), "{name} has another device's token");
                tokens.push(token);
            }
        }
        // Each is given up after the first repetition.
        assert_eq!(case.connections().len(), 3);
        case.assert_agree().await;
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let case = Case::of_many(|config| config.provisioning_lifetime = Duration::from_millis(100)).await;
    case.provisioned("a").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    case.provisioned("b").await;
    assert_eq!(case.connections().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_closed_while_the_record_is_written_is_replaced() {
    let case = Case::of_many(|config| config.provisioning_lifetime = Duration::from_millis(500)).await;
    case.provisioned("a").await;
    let progress = Progress::new(Arc::new(SlowRecord(Duration::from_millis(700))));
    let identity = IdentityPlan::Generate { key_type: None, days: None };
    let provisioned = case.provision_as("b", identity, &progress).await.unwrap();
    // Not as after a lost answer.
    assert_eq!(provisioned.outcome, Outcome::Provisioned);
    let connections = case.connections();
    assert_eq!(connections.len(), 2);
    let asked = |events: &[serde_json::Value]| {
        events.iter().filter(|event| event["event"] == "provision-request").count()
    };
    assert_eq!((asked(&connections[0]), asked(&connections[1])), (1, 1));
}

#[tokio::test]
async fn a_connection_ends_with_an_answer_that_is_no_success() {
    let case = Case::of_many(|config| config.pre_provisioned = vec![PreProvisioned::new("taken")]).await;
    case.provisioned("a").await;
    let error = case.provision("taken").await.unwrap_err();
    assert_eq!(error.code, tbprov::ErrorCode::ServerFailure);
    case.until_disconnected().await;
    case.provisioned("b").await;
    assert_eq!(case.connections().len(), 2);
}

#[tokio::test]
async fn a_connection_that_nobody_needs_is_closed_soon() {
    let case = Case::of_many(|_| ()).await;
    case.provisioned("a").await;
    let since = Instant::now();
    case.until_disconnected().await;
    assert!(since.elapsed() < Duration::from_secs(10));
}
