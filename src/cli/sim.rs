//! `tbprov sim`

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::context::Context;
use super::secret_file;
use super::server_args::{clap_host, clap_port};
use crate::output::{Format, Mark, Output};
use tbprov::error::Hint;
use tbprov::files::{self, Access};
use tbprov::identity::read_certificates;
use tbprov::keys::{Exportable as _, SoftwareKey, pem};
use tbprov::sim::{self, Config, Event, Fault, PreProvisioned, Release, ServerIdentity, Simulator, Strategy};
use tbprov::{Error, ErrorCode, Result, Secret, Step};

/// Characters of a provision key or secret that is made up, as ThingsBoard's web form makes them.
const SECRET_LENGTH: usize = 20;

/// Start a ThingsBoard-compatible server on this machine: for trying things out, and for your own CI.
///
/// It prints host, port, provision key, provision secret and the certificate to trust, then serves until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_long_help = faults_help())]
pub(super) struct SimArgs {
    /// The address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// The port of MQTT over TLS; 0 takes any free one.
    #[arg(long, value_name = "PORT", default_value_t = tbprov::flow::DEFAULT_PORT)]
    port: u16,
    /// Also listen for plain MQTT on this port.
    #[arg(long, value_name = "PORT", value_parser = clap_port)]
    plain_port: Option<u16>,
    /// The ThingsBoard release to behave as: 3.2, 3.4, 3.6, 3.8 or 4.3.
    #[arg(long, value_name = "RELEASE", default_value_t = Release::default())]
    release: Release,
    /// Something to do wrong; may be given several times. --help lists all.
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// The device profile's provisioning strategy.
    #[arg(long, value_name = "STRATEGY", default_value = "allow-create")]
    strategy: StrategyArg,
    /// A device that exists from the start (with a random token); may be given several times.
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// The provision key [default: made up].
    #[arg(long, env = "TBPROV_SIM_PROVISION_KEY", value_name = "KEY")]
    provision_key: Option<String>,
    /// The provision secret [default: made up].
    #[arg(long, env = "TBPROV_SIM_PROVISION_SECRET", value_name = "SECRET", value_parser = secret_file::clap_secret, hide_env_values = true)]
    provision_secret: Option<Secret>,
    /// The folder of the server's certificate and key (server.pem, server_key.pem); made when they are not there.
    #[arg(long, value_name = "DIR", default_value = "./tbprov-sim")]
    dir: PathBuf,
    /// The names and addresses in a new server certificate [default: localhost, 127.0.0.1, ::1].
    #[arg(long = "name", value_name = "NAME|IP", value_parser = |text: &str| clap_host(text).map(|host| host.to_string()))]
    names: Vec<String>,
    /// Keep the devices in this file, tokens included; else they are forgotten at the end.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write host, port, key, secret and certificate to this file as JSON once connections are accepted.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StrategyArg {
    /// A request creates the device.
    AllowCreate,
    /// The device must exist, and keeps the credentials it has.
    PreProvisioned,
}

fn faults_help() -> String {
    let mut text = "Faults:\n".to_owned();
    for fault in Fault::ALL {
        text.push_str(&format!("  {:<22}{}\n", fault.syntax, fault.description));
    }
    text
}

impl SimArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let key = match self.provision_key {
            Some(key) => key,
            None => Secret::random(SECRET_LENGTH)?.expose().to_owned(),
        };
        let secret = match self.provision_secret {
            Some(secret) => secret,
            None => Secret::random(SECRET_LENGTH)?,
        };
        let mut config = Config::new(key.clone(), secret.clone());
        config.bind = SocketAddr::new(self.bind, self.port);
        config.plain = self.plain_port.map(|port| SocketAddr::new(self.bind, port));
        config.release = self.release;
        config.faults = self.fault;
        config.strategy = match self.strategy {
            StrategyArg::AllowCreate => Strategy::AllowCreate,
            StrategyArg::PreProvisioned => Strategy::PreProvisioned,
        };
        config.pre_provisioned = self.devices.iter().map(PreProvisioned::new).collect();
        context.progress.begin(Step::Serve);
        config.server = Some(server_identity(&self.dir, &self.names)?);
        config.state = self.state;
        let simulator = Simulator::start(config, observer(&context.output)).await?;
        let ready = Ready {
            host: host_to_connect_to(simulator.address().ip()),
            port: simulator.address().port(),
            plain_port: simulator.plain_address().map(|address| address.port()),
            provision_key: key,
            provision_secret: secret.expose().to_owned(),
            server_cert: std::path::absolute(self.dir.join(CERTIFICATE))
                .unwrap_or_else(|_| self.dir.join(CERTIFICATE)),
            release: self.release.as_str(),
            process: std::process::id(),
        };
        if let Some(path) = &self.ready_file {
            files::replace(path, &ready.to_json()?, Access::Owner)?;
        }
        context.output.result("sim", &ready);
        context.interrupt.cancelled().await;
        simulator.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The name that the certificate holds for loopback, else the address itself.
