//! A rotation that ends in the middle, at every event and at every pause, for each way in which the server learns of the
//! new certificate. The rerun ends with one identity that works, which is the ledger's current one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tbprov::dial::Dialer;
use tbprov::event::{Observer, Progress};
use tbprov::flow::next::Switch;
use tbprov::flow::{
    self, IdentityPlan, Prover, ProvisionPlan, RegistrationPlan, RotateOutcome, RotatePlan, Rotated, Run,
};
use tbprov::identity::{Credentials, X509Identity};
use tbprov::ledger::{Entry, Ledger, Subject, Which, wait_for};
use tbprov::rest::{Account, Login};
use tbprov::server::Server;
use tbprov::sim::{Config, NamePattern, Simulator, Strategy};
use tbprov::tls::{Trust, TrustSource};
use tbprov::{DeviceName, Result, Secret, State};
use tokio_util::sync::CancellationToken;

use crate::crashes::{Counter, Ends, until};
use crate::place::{InFile, InFolder, InMemory, Place};
use crate::samples::*;

const KEY: &str = "provision-key";
const SECRET: &str = "provision-secret";

/// What is done with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Rotate,
    /// Back to the previous identity.
    RollBack,
}

/// A server, and a way to rotate devices there.
struct Case {
    switch: Switch,
    simulator: Simulator,
    authority: Option<X509Identity>,
}

impl Case {
    async fn new(switch: Switch) -> Self {
        let authority = (switch == Switch::AtConnect).then(authority);
        let mut config = Config::new(KEY, Secret::new(SECRET));
        config.rest = Some("127.0.0.1:0".parse().unwrap());
        if let Some(authority) = &authority {
            let (authority, name_pattern) = (authority.leaf.clone(), NamePattern::new("(.*)"));
            config.strategy = Strategy::Chain { authority, name_pattern, allow_create: true };
        }
        Self { switch, simulator: Simulator::start(config, Arc::new(())).await.unwrap(), authority }
    }

    fn server(&self, port: u16) -> Server {
        let pin = vec![self.simulator.certificate().clone()];
        let trust = Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false);
        Server { host: "localhost".parse().unwrap(), port, trust: Arc::new(trust) }
    }

    fn prover(&self) -> Prover {
        let server = self.server(self.simulator.address().port());
        Prover::new(Arc::new(Dialer::new(server, Duration::from_secs(60))))
    }

    fn account(&self) -> Account {
        let port = self.simulator.rest_address().unwrap().port();
        let login = Login::User {
            name: self.simulator.api_user().unwrap().to_owned(),
            password: self.simulator.api_password().unwrap().clone(),
        };
        let url = format!("https://localhost:{port}").parse().unwrap();
        Account::new(Dialer::new(self.server(port), Duration::from_secs(60)), url, login)
    }

    async fn provision(&self, name: &str, ledger: &dyn Ledger) -> Entry {
        let registration = match &self.authority {
            Some(issuer) => {
                RegistrationPlan::AtConnect { issuer: Arc::new(issuer.clone()), common_name: name.to_owned() }
            }
            None => RegistrationPlan::ByRequest {
                provision_key: KEY.to_owned(),
                provision_secret: Secret::new(SECRET),
                gateway: false,
            },
        };
        let plan = ProvisionPlan {
            device_name: DeviceName::parse(name).unwrap(),
            registration,
            identity: IdentityPlan::Generate { key_type: None, days: None },
            verify_connect: true,
            answer_timeout: flow::DEFAULT_ANSWER_TIMEOUT,
            telemetry: None,
        };
        let (prover, interrupt, progress) = (self.prover(), CancellationToken::new(), Progress::silent());
        flow::provision(&plan, run(ledger, &prover, &interrupt, &progress)).await.unwrap().entry
    }

    /// One process's run: nothing is shared with the others but the place and the server.
    async fn work(
        &self,
        work: Work,
        name: &str,
        ledger: &dyn Ledger,
        observer: Arc<dyn Observer>,
    ) -> Result<Rotated> {
        let plan = RotatePlan {
            issuer: self.authority.clone(),
            account: (self.switch == Switch::Account).then(|| self.account()),
            ..RotatePlan::default()
        };
        let (prover, interrupt, progress) =
            (self.prover(), CancellationToken::new(), Progress::new(observer));
        let run = run(ledger, &prover, &interrupt, &progress);
        let entry = ledger.open(name).await?;
        match work {
            Work::Rotate => flow::rotate(&plan, &entry, run).await,
            Work::RollBack => flow::roll_back(&plan, &entry, run).await,
        }
    }

    /// Somebody gives the server the candidate's certificate, where it has been shown.
    async fn paste(&self, entry: &Entry, ledger: &dyn Ledger) {
        if self.switch != Switch::ByHand || !entry.record.rotates() {
            return;
        }
        let kept = ledger.key(entry, Which::Candidate).await.unwrap();
        let Credentials::X509(identity) = kept.open("the candidate").unwrap() else {
            panic!("no certificate")
        };
        let (account, progress) = (self.account(), Progress::silent());
        let device = account.device(entry.shown_name(), &progress).await.unwrap().unwrap();
        let held = account.credentials(&device, &progress).await.unwrap();
        account.set_certificate(&held, &identity.leaf, &progress).await.unwrap();
    }
}

fn run<'a>(
    ledger: &'a dyn Ledger,
    prover: &'a Prover,
    interrupt: &'a CancellationToken,
    progress: &'a Progress,
) -> Run<'a> {
    Run { ledger, prover, interrupt, stop_telemetry: interrupt, progress }
}

