//! `tbprov fleet run`

use std::num::{NonZeroU32, NonZeroU64};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::super::context::Context;
use super::super::key_file::KeyFileArgs;
use super::super::ledger_args::FleetArgs;
use super::super::registration::{IssuerArgs, PlaceArgs, ProfileArgs};
use super::super::server_args::{TrustArgs, parse_duration, parse_timeout};
use super::run_result::RunResult;
use tbprov::dial::Dialer;
use tbprov::error::{Hint, Step};
use tbprov::event::Progress;
use tbprov::fleet::control::Jobs;
use tbprov::fleet::rate::Rate;
use tbprov::fleet::run::{self, DEFAULT_PATIENCE, End, Fleet, FleetPlan, Registration};
use tbprov::flow::{DEFAULT_ANSWER_TIMEOUT, Prover};
use tbprov::identity::Validity;
use tbprov::keys::KeyType;
use tbprov::ledger::roster::{Due, RowState};
use tbprov::ledger::sqlite::DEFAULT_LEASE;
use tbprov::server::Server;
use tbprov::{Error, ErrorCode, Result};

/// Provision what is due: all rows that are neither proved nor failed.
///
/// Each device gets its key and its certificate, is registered and is proved, as with 'tbprov provision'. You can stop
/// the run and repeat it, and run it several times at once. A failure that every device would meet stops it.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    ledger: FleetArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// The type of the keys, where a row does not say it: ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096
    /// [default: ec-p256].
    #[arg(long, value_name = "TYPE", help_heading = "Identity")]
    key_type: Option<KeyType>,
    /// Days that the certificates are valid, where a row does not say it [default: 3650].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Identity")]
    days: Option<u32>,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    key_file: KeyFileArgs,
    /// All devices are gateways (ThingsBoard 3.8 and later).
    #[arg(long, help_heading = "Identity")]
    gateway: bool,
    #[command(flatten)]
    pace: PaceArgs,
}

/// How much at once, and for how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
struct PaceArgs {
    /// How many devices at once: a number, or 'auto' for as many as give the most devices a second.
    #[arg(long, value_name = "N|auto", default_value_t = Jobs::Auto)]
    jobs: Jobs,
    /// At most so many devices in a time, such as 20/s or 300/m [default: no limit].
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// End after so many devices.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
    /// For how long rows stay this run's if it does not answer any more, such as a paused one [default: 60s].
    #[arg(long, value_name = "DURATION", value_parser = parse_lease)]
    lease: Option<Duration>,
    /// End with exit code 3 when the server takes nothing for this time [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    give_up_after: Option<Duration>,
}

/// The shortest lease: a run has to renew it a few times before it ends.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

fn parse_lease(text: &str) -> Result<Duration, String> {
    match parse_timeout(text)? {
        lease if lease < SHORTEST_LEASE => Err("shorter than a second".to_owned()),
        lease => Ok(lease),
    }
}

impl RunArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let lease = self.pace.lease.unwrap_or(DEFAULT_LEASE);
        let roster = context.leased_roster(self.ledger.path(), lease).await?;
        if let Due { free: 0, claimed: 0, .. } = context.interruptible(roster.due()).await? {
            let totals = context.interruptible(roster.totals()).await?;
            let failed = totals.states.get(&RowState::Failed).copied().unwrap_or(0);
            context.output.result("fleet run", &RunResult::nothing_due(failed));
            return Ok(ExitCode::SUCCESS);
        }
        context.progress.begin(Step::Plan);
        let mut doubts = Vec::new();
        let (plan, dialer) = context.interruptible(self.plan(context, &mut doubts)).await?;
        let server = dialer.server.clone();
        let fleet = Fleet {
            roster,
            prover: Arc::new(Prover::of_many(Arc::new(dialer))),
            interrupt: context.interrupt.clone(),
            progress: Progress::new(context.output.fleet_observer()),
        };
        let mut report = run::run(plan, fleet).await?;
        if let End::Stopped(error) = &mut report.end
            && error.code == ErrorCode::ServerNotFound
            && !doubts.is_empty()
        {
            error.hint = Some(Hint::Doubtful(doubts));
        }
        Ok(RunResult::new(&report, &server).show(context, &report))
    }

    /// Flags, environment, file and prompts, in the order of the questions.
    async fn plan(self, context: &Context, doubts: &mut Vec<String>) -> Result<(FleetPlan, Dialer)> {
        self.one_reader_of_stdin()?;
        let config = &context.config;
        let days = self.days.or(config.days.map(NonZeroU32::get));
        days.map_or(Ok(()), Validity::check_days)?;
        let issuer = self.issuer.read(context, &self.key_file).await?;
        let trust = self.trust.belief.trust(context)?;
        let timeout = self.trust.timeout(context)?;
        let answer_timeout = self.trust.named_timeout(context)?.unwrap_or(DEFAULT_ANSWER_TIMEOUT);
        let proxy = self.trust.proxy.proxy(context)?;
        let host = self.place.host(context).await?;
        let port = self.place.port(context).await?;
        let registration = match issuer {
            Some(issuer) => {
                self.profile.is_ignored(context);
                Registration::AtConnect(Arc::new(issuer))
            }
            None => Registration::ByRequest {
                provision_key: self.profile.key(context, doubts).await?,
                provision_secret: self.profile.secret(context, doubts).await?,
                gateway: self.gateway || config.gateway,
            },
        };
        if let Some(end) = trust.ends_soon(tbprov::clock::now()) {
            context.progress.warn(end);
        }
        let dialer = Dialer::new(Server { host, port, trust: trust.into() }, timeout).through(proxy);
        let plan = FleetPlan {
            registration,
            key_type: self.key_type.or(config.key_type),
            days,
            answer_timeout,
            jobs: self.pace.jobs,
            rate: self.pace.rate,
            limit: self.pace.limit.map(NonZeroU64::get),
            give_up_after: self.pace.give_up_after.unwrap_or(DEFAULT_PATIENCE),
            tells_steps: context.output.tells_steps(),
        };
        Ok((plan, dialer))
    }

    fn one_reader_of_stdin(&self) -> Result<()> {
        if self.profile.reads_stdin() && self.key_file.password.reads_stdin() {
            let message = "stdin cannot give both the provision secret and the password of the key";
            return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::TwoReadersOfStdin));
        }
        Ok(())
    }
}
