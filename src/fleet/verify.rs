//! Proves devices of a ledger again, by a connect each.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod servers;
mod source;

use self::servers::Servers;
use self::source::Source;
use crate::dial::Proxy;
use crate::error::{Error, ErrorCode, ErrorKind, Result, Step};
use crate::event::Progress;
use crate::flow::{self, ConnectPlan, Prover, Run};
use crate::identity::{Credentials, CredentialsType};
use crate::ledger::roster::{Listed, Roster};
use crate::ledger::{Entry, Which};

/// Logins at the same time, at the most. Where its address filter is on, ThingsBoard blocks an address after 10 refused
/// logins without a good one in between (`DefaultTransportRateLimitService`): so many less the throw-away one are never
/// open at once.
pub const MOST_JOBS: usize = 8;

/// Refused logins without a good one in between, at the most, those included that are still open.
const MOST_REFUSED: usize = 9;

/// After so many refused devices without a good one in between nothing more is tried.
const REFUSED_STOP: usize = 5;

/// After so many failures of the network without a good login in between nothing more is tried.
const LOST_STOP: usize = 3;

/// Pauses before another try, where the server has no room.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Which devices are proved again.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// All that are proved.
    All,
    /// These.
    Named(Vec<String>),
    /// A random part of those that are proved, between 0 and 1.
    Share(f64),
}

/// What is done.
#[derive(Debug, Clone)]
pub struct VerifyPlan {
    /// Which devices.
    pub wanted: Wanted,
    /// Logins at the same time: 1 to [`MOST_JOBS`].
    pub jobs: usize,
    /// How long each step may take.
    pub timeout: Duration,
    /// What connections go through.
    pub proxy: Option<Proxy>,
}

/// What became of one device.
#[derive(Debug)]
pub struct Checked {
    /// Its name.
    pub device: String,
    /// Why it is not proved; nothing where it is.
    pub failure: Option<Error>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Devices whose identity the server accepts.
    pub proved: u64,
    /// Devices that the server refuses, or that could not be tried.
    pub failed: u64,
    /// Why nothing more was tried.
    pub stopped: Option<Error>,
}

/// Proves devices again, several at once, each at its own server and with what it believes. Devices that are not proved
/// yet are left out, unless they are named. When `interrupt` is cancelled, what is open comes to its end.
///
/// # Errors
/// `store/not-found` for a name that is not there; `store/not-proved` for one without an identity; `ledger/…`.
pub async fn verify(
    roster: &Arc<dyn Roster>,
    plan: &VerifyPlan,
    interrupt: &CancellationToken,
    progress: &Progress,
    told: &mut (dyn FnMut(Checked) + Send),
) -> Result<Verified> {
    let mut check = Check {
        roster: Arc::clone(roster),
        servers: Servers::new(plan.timeout, plan.proxy.clone()),
        jobs: plan.jobs.clamp(1, MOST_JOBS),
        progress: progress.another().unheard(),
        running: JoinSet::new(),
        verified: Verified::default(),
        refused: 0,
        refused_devices: 0,
        lost: 0,
        told,
    };
    let mut source = Source::of(&**roster, &plan.wanted).await?;
    check.rows(&mut source, interrupt).await?;
    while check.ended().await? {}
    if interrupt.is_cancelled() {
        check.verified.stopped = Some(Error::interrupted());
    }
    Ok(check.verified)
}

struct Check<'a> {
    roster: Arc<dyn Roster>,
    servers: Servers,
    jobs: usize,
    progress: Progress,
    running: JoinSet<Checked>,
    verified: Verified,
    /// Refused logins since the last good one, the throw-away ones included.
    refused: usize,
    /// Refused devices since the last good login.
    refused_devices: usize,
    /// Failures of the network since the last good login.
    lost: usize,
    told: &'a mut (dyn FnMut(Checked) + Send),
}

