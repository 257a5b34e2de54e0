//! `tbprov firmware emulate`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::demo;
use super::super::ledger_args::LedgerArgs;
use super::super::results::ServerResult;
use super::super::server_args::parse_timeout;
use super::build_args::SourceArgs;
use super::identity_args::SessionArgs;
use tbprov::dial::Dialer;
use tbprov::firmware::emulator::{self, Emulated, Emulation};
use tbprov::firmware::{self, Board, IdentityOptions, read_elf};
use tbprov::flow;
use tbprov::ledger::Entry;
use tbprov::sim::Simulator;
use tbprov::{Error, ErrorCode, Result, Step};

/// How long `--count` waits for the next acknowledged reading.
const PATIENCE: Duration = Duration::from_secs(60);

/// Run the firmware in QEMU with a device's identity: the same application that runs on a board, without one.
///
/// Without --device it brings its own server and device, and shows the whole way from nothing to telemetry.
#[derive(Debug, Args)]
pub(in crate::cli) struct EmulateArgs {
    /// The device [default: a new one, with a server of its own on this machine].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
    /// End after this many acknowledged readings; 0: no end [default: 4 for the device of its own, else 0].
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Fail if no reading is acknowledged for this time plus the interval [default: 60s with --count].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    give_up_after: Option<Duration>,
    /// The folder that the device of its own is made in.
    #[arg(long, value_name = "DIR", default_value = "./tbprov-demo", conflicts_with = "device")]
    dir: PathBuf,
    /// QEMU's program.
    #[arg(long, env = "TBPROV_QEMU", value_name = "PROGRAM", default_value = emulator::QEMU)]
    qemu: PathBuf,
    /// A firmware that was built before for the board virt.
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    session: SessionArgs,
    /// More arguments for QEMU.
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    qemu_arguments: Vec<String>,
}

/// Readings of the device of its own.
const DEMO_READINGS: u64 = 4;

impl EmulateArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let elf = self.elf(context).await?;
        let Some(name) = &self.device else { return self.demonstrate(context, elf).await };
        context.progress.begin(Step::Plan);
        let device = context.device(Some(name)).await?;
        let dialer = self.session.dialer(context, &device).await?;
        let emulated = self.emulate(context, elf, &device, &dialer, self.count.unwrap_or(0)).await?;
        context.output.result("firmware emulate", &EmulateResult::new(&device, &dialer, emulated));
        Ok(self.exit_code(emulated))
    }

    /// With a server and a device of its own.
    async fn demonstrate(&self, context: &Context, elf: PathBuf) -> Result<ExitCode> {
        let context = &demo::in_folder(context, &self.dir);
        let (simulator, provisioned) = demo::provisioned(context, None).await?;
        let device = provisioned.entry;
        let dialer = self.session.dialer(context, &device).await?;
        let count = self.count.unwrap_or(DEMO_READINGS);
        let emulated = self.emulate(context, elf, &device, &dialer, count).await;
        let arrived = arrived(&simulator, &device);
        simulator.stop().await;
        let emulated = emulated?;
        if arrived < emulated.acknowledged {
            let message = format!("the server has {arrived} of {} readings", emulated.acknowledged);
            return Err(Error::new(ErrorCode::Bug, message));
        }
        context.output.result("firmware emulate", &EmulateResult::new(&device, &dialer, emulated));
        Ok(self.exit_code(emulated))
    }

    async fn elf(&self, context: &Context) -> Result<PathBuf> {
        match &self.elf {
            Some(elf) => {
                context.progress.begin(Step::Image);
                emulator::check(&read_elf(elf)?)?;
                Ok(elf.clone())
            }
            None => {
                let recipe = self.sources.recipe(context, false)?;
                let building = recipe.build(Board::Virt, &context.progress);
                Ok(context.interruptible(building).await?.elf)
            }
        }
    }

    async fn emulate(
        &self,
        context: &Context,
        elf: PathBuf,
        device: &Entry,
        dialer: &Dialer,
        count: u64,
    ) -> Result<Emulated> {
        let held = flow::hold(&*context.ledger, device, &context.progress);
        let _held = context.interruptible(held).await?;
        let options = self.session.options();
        context.progress.begin(Step::Resolve);
        let time_server = match &options.time_server {
            Some(server) => Some(context.interruptible(emulator::time_server_in_guest(server)).await?),
            None => None,
        };
        let address = emulator::address_in_guest(&dialer.server.host, dialer.server.port);
        let address = context.interruptible(address).await?;
        let interval = options.interval;
        let options = IdentityOptions { address: Some(address), time_server, ..options };
        context.progress.begin(Step::Identity);
        let partition = firmware::partition(&*context.ledger, device, &dialer.server, &options).await?;
        let count = (count > 0).then_some(count);
        let patience = self.give_up_after.or(count.map(|_| PATIENCE));
        let emulation = Emulation {
            qemu: self.qemu.clone(),
            elf,
            partition: &partition,
            count,
            patience: patience.map(|patience| patience.saturating_add(interval)),
            qemu_arguments: self.qemu_arguments.clone(),
        };
        context.progress.begin(Step::Emulate);
        emulation.run(&context.interrupt_or_unread(), &context.progress).await
    }

    /// Interrupting what would never end is how it ends.
    fn exit_code(&self, emulated: Emulated) -> ExitCode {
        let endless = self.device.is_some() && self.count.unwrap_or(0) == 0 || self.count == Some(0);
        if emulated.interrupted && !endless {
            return ExitCode::from(ErrorCode::Interrupted.kind().exit_code());
        }
        ExitCode::SUCCESS
    }
}

/// Readings of `device` that the server has.
fn arrived(simulator: &Simulator, device: &Entry) -> u64 {
    let id = device.record.identity.credentials_id.as_ref();
    let seen = simulator.devices().into_iter().find(|seen| seen.credentials_id.as_ref() == id);
    seen.map_or(0, |seen| seen.telemetry)
}

/// The result of `firmware emulate`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct EmulateResult {
    outcome: &'static str,
    device: String,
    credentials_id: Option<String>,
    server: ServerResult,
    acknowledged: u64,
}

impl EmulateResult {
    fn new(device: &Entry, dialer: &Dialer, emulated: Emulated) -> Self {
        Self {
            outcome: if emulated.interrupted { "interrupted" } else { "emulated" },
            device: device.shown_name().to_owned(),
            credentials_id: device.record.identity.credentials_id.clone(),
            server: ServerResult::new(&dialer.server, None),
            acknowledged: emulated.acknowledged,
        }
    }
}

impl fmt::Display for EmulateResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.host.with_port(self.server.port);
        writeln!(
            formatter,
            "{}: {} readings acknowledged by {server}, sent by the firmware in QEMU",
            self.device, self.acknowledged
        )
    }
}