/// What is left in the ledger, once nothing goes on in it any more.
async fn left(name: &str, ledger: &dyn Ledger) -> Entry {
    let _lease = wait_for(ledger, Subject::Named(name), &Progress::silent()).await.unwrap();
    ledger.open(name).await.unwrap()
}

/// Ends runs ever later, until one comes to its end. Tells how many were ended.
async fn crash_everywhere<P: Place>(case: &Case, work: Work, ends: Ends, new: impl Fn() -> P) -> usize {
    for count in 1.. {
        let (place, name) = (new(), format!("sensor {}", case.simulator.devices().len()));
        let ledger = place.open();
        let first = case.provision(&name, &*ledger).await;
        if work == Work::RollBack {
            finish(case, Work::Rotate, &place, &name, "before").await;
        }
        let counter = Arc::new(Counter::default());
        let mut pauses = 0;
        let ended = until(case.work(work, &name, &*ledger, counter.clone()), || {
            pauses += 1;
            match ends {
                Ends::AtEvents => counter.0.load(Ordering::SeqCst) >= count,
                Ends::AtPauses => pauses >= count,
            }
        })
        .await;
        drop(ledger);
        let what = format!("{:?} {work:?} {ends:?} {count}", case.switch);
        let is_whole = ended.is_some();
        if let Some(ended) = ended {
            ended.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let done = finish(case, work, &place, &name, &what).await;
        // A way back that had ended may be followed by a second one, forth.
        let is_own = done.record.identity.credentials_id == first.record.identity.credentials_id;
        assert!(work == Work::RollBack || !is_own, "{what}: it was not rotated");
        if is_whole && (ends == Ends::AtPauses || counter.0.load(Ordering::SeqCst) < count) {
            return count - 1;
        }
    }
    unreachable!("a run ends")
}

/// Runs to the end, and checks that one identity works, and that it is the ledger's.
async fn finish(case: &Case, work: Work, place: &impl Place, name: &str, what: &str) -> Entry {
    let ledger = place.open();
    let entry = left(name, &*ledger).await;
    let before = format!("{:?}", entry.record.candidate.as_ref().map(|candidate| candidate.identity.state));
    case.paste(&entry, &*ledger).await;
    let mut done = case.work(work, name, &*ledger, Arc::new(())).await;
    if done.as_ref().is_ok_and(|done| done.outcome == RotateOutcome::Waiting) {
        case.paste(&left(name, &*ledger).await, &*ledger).await;
        done = case.work(work, name, &*ledger, Arc::new(())).await;
    }
    let done = done.unwrap_or_else(|error| panic!("{what}, left {before}: {error}"));
    let found = left(name, &*ledger).await;
    assert_eq!(found.record, done.entry.record, "{what}");
    assert_eq!(
        (found.record.state(), found.record.candidate.is_none()),
        (State::Proved, true),
        "{what}, left {before}"
    );
    let id = held(&*ledger, &found, Which::Current).await;
    let devices = case.simulator.devices();
    let device = devices.iter().find(|device| device.name == name).unwrap();
    assert_eq!(
        device.credentials_id.as_ref(),
        Some(&id),
        "{what}, left {before}: the server has another one"
    );
    let credentials = ledger.key(&found, Which::Current).await.unwrap().open(name).unwrap();
    let proved = case.prover().connect(&credentials, true, &Progress::silent()).await;
    assert!(proved.is_ok(), "{what}, left {before}: {proved:?}");
    found
}

async fn crash(switch: Switch, work: Work) {
    let case = Case::new(switch).await;
    let at_events = crash_everywhere(&case, work, Ends::AtEvents, InFolder::new).await;
    // Shown, staged, sent, proved, promoted, and those of each connection.
    let least = if switch == Switch::ByHand { 5 } else { 9 };
    assert!(at_events >= least, "{switch:?} {work:?}: {at_events} moments");
    if work == Work::RollBack {
        return;
    }
    let in_memory = crash_everywhere(&case, work, Ends::AtEvents, InMemory::default).await;
    let in_file = crash_everywhere(&case, work, Ends::AtEvents, InFile::new).await;
    let at_pauses = crash_everywhere(&case, work, Ends::AtPauses, InFolder::new).await;
    let file_pauses = crash_everywhere(&case, work, Ends::AtPauses, InFile::new).await;
    println!(
        "{switch:?}: {at_events} events, {in_memory} in memory, {in_file} in a file; {at_pauses} and {file_pauses} pauses"
    );
    // How often a run pauses is the machine's matter.
    assert!(in_memory >= least && in_file >= least, "{switch:?}: {in_memory} {in_file} moments");
    assert!(at_pauses >= 4 && file_pauses >= 4, "{switch:?}: {at_pauses} {file_pauses} pauses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_by_the_connect_survives_a_crash_at_any_moment() {
    crash(Switch::AtConnect, Work::Rotate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_by_an_account_survives_a_crash_at_any_moment() {
    crash(Switch::Account, Work::Rotate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_by_hand_survives_a_crash_at_any_moment() {
    crash(Switch::ByHand, Work::Rotate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_by_the_connect_survives_a_crash_at_any_event() {
    crash(Switch::AtConnect, Work::RollBack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_by_an_account_survives_a_crash_at_any_event() {
    crash(Switch::Account, Work::RollBack).await;
}
