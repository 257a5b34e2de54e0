//! `tbprov sim`

mod devices;
mod show;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::devices::DevicesArgs;
use self::show::observer;
use super::context::Context;
use super::secret_file::clap_secret;
use super::server_args::clap_host;
use super::shell::{Desk, quoted, quoted_path};
use tbprov::error::Hint;
use tbprov::files::{self, Access};
use tbprov::identity::{Certificate, read_certificate_file};
use tbprov::server::Host;
use tbprov::sim::{Config, Fault, Limit, NamePattern, Release, ServerIdentity, Simulator, Strategy};
use tbprov::text::{native_path, shown_path};
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
    /// Also listen for plain MQTT on this port; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    plain_port: Option<u16>,
    /// Also listen for ThingsBoard's REST API on this port, over TLS and plain HTTP; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    rest_port: Option<u16>,
    /// The name of the tenant's administrator at the REST API [default: tenant@thingsboard.org].
    #[arg(long, value_name = "NAME", requires = "rest_port")]
    api_user: Option<String>,
    /// The password at the REST API, of every user [default: made up].
    #[arg(long, env = "TBPROV_SIM_API_PASSWORD", value_name = "PASSWORD", value_parser = clap_secret, hide_env_values = true)]
    api_password: Option<Secret>,
    /// The ThingsBoard release to behave as: 3.2, 3.4, 3.6, 3.8, 4.0 or 4.3.
    #[arg(long, value_name = "RELEASE", default_value_t = Release::default())]
    release: Release,
    /// A fault to simulate; may be given several times. --help lists all.
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// The telemetry messages that a device may send, COUNT:SECONDS, one or several: 10:1,300:60.
    #[arg(long, value_name = "LIMIT")]
    device_limit: Option<Limit>,
    /// The telemetry messages that all devices together may send.
    #[arg(long, value_name = "LIMIT")]
    tenant_limit: Option<Limit>,
    /// The data points (values) that a device may send.
    #[arg(long, value_name = "LIMIT")]
    device_point_limit: Option<Limit>,
    /// The data points (values) that all devices together may send.
    #[arg(long, value_name = "LIMIT")]
    tenant_point_limit: Option<Limit>,
    /// How often a device may connect; one connect more is answered with CONNACK 3.
    #[arg(long, value_name = "LIMIT")]
    device_connect_limit: Option<Limit>,
    /// How often all devices together may connect.
    #[arg(long, value_name = "LIMIT")]
    tenant_connect_limit: Option<Limit>,
    /// The device profile's provisioning strategy.
    #[arg(long, value_name = "STRATEGY", default_value = "allow-create")]
    strategy: StrategyArg,
    /// With --strategy chain: the authority that a device has to send with its certificate.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// With --strategy chain: the regular expression whose first group, found in the common name, is the device's name.
    #[arg(long, value_name = "REGEX")]
    name_pattern: Option<String>,
    /// With --strategy chain: create no devices; existing devices still get new certificates.
    #[arg(long)]
    no_create: bool,
    #[command(flatten)]
    devices: DevicesArgs,
    /// The provision key [default: made up].
    #[arg(long, env = "TBPROV_SIM_PROVISION_KEY", value_name = "KEY")]
    provision_key: Option<String>,
    /// The provision secret [default: made up].
    #[arg(long, env = "TBPROV_SIM_PROVISION_SECRET", value_name = "SECRET", value_parser = clap_secret, hide_env_values = true)]
    provision_secret: Option<Secret>,
    /// The folder of the server's certificate and key (server.pem, server_key.pem); made when they are not there.
    #[arg(long, value_name = "DIR", default_value = "./tbprov-sim")]
    dir: PathBuf,
    /// The names and addresses in a new server certificate [default: localhost, 127.0.0.1, ::1].
    #[arg(long = "name", value_name = "NAME|IP", value_parser = |text: &str| clap_host(text).map(|host| host.to_string()))]
    names: Vec<String>,
    /// Keep the devices in this file, tokens included; without it they are lost at the end.
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
    /// A connect with a certificate of an authority creates the device, or gives it that certificate (from 3.5 on).
    Chain,
}

fn faults_help() -> String {
    let mut text = "Faults:\n".to_owned();
    for fault in Fault::ALL {
        text.push_str(&format!("  {:<22}{}\n", fault.syntax, fault.description));
    }
    text
}

/// What a run does. Nothing was made or written for it.
struct SimPlan {
    config: Config,
    /// What clients will be told, without the ports, which are known once they are open.
    ready: Ready,
    ready_file: Option<PathBuf>,
}