fn host_to_connect_to(address: IpAddr) -> String {
    let is_localhost = address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST;
    if is_localhost || address.is_unspecified() { "localhost".to_owned() } else { address.to_string() }
}

const KEY: &str = "server_key.pem";
const CERTIFICATE: &str = "server.pem";

/// The certificate and key in `directory`, so that a pinned certificate stays the right one over restarts.
fn server_identity(directory: &Path, names: &[String]) -> Result<ServerIdentity> {
    let (key_path, certificate_path) = (directory.join(KEY), directory.join(CERTIFICATE));
    if !key_path.exists() {
        // A certificate alone is what a killed run left: the key comes last.
        let _ = std::fs::remove_file(&certificate_path);
        let new = sim::own_identity(names)?;
        files::create_directory(directory)?;
        files::write_new(&certificate_path, new.chain_pem().as_bytes(), Access::Everybody)?;
        files::write_new(&key_path, new.key.to_pem().expose().as_bytes(), Access::Owner)?;
    } else if !names.is_empty() {
        let message =
            format!("{} exists already, so --name would have no effect", certificate_path.display());
        return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::OtherDirectory));
    }
    let chain =
        read_certificates(&pem::read_file(&certificate_path)?, &certificate_path.display().to_string())?;
    let key = SoftwareKey::from_pem(&pem::read_file(&key_path)?, &key_path.display().to_string())?;
    Ok(ServerIdentity { chain, key: Arc::new(key) })
}

/// What a client needs to know; also the content of the ready file. The secret is the simulator's own: it
/// opens nothing else.
#[derive(Serialize)]
struct Ready {
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    plain_port: Option<u16>,
    provision_key: String,
    provision_secret: String,
    server_cert: PathBuf,
    release: &'static str,
    process: u32,
}

impl Ready {
    fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(ErrorCode::Bug, "the ready file could not be written").source(error))
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "ThingsBoard {} is simulated at {}:{}", self.release, self.host, self.port)?;
        if let Some(port) = self.plain_port {
            writeln!(formatter, "plain MQTT        {}:{port}", self.host)?;
        }
        writeln!(formatter, "provision key     {}", self.provision_key)?;
        writeln!(formatter, "provision secret  {}", self.provision_secret)?;
        writeln!(formatter, "certificate       {}", self.server_cert.display())?;
        writeln!(formatter, "\nIn another terminal:")?;
        writeln!(
            formatter,
            "  TBPROV_PROVISION_SECRET={} tbprov provision --host {} --port {} --provision-key {} --server-cert {} --device-name sensor-01",
            self.provision_secret,
            self.host,
            self.port,
            self.provision_key,
            self.server_cert.display()
        )?;
        writeln!(formatter, "  tbprov connect sensor-01 --send-telemetry --count 4")?;
        writeln!(formatter, "\nCtrl-C ends it.")
    }
}

/// Shows the simulator's events: NDJSON where that was asked for, else a line for what matters.
fn observer(output: &Output) -> Arc<dyn sim::Observer> {
    match output.format() {
        Format::Events => Arc::new(Lines(output.clone())),
        Format::Human => Arc::new(Talk(output.clone())),
        Format::Json => Arc::new(()),
    }
}

struct Lines(Output);

impl sim::Observer for Lines {
    fn event(&self, event: &Event) {
        self.0.data(&serde_json::to_string(event).unwrap_or_default());
    }
}

struct Talk(Output);

impl sim::Observer for Talk {
    fn event(&self, event: &Event) {
        let unnamed = || "(no name)".to_owned();
        match event {
            Event::Connected { device: Some(device), .. } => {
                self.0.told(Mark::Passed, &format!("{device} connected"))
            }
            Event::Refused { code, reason, .. } => {
                self.0.told(Mark::Failed, &format!("refused with CONNACK {code}: {reason}"))
            }
            Event::TlsFailed { reason, .. } => self.0.told(Mark::Failed, &format!("TLS failed: {reason}")),
            Event::ProvisionAnswer { device, status, reason, .. } => {
                let device = device.clone().unwrap_or_else(unnamed);
                let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let mark = if *status == "SUCCESS" { Mark::Passed } else { Mark::Failed };
                self.0.told(mark, &format!("{device}: provisioning answered with {status}{reason}"));
            }
            Event::Telemetry { device, payload, .. } => {
                self.0.told(Mark::Passed, &format!("{device} telemetry {payload}"))
            }
            Event::Attributes { device, payload, .. } => {
                self.0.told(Mark::Passed, &format!("{device} attributes {payload}"))
            }
            Event::Fault { name, .. } => self.0.told(Mark::Warning, &format!("fault: {name}")),
            _ => {}
        }
    }
}
