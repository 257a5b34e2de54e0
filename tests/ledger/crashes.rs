//! A provisioning that ends in the middle, at every event and at every pause: its future is dropped there. The rerun
//! ends with one device on the server, and with the identity that was staged.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tbprov::dial::Dialer;
use tbprov::event::{Event, Observer, Progress};
use tbprov::flow::{self, IdentityPlan, Outcome, Prover, ProvisionPlan, Provisioned, RegistrationPlan, Run};
use tbprov::identity::X509Identity;
use tbprov::ledger::{Entry, Ledger, Subject, Which, wait_for};
use tbprov::server::Server;
use tbprov::sim::{Config, Fault, NamePattern, Simulator, Strategy};
use tbprov::tls::{Trust, TrustSource};
use tbprov::{DeviceId, DeviceName, Result, Secret, State};
use tokio_util::sync::CancellationToken;

use crate::place::{InFile, InFolder, InMemory, Place};
use crate::samples::*;

const KEY: &str = "provision-key";
const SECRET: &str = "provision-secret";

/// Where runs end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// At the first pause after an event.
    AtEvents,
    /// At every pause, such as one for the disk or the network.
    AtPauses,
}

/// What is provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Named,
    Unnamed,
    AtConnect,
}

/// A server, and a way to provision devices there.
struct Case {
    what: What,
    loses_answers: bool,
    simulator: Simulator,
    authority: Option<X509Identity>,
}

impl Case {
    async fn new(what: What, loses_answers: bool) -> Self {
        let authority = (what == What::AtConnect).then(authority);
        let mut config = Config::new(KEY, Secret::new(SECRET));
        if loses_answers {
            config.faults.push(Fault::AcceptThenClose);
        }
        if let Some(authority) = &authority {
            config.strategy = Strategy::Chain {
                authority: authority.leaf.clone(),
                name_pattern: NamePattern::new("(.*)"),
                allow_create: true,
            };
        }
        let simulator = Simulator::start(config, Arc::new(())).await.unwrap();
        Self { what, loses_answers, simulator, authority }
    }

    fn server(&self) -> Server {
        let pin = vec![self.simulator.certificate().clone()];
        let trust = Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false);
        let port = self.simulator.address().port();
        Server { host: "localhost".parse().unwrap(), port, trust: Arc::new(trust) }
    }

    fn plan(&self, name: &str) -> ProvisionPlan {
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
        ProvisionPlan {
            device_name: match self.what {
                What::Unnamed => None,
                _ => DeviceName::parse(name).unwrap(),
            },
            registration,
            identity: IdentityPlan::Generate { key_type: None, days: None },
            verify_connect: true,
            answer_timeout: flow::DEFAULT_ANSWER_TIMEOUT,
            telemetry: None,
        }
    }

    /// One process's run: nothing is shared with the others but the place and the server.
    async fn run(&self, name: &str, ledger: &dyn Ledger, observer: Arc<dyn Observer>) -> Result<Provisioned> {
        let prover = Prover::new(Arc::new(Dialer::new(self.server(), Duration::from_secs(60))));
        let (interrupt, progress) = (CancellationToken::new(), Progress::new(observer));
        let run = Run {
            ledger,
            prover: &prover,
            interrupt: &interrupt,
            stop_telemetry: &interrupt,
            progress: &progress,
        };
        flow::provision(&self.plan(name), run).await
    }

    /// What is left in the ledger, once nothing goes on in it any more.
    async fn left(&self, name: &str, ledger: &dyn Ledger) -> Option<Entry> {
        let slot = slot(&self.server(), KEY);
        let subject = match self.what {
            What::Unnamed => Subject::Unnamed(&slot),
            _ => Subject::Named(name),
        };
        let _lease = wait_for(ledger, subject, &Progress::silent()).await.unwrap();
        let mut list = ledger.list().await.unwrap();
        assert!(list.len() < 2, "{list:?}");
        list.pop().map(|(_, entry)| entry.unwrap())
    }

    /// The outcomes that a rerun may have.
    fn outcomes(&self, left: Option<State>) -> &'static [Outcome] {
        use Outcome::{Provisioned, Recovered, Verified};
        match left {
            // An unnamed device that is done is found no more: the next run is about the next one.
            Some(State::Proved) if self.what == What::Unnamed => &[Provisioned, Recovered],
            Some(State::Proved) => &[Verified],
            _ if self.loses_answers => &[Recovered],
            None | Some(State::Staged) => &[Provisioned],
            Some(State::Accepted) => &[Recovered],
            // The connect that finds out is the one that registers.
            Some(State::Sent) if self.what == What::AtConnect => &[Recovered],
            // The request may be on its way.
            Some(State::Sent) => &[Provisioned, Recovered],
        }
    }
}

