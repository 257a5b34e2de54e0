//! One device after the other.

use std::process::ExitCode;
use std::sync::Arc;

use super::super::context::Context;
use super::result::{RotateResult, Row};
use super::selection::{Chosen, Selected};
use super::{RotateArgs, Work};
use tbprov::error::{EXIT_PARTLY, ErrorKind, Hint};
use tbprov::flow::{self, Prover, RotatePlan, Rotated};
use tbprov::ledger::Entry;
use tbprov::server::{Host, Server};
use tbprov::{Error, ErrorCode, Result, Step};

pub(super) struct Batch<'a> {
    args: &'a RotateArgs,
    context: &'a Context,
    plan: &'a RotatePlan,
    /// One for each server: it finds out once whether the server refuses strangers.
    provers: Vec<Arc<Prover>>,
}

impl<'a> Batch<'a> {
    pub(super) const fn new(args: &'a RotateArgs, context: &'a Context, plan: &'a RotatePlan) -> Self {
        Self { args, context, plan, provers: Vec::new() }
    }

    /// Says what would be done.
    pub(super) fn show(&self, selected: Selected, names_account: bool) -> ExitCode {
        let rows = selected.rows.into_iter().map(|chosen| match chosen {
            Chosen::Device(device) => {
                let planned = Row::planned(self.plan, names_account, &device);
                let failed = |error| Row::failed(device.shown_name().to_owned(), Some(&device), &error);
                planned.unwrap_or_else(failed)
            }
            Chosen::Not(row) => row,
        });
        let rows: Vec<_> = rows.collect();
        let is_whole = rows.iter().all(Row::is_fine);
        self.context.output.result("rotate", &RotateResult::new(rows, selected.not_needed, true));
        if is_whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_PARTLY) }
    }

    /// Each device fails for itself, and the others go on, unless the cause is theirs too.
    pub(super) async fn run(&mut self, selected: Selected) -> ExitCode {
        let mut stops = Stops::new(&selected);
        let mut rows = Vec::new();
        for chosen in selected.rows {
            rows.push(match chosen {
                Chosen::Not(row) => row,
                Chosen::Device(device) => match stops.reason(&device) {
                    Some(reason) => Row::skipped(&device, reason),
                    None => self.row(&device, &mut stops).await,
                },
            });
        }
        let is_whole = rows.iter().all(Row::is_fine);
        self.context.output.result("rotate", &RotateResult::new(rows, selected.not_needed, false));
        match stops.run {
            Some(code) => ExitCode::from(code),
            None if is_whole => ExitCode::SUCCESS,
            None => ExitCode::from(EXIT_PARTLY),
        }
    }

    async fn row(&mut self, device: &Entry, stops: &mut Stops) -> Row {
        match self.work(Work::Rotate, device).await {
            Ok(done) => Row::done(self.plan, device, &done),
            Err(error) => {
                stops.learn(&error, device);
                Row::failed(device.shown_name().to_owned(), Some(device), &error)
            }
        }
    }

    pub(super) async fn work(&mut self, work: Work, device: &Entry) -> Result<Rotated> {
        let prover = self.prover(device).await?;
        let run = self.context.run(&prover);
        match work {
            Work::Rotate => flow::rotate(self.plan, device, run).await,
            Work::RollBack => flow::roll_back(self.plan, device, run).await,
            Work::Discard => flow::discard(self.plan, device, run).await,
        }
    }

    async fn prover(&mut self, device: &Entry) -> Result<Arc<Prover>> {
        let dialer = self.args.trust.dialer_for(self.context, device, None, None).await?;
        if let Some(known) = self.provers.iter().find(|known| is_same(&known.dialer.server, &dialer.server)) {
            return Ok(Arc::clone(known));
        }
        let prover = Arc::new(Prover::new(Arc::new(dialer)));
        self.provers.push(Arc::clone(&prover));
        Ok(prover)
    }
}

/// Whether both are one server that is believed for the same reasons.
fn is_same(one: &Server, other: &Server) -> bool {
    one.is_at(&other.host, other.port)
        && one.trust.skip_name_check == other.trust.skip_name_check
        && one.trust.certificates == other.trust.certificates
}

/// Which devices would fail too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Device,
    /// All of its MQTT server.
    Server,
    All,
}

impl Reach {
    fn of(error: &Error) -> Self {
        if error.code.kind() == ErrorKind::Network && is_of_account(error) {
            return Self::All;
        }
        match error.code {
            // The server's word on one certificate.
            ErrorCode::TlsClientCertificate => Self::Device,
            ErrorCode::VerifyAnonymous | ErrorCode::VerifyNotAsked => Self::Server,
            ErrorCode::RestUnauthorized
            | ErrorCode::RestSecondFactor
            | ErrorCode::RestForbidden
            | ErrorCode::RestLimited
            | ErrorCode::RestServerError
            | ErrorCode::RestNotThingsBoard => Self::All,
            code => match code.kind() {
                ErrorKind::Network => Self::Server,
                ErrorKind::Interrupted => Self::All,
                _ => Self::Device,
            },
        }
    }
}

/// Whether a failure of the network is one of the REST API: MQTT is spoken in the step `verify` alone.
fn is_of_account(error: &Error) -> bool {
    error.step() != Step::Verify || matches!(error.hint, Some(Hint::OfRest | Hint::RestAnswerLost))
}

/// What is not tried any more.
struct Stops {
    /// The exit code of what ended the run.
    run: Option<u8>,
    /// The MQTT servers that failed.
    servers: Vec<(Host, u16)>,
    /// Whether all devices are of one server: then its failure is the run's.
    is_one_server: bool,
}

impl Stops {
    fn new(selected: &Selected) -> Self {
        let mut devices = selected.rows.iter().filter_map(Chosen::device).map(server_of);
        let first = devices.next();
        let is_one_server = devices.all(|server| Some(server) == first);
        Self { run: None, servers: Vec::new(), is_one_server }
    }

    fn learn(&mut self, error: &Error, device: &Entry) {
        match Reach::of(error) {
            Reach::Device => {}
            Reach::Server if self.is_one_server => self.run = Some(error.exit_code()),
            Reach::Server => {
                let (host, port) = server_of(device);
                self.servers.push((host.clone(), port));
            }
            Reach::All => self.run = Some(error.exit_code()),
        }
    }

    fn reason(&self, device: &Entry) -> Option<&'static str> {
        let (host, port) = server_of(device);
        if self.run.is_some() {
            return Some("the run had to stop before");
        }
        let is_stopped = self.servers.iter().any(|(failed, at)| failed == host && *at == port);
        is_stopped.then_some("its server failed before")
    }
}

const fn server_of(device: &Entry) -> (&Host, u16) {
    (&device.record.host, device.record.port)
}
