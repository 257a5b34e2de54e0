//! `tbprov demo`

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use tbprov::DeviceName;
use tbprov::dial::Dialer;
use tbprov::flow::{
    self, DEFAULT_TIMEOUT, IdentityPlan, Prover, ProvisionPlan, Provisioned, RegistrationPlan,
};
use tbprov::server::Server;
use tbprov::sim::{Config, Simulator};
use tbprov::telemetry::{Readings, TelemetryPlan};
use tbprov::text::shown_path;
use tbprov::tls::{Trust, TrustSource};
use tbprov::{Error, ErrorCode, Result, Secret};

/// Readings that the demonstration sends.
const READINGS: u64 = 4;
/// The pause between two of them: long enough to be seen.
const INTERVAL: Duration = Duration::from_millis(300);

/// See it work, without a server: start one on this machine, provision a device, connect, send four readings.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder to work in.
    #[arg(long, value_name = "DIR", default_value = "./tbprov-demo")]
    dir: PathBuf,
}

impl DemoArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let telemetry = TelemetryPlan::new(Readings::Samples, Some(READINGS), INTERVAL);
        let (simulator, provisioned) = provisioned(&in_folder(context, &self.dir), Some(telemetry)).await?;
        let result = DemoResult::new(&simulator, &provisioned);
        simulator.stop().await;
        let result = result?;
        context.output.result("demo", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// With the store of a demonstration in `directory`.
pub(super) fn in_folder(context: &Context, directory: &Path) -> Context {
    context.with_store(&directory.join("devices"))
}

/// A server of its own on this machine, and a new device provisioned with it.
pub(super) async fn provisioned(
    context: &Context,
    telemetry: Option<TelemetryPlan>,
) -> Result<(Simulator, Provisioned)> {
    let key = Secret::random(20)?.expose().to_owned();
    let secret = Secret::random(20)?;
    let simulator = Simulator::start(Config::new(key.clone(), secret.clone()), Arc::new(())).await?;
    context.output.note(&format!(
        "A ThingsBoard-compatible server runs on localhost:{} for this demonstration.",
        simulator.address().port()
    ));
    let prover = Prover::new(Arc::new(dialer(&simulator)?));
    let plan = plan(key, secret, telemetry)?;
    let provisioned = flow::provision(&plan, context.run(&prover)).await?;
    Ok((simulator, provisioned))
}

fn dialer(simulator: &Simulator) -> Result<Dialer> {
    let source = TrustSource::File(PathBuf::from("server.pem"));
    let trust = Trust::from_certificates(vec![simulator.certificate().clone()], source, false);
    let server =
        Server { host: "localhost".parse()?, port: simulator.address().port(), trust: Arc::new(trust) };
    Ok(Dialer::new(server, DEFAULT_TIMEOUT))
}

fn plan(
    provision_key: String,
    provision_secret: Secret,
    telemetry: Option<TelemetryPlan>,
) -> Result<ProvisionPlan> {
    Ok(ProvisionPlan {
        // A new name each time: the server of an earlier demonstration, which knew its device, is gone.
        device_name: DeviceName::parse(&format!("demo-{}", Secret::random(6)?.expose().to_lowercase()))?,
        registration: RegistrationPlan::ByRequest { provision_key, provision_secret, gateway: false },
        identity: IdentityPlan::Generate { key_type: None, days: None },
        verify_connect: true,
        answer_timeout: flow::DEFAULT_ANSWER_TIMEOUT,
        telemetry,
    })
}

/// What the demonstration made, and what the server saw of it.
#[derive(Serialize)]
struct DemoResult {
    device: String,
    credentials_id: String,
    directory: PathBuf,
    acknowledged: u64,
    server_has: ServerHas,
}

#[derive(Serialize)]
struct ServerHas {
    telemetry: u64,
    last_telemetry: Option<String>,
}

impl DemoResult {
    /// Compares both sides: a demonstration that did not arrive is a failure.
    fn new(simulator: &Simulator, done: &Provisioned) -> Result<Self> {
        let device = done.entry.shown_name().to_owned();
        let id = done.entry.record.identity.credentials_id.clone().unwrap_or_default();
        let seen = simulator.devices().into_iter().find(|seen| seen.credentials_id.as_ref() == Some(&id));
        let acknowledged = done.telemetry.map_or(0, |report| report.acknowledged);
        match seen {
            Some(seen) if seen.telemetry == READINGS && acknowledged == READINGS => Ok(Self {
                device,
                credentials_id: id,
                directory: done.entry.directory.clone().unwrap_or_default(),
                acknowledged,
                server_has: ServerHas { telemetry: seen.telemetry, last_telemetry: seen.last_telemetry },
            }),
            _ if done.telemetry.is_some_and(|report| report.interrupted) => Err(Error::interrupted()),
            _ => Err(Error::new(ErrorCode::Bug, "the server did not get every reading")),
        }
    }
}

impl fmt::Display for DemoResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |file| self.directory.join(file);
        writeln!(
            formatter,
            "\n{} sent {} readings, and the server has them.",
            self.device, self.acknowledged
        )?;
        writeln!(formatter, "credentialsId  {}", self.credentials_id)?;
        writeln!(formatter, "key            {}", shown_path(path("key.pem")))?;
        writeln!(formatter, "certificate    {}", shown_path(path("cert.pem")))?;
        writeln!(formatter, "server         {}", shown_path(path("server.pem")))?;
        writeln!(formatter, "record         {}", shown_path(path("device.json")))?;
        writeln!(formatter, "\nThe same with your ThingsBoard:   tbprov provision")?;
        writeln!(formatter, "A server that stays, to play with: tbprov sim")
    }
}