/// Counts events.
#[derive(Default)]
pub struct Counter(pub AtomicUsize);

impl Observer for Counter {
    fn event(&self, _: Option<&DeviceId>, _: &Event) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls `work` until it ends, or drops it at the first pause of which `is_over` says so.
pub async fn until<T>(work: impl Future<Output = T>, mut is_over: impl FnMut() -> bool) -> Option<T> {
    let mut work = Box::pin(work);
    poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if is_over() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Ends runs ever later, until one comes to its end. Tells how many were ended.
async fn crash_everywhere<P: Place>(case: &Case, ends: Ends, new: impl Fn() -> P) -> usize {
    for count in 1.. {
        let before = case.simulator.devices().len();
        let (place, name) = (new(), format!("sensor {before}"));
        let (ledger, counter) = (place.open(), Arc::new(Counter::default()));
        let mut pauses = 0;
        let ended = until(case.run(&name, &*ledger, counter.clone()), || {
            pauses += 1;
            match ends {
                Ends::AtEvents => counter.0.load(Ordering::SeqCst) >= count,
                Ends::AtPauses => pauses >= count,
            }
        })
        .await;
        drop(ledger);
        let what = format!("{:?} {ends:?} {count}", case.what);
        if let Some(ended) = ended {
            ended.unwrap_or_else(|error| panic!("{what}: {error}"));
            if ends == Ends::AtPauses || counter.0.load(Ordering::SeqCst) < count {
                return count - 1;
            }
        }
        finish(case, &place, &name, before, &what).await;
    }
    unreachable!("a run ends")
}

/// Runs to the end, and checks that nothing was lost and nothing is left over.
async fn finish(case: &Case, place: &impl Place, name: &str, before: usize, what: &str) {
    let ledger = place.open();
    let left = case.left(name, &*ledger).await;
    let state = left.as_ref().map(|left| left.record.state());
    let is_next = case.what == What::Unnamed && state == Some(State::Proved);
    let done = case.run(name, &*ledger, Arc::new(())).await;
    let done = done.unwrap_or_else(|error| panic!("{what}, left {state:?}: {error}"));
    assert!(case.outcomes(state).contains(&done.outcome), "{what}: {:?} after {state:?}", done.outcome);
    if !is_next && let Some(left) = &left {
        assert_eq!(left.id, done.entry.id, "{what}");
        let (left, done) = (&left.record.identity, &done.entry.record.identity);
        assert_eq!(left.credentials_id, done.credentials_id, "{what}: the identity was replaced");
    }
    let listed = place.open().list().await.unwrap();
    assert_eq!(listed.len(), 1 + usize::from(is_next), "{what}");
    let devices = case.simulator.devices();
    assert_eq!(devices.len(), before + listed.len(), "{what}: devices on the server");
    for (_, entry) in listed {
        let entry = entry.unwrap();
        assert_eq!(entry.record.state(), State::Proved, "{what}");
        let id = held(&*ledger, &entry, Which::Current).await;
        let same: Vec<_> =
            devices.iter().filter(|device| device.credentials_id.as_ref() == Some(&id)).collect();
        assert_eq!(same.len(), 1, "{what}: the server does not have the identity that is kept");
        assert!(case.what == What::Unnamed || same[0].name == name, "{what}: {}", same[0].name);
    }
    place.assert_tidy();
}

async fn crash(what: What, loses_answers: bool) {
    let case = Case::new(what, loses_answers).await;
    for ends in [Ends::AtEvents, Ends::AtPauses] {
        let folders = crash_everywhere(&case, ends, InFolder::new).await;
        let memory = crash_everywhere(&case, ends, InMemory::default).await;
        let file = crash_everywhere(&case, ends, InFile::new).await;
        println!("{what:?} {ends:?}: {folders} moments in folders, {memory} in memory, {file} in a file");
        // Saved, staged, sent, proved, and those of each connection. How often a run pauses is the machine's matter.
        let least = if ends == Ends::AtEvents { 12 } else { 4 };
        assert!(folders >= least && memory >= least && file >= least, "{what:?} {ends:?}: too few moments");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_device_survives_a_crash_at_any_moment() {
    crash(What::Named, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unnamed_device_survives_a_crash_at_any_moment() {
    crash(What::Unnamed, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_registers_at_connect_survives_a_crash_at_any_moment() {
    crash(What::AtConnect, false).await;
}

/// The server has the device, and its answer never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_device_survives_a_crash_around_a_lost_answer() {
    crash(What::Named, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unnamed_device_survives_a_crash_around_a_lost_answer() {
    crash(What::Unnamed, true).await;
}