impl SimArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let SimPlan { config, ready, ready_file } = self.plan(context)?;
        context.progress.begin(Step::Serve);
        let simulator = Simulator::start(config, observer(&context.output)).await?;
        let ready = ready.at(&simulator);
        if let Some(path) = &ready_file {
            files::replace(path, &ready.to_json()?, Access::Owner)?;
        }
        context.output.result("sim", &ready);
        context.interrupt.cancelled().await;
        simulator.stop().await;
        Ok(ExitCode::SUCCESS)
    }

    fn plan(self, context: &Context) -> Result<SimPlan> {
        let strategy = self.strategy(context)?;
        let made_up = || Secret::random(SECRET_LENGTH);
        let key = self.provision_key.map_or_else(|| Ok(made_up()?.expose().to_owned()), Ok::<_, Error>)?;
        let secret = self.provision_secret.map_or_else(made_up, Ok)?;
        let directory = native_path(&self.dir).into_owned();
        let certificate = ServerIdentity::certificate_file(&directory);
        let ready =
            Ready::new(&key, &secret, &certificate, self.release, self.ca.as_deref(), self.name_pattern);
        let defaults = Config::new(key, secret);
        let config = Config {
            api_user: self.api_user.unwrap_or(defaults.api_user),
            bind: SocketAddr::new(self.bind, self.port),
            plain: self.plain_port.map(|port| SocketAddr::new(self.bind, port)),
            rest: self.rest_port.map(|port| SocketAddr::new(self.bind, port)),
            api_password: self.api_password,
            release: self.release,
            faults: self.fault,
            strategy,
            pre_provisioned: self.devices.devices()?,
            directory: Some(directory),
            hosts: self.names,
            state: self.state,
            device_limit: self.device_limit,
            tenant_limit: self.tenant_limit,
            device_point_limit: self.device_point_limit,
            tenant_point_limit: self.tenant_point_limit,
            device_connect_limit: self.device_connect_limit,
            tenant_connect_limit: self.tenant_connect_limit,
            ..defaults
        };
        config.check()?;
        Ok(SimPlan { config, ready, ready_file: self.ready_file })
    }

    fn strategy(&self, context: &Context) -> Result<Strategy> {
        let of_chain = self.ca.is_some() || self.name_pattern.is_some() || self.no_create;
        match self.strategy {
            StrategyArg::Chain => self.chain(context),
            _ if of_chain => {
                let message = "--ca, --name-pattern and --no-create belong to --strategy chain";
                Err(Error::new(ErrorCode::UsageConflict, message))
            }
            StrategyArg::AllowCreate => Ok(Strategy::AllowCreate),
            StrategyArg::PreProvisioned => Ok(Strategy::PreProvisioned),
        }
    }

    fn chain(&self, context: &Context) -> Result<Strategy> {
        let (Some(ca), Some(pattern)) = (&self.ca, &self.name_pattern) else {
            let message = "the certificate chain strategy needs an authority and a pattern for names";
            return Err(
                Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveBy("--ca and --name-pattern"))
            );
        };
        if self.provision_key.is_some() || self.provision_secret.is_some() {
            context.output.warn(
                "the certificate chain strategy uses no provision key and secret; those given are not used",
            );
        }
        let name_pattern = NamePattern::new(pattern);
        if let Some(problem) = name_pattern.problem() {
            context.output.warn(&format!("{problem}; every device will be refused, as by ThingsBoard"));
        }
        let authority = first_certificate(ca)?;
        Ok(Strategy::Chain { authority, name_pattern, allow_create: !self.no_create })
    }
}

/// As ThingsBoard takes it from what is pasted into a device profile.
fn first_certificate(path: &Path) -> Result<Certificate> {
    let shown = shown_path(path);
    let first = read_certificate_file(path)?.into_iter().next();
    first.ok_or_else(|| Error::new(ErrorCode::FileNotPem, format!("{shown} holds no certificate")))
}

/// The name that the certificate holds for loopback, else the address itself.
fn host_to_connect_to(address: IpAddr) -> Host {
    let is_localhost = address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST;
    if is_localhost || address.is_unspecified() { Host::localhost() } else { address.into() }
}

/// What a client needs to know; also the content of the ready file. The secret is the simulator's own: it
/// opens nothing else.
#[derive(Serialize)]
struct Ready {
    host: Host,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    plain_port: Option<u16>,
    #[serde(flatten)]
    registration: Registration,
    #[serde(flatten)]
    api: Option<Api>,
    server_cert: PathBuf,
    release: &'static str,
    process: u32,
}