impl Check<'_> {
    async fn rows(&mut self, source: &mut Source<'_>, interrupt: &CancellationToken) -> Result<()> {
        while let Some(rows) = source.page().await? {
            for row in rows {
                if self.verified.stopped.is_some() || interrupt.is_cancelled() {
                    return Ok(());
                }
                self.begin(row).await?;
            }
        }
        Ok(())
    }

    /// Begins with one device, once there is room.
    async fn begin(&mut self, row: Listed) -> Result<()> {
        let device = row.row.name.as_str().to_owned();
        let Some(entry) = row.entry else { return Ok(()) };
        let (credentials, prover) = match self.prepared(&entry).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.learn(Checked { device, failure: Some(error) });
                return Ok(());
            }
        };
        self.meet_stranger(&prover, credentials.credentials_type()).await?;
        while self.running.len() >= self.jobs || self.refused + self.running.len() >= MOST_REFUSED {
            if !self.ended().await? {
                break;
            }
        }
        // What has ended meanwhile may have been one too many.
        if self.verified.stopped.is_none() {
            let (roster, progress) = (Arc::clone(&self.roster), self.progress.another());
            self.running.spawn(async move {
                let failure = connect(&*roster, entry, credentials, &prover, &progress).await.err();
                Checked { device, failure }
            });
        }
        Ok(())
    }

    async fn prepared(&mut self, entry: &Entry) -> Result<(Credentials, Arc<Prover>)> {
        entry.check_presentable()?;
        let credentials = self.roster.key(entry, Which::Current).await?.open(&entry.place())?;
        if let Some(identity) = credentials.x509() {
            identity.leaf.check_dates(&entry.place())?;
        }
        let prover = self.servers.prover(&*self.roster, entry).await?;
        Ok((credentials, prover))
    }

    /// The first of each kind at each server: a server that lets everybody in proves nothing. It is refused, and
    /// counts, so nothing else is open meanwhile.
    async fn meet_stranger(&mut self, prover: &Arc<Prover>, kind: CredentialsType) -> Result<()> {
        if !self.servers.is_new(prover, kind) {
            return Ok(());
        }
        while self.ended().await? {}
        if self.verified.stopped.is_some() {
            return Ok(());
        }
        self.refused += 1;
        let progress = self.progress.another();
        if let Err(unproved) = prover.refuses_strangers(kind, &progress).await {
            self.verified.stopped = Some(unproved.error.stamped(progress.step()));
        }
        Ok(())
    }

    /// Waits until one has come to its end; false when none is open.
    async fn ended(&mut self) -> Result<bool> {
        let Some(ended) = self.running.join_next().await else { return Ok(false) };
        let checked = ended.map_err(|error| Error::new(ErrorCode::Bug, "a connect stopped").source(error))?;
        self.learn(checked);
        Ok(true)
    }

    fn learn(&mut self, checked: Checked) {
        match &checked.failure {
            None => {
                self.verified.proved += 1;
                (self.refused, self.refused_devices, self.lost) = (0, 0, 0);
            }
            Some(error) => {
                self.verified.failed += 1;
                self.learn_failure(error);
            }
        }
        (self.told)(checked);
    }

    fn learn_failure(&mut self, error: &Error) {
        if error.code.refuses_identity() {
            self.refused += 1;
            self.refused_devices += 1;
        } else if is_of_server(error.code) {
            self.lost += 1;
        }
        if self.verified.stopped.is_some() {
            return;
        }
        if self.refused_devices >= REFUSED_STOP {
            let message = format!(
                "{REFUSED_STOP} devices were refused without a good login in between: ThingsBoard would soon block this address ({})",
                error.message
            );
            self.verified.stopped = Some(Error::new(error.code, message).stamped(error.step()));
        } else if self.lost >= LOST_STOP {
            let message = format!("{LOST_STOP} connects failed one after the other: {}", error.message);
            self.verified.stopped = Some(Error::new(error.code, message).stamped(error.step()));
        }
    }
}

/// What would meet other devices too.
fn is_of_server(code: ErrorCode) -> bool {
    code.kind() == ErrorKind::Network
        || matches!(
            code,
            ErrorCode::ServerUnavailable
                | ErrorCode::ServerIdentifierRejected
                | ErrorCode::ServerRefused
                | ErrorCode::VerifyNotAsked
        )
}

async fn connect(
    roster: &dyn Roster,
    entry: Entry,
    credentials: Credentials,
    prover: &Prover,
    progress: &Progress,
) -> Result<()> {
    // What is open comes to its end.
    let never = CancellationToken::new();
    let run = Run { ledger: roster, prover, interrupt: &never, stop_telemetry: &never, progress };
    let plan = ConnectPlan { device: Some(entry), credentials, telemetry: None };
    let mut pauses = PAUSES.into_iter();
    loop {
        match flow::connect(&plan, run).await {
            Err(error) if error.code == ErrorCode::ServerUnavailable && error.step() == Step::Verify => {
                let Some(pause) = pauses.next() else { return Err(error) };
                tokio::time::sleep(pause).await;
            }
            reached => return reached.map(drop),
        }
    }
}