/// Where the REST API is, and what opens it.
#[derive(Serialize)]
struct Api {
    api_url: String,
    api_user: String,
    api_password: String,
    /// Where the release has API keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
}

impl Api {
    fn of(simulator: &Simulator, host: &Host) -> Option<Self> {
        let (address, user) = (simulator.rest_address()?, simulator.api_user()?);
        Some(Self {
            api_url: format!("https://{}", host.with_port(address.port())),
            api_user: user.to_owned(),
            api_password: simulator.api_password()?.expose().to_owned(),
            api_key: simulator.api_key().map(|key| key.expose().to_owned()),
        })
    }
}

/// What registers a device.
#[derive(Serialize)]
#[serde(untagged)]
enum Registration {
    /// A provision request.
    Request { provision_key: String, provision_secret: String },
    /// A certificate of this authority.
    Chain { ca_cert: PathBuf, name_pattern: String },
}

impl Ready {
    fn new(
        key: &str,
        secret: &Secret,
        certificate: &Path,
        release: Release,
        ca: Option<&Path>,
        name_pattern: Option<String>,
    ) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let registration = match (ca, name_pattern) {
            (Some(ca), Some(name_pattern)) => Registration::Chain { ca_cert: absolute(ca), name_pattern },
            _ => Registration::Request {
                provision_key: key.to_owned(),
                provision_secret: secret.expose().to_owned(),
            },
        };
        let (server_cert, release, process) = (absolute(certificate), release.as_str(), std::process::id());
        Self {
            host: Host::localhost(),
            port: 0,
            plain_port: None,
            registration,
            api: None,
            server_cert,
            release,
            process,
        }
    }

    fn at(self, simulator: &Simulator) -> Self {
        let host = host_to_connect_to(simulator.address().ip());
        Self {
            api: Api::of(simulator, &host),
            host,
            port: simulator.address().port(),
            plain_port: simulator.plain_address().map(|address| address.port()),
            ..self
        }
    }

    fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(ErrorCode::Bug, "the ready file could not be written").source(error))
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "ThingsBoard {} is simulated at {}",
            self.release,
            self.host.with_port(self.port)
        )?;
        if let Some(port) = self.plain_port {
            writeln!(formatter, "plain MQTT        {}", self.host.with_port(port))?;
        }
        match &self.registration {
            Registration::Request { provision_key, provision_secret } => {
                writeln!(formatter, "provision key     {provision_key}")?;
                writeln!(formatter, "provision secret  {provision_secret}")?;
            }
            Registration::Chain { ca_cert, name_pattern } => {
                writeln!(formatter, "authority         {}", shown_path(ca_cert))?;
                writeln!(formatter, "name pattern      {name_pattern}")?;
            }
        }
        if let Some(api) = &self.api {
            writeln!(formatter, "REST API          {}", api.api_url)?;
            writeln!(formatter, "API user          {}", api.api_user)?;
            writeln!(formatter, "API password      {}", api.api_password)?;
            if let Some(key) = &api.api_key {
                writeln!(formatter, "API key           {key}")?;
            }
        }
        let server = quoted_path(&self.server_cert);
        writeln!(formatter, "certificate       {}", shown_path(&self.server_cert))?;
        writeln!(formatter, "\nIn another terminal:")?;
        let at = format!("--host {} --port {}", quoted(&self.host.to_string()), self.port);
        match &self.registration {
            Registration::Request { provision_key: key, provision_secret: secret } => {
                // By an equals sign: a key may begin with a dash.
                let command = format!(
                    "tbprov provision {at} --provision-key={} --server-cert {server} --device-name sensor-01",
                    quoted(key)
                );
                let command = Desk::HERE.with_variable("TBPROV_PROVISION_SECRET", secret, &command);
                writeln!(formatter, "  {command}")?;
            }
            Registration::Chain { ca_cert, .. } => writeln!(
                formatter,
                "  tbprov provision {at} --ca-cert {} --ca-key {} --server-cert {server} --device-name sensor-01",
                quoted_path(ca_cert),
                quoted_path(&key_beside(ca_cert))
            )?,
        }
        writeln!(formatter, "  tbprov connect sensor-01 --send-telemetry --count 4")?;
        writeln!(formatter, "\nCtrl-C ends it.")
    }
}

/// Where `tbprov certs ca` puts the key of an authority.
fn key_beside(certificate: &Path) -> PathBuf {
    let name = certificate.file_stem().unwrap_or_default().to_string_lossy();
    certificate.with_file_name(format!("{name}_key.pem"))
}
