//! `tbprov devices`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::server_args::{TrustArgs, clap_host, clap_port, host_if_named, port_or_default};
use tbprov::device::DeviceName;
use tbprov::error::Hint;
use tbprov::flow::verify;
use tbprov::identity::{Credentials, SoftwareIdentity};
use tbprov::ledger::folder::{Device, NewDevice, Record};
use tbprov::server::Host;
use tbprov::{Error, ErrorCode, Result, State};

/// The store: what is in it, and taking in identities made elsewhere.
#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// List every device: state, server, end of its certificate, credentialsId.
    List,
    /// Show one device.
    Show(ShowArgs),
    Add(AddArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The device.
    name: String,
}

/// Take in a key and a certificate that were made elsewhere, for example after pasting the certificate in
/// ThingsBoard's web form.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The device's name.
    name: String,
    /// Its certificate, PEM, with any above it.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its key, PEM, not encrypted.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The server that knows it.
    #[arg(long, env = "TBPROV_HOST", value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// The server's port of MQTT over TLS [default: 8883].
    #[arg(long, env = "TBPROV_PORT", value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Do not connect first. The device is then 'accepted', not 'proved'.
    #[arg(long, help_heading = "Options")]
    no_verify_connect: bool,
}

impl DevicesCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::List => "devices list",
            Self::Show(_) => "devices show",
            Self::Add(_) => "devices add",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::List => list(context),
            Self::Show(args) => args.run(context),
            Self::Add(args) => args.run(context).await,
        }
    }
}

fn list(context: &Context) -> Result<ExitCode> {
    let devices = context.store.devices()?;
    let devices = devices.into_iter().map(|(folder, device)| Entry::new(folder, device)).collect();
    context.output.result("devices list", &ListResult { store: context.store.root().to_owned(), devices });
    Ok(ExitCode::SUCCESS)
}

impl ShowArgs {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let device = context.store.open(&self.name)?;
        device.credentials()?;
        context.output.result("devices show", &ShowResult::new(device)?);
        Ok(ExitCode::SUCCESS)
    }
}

impl AddArgs {
    async fn run(self, context: &Context) -> Result<ExitCode> {
        let Some(name) = DeviceName::parse(&self.name)? else {
            return Err(Error::new(ErrorCode::UsageInvalid, "the device name is empty"));
        };
        let identity = SoftwareIdentity::read(&self.cert, &self.key)?;
        identity.leaf.check_dates(&self.cert.display().to_string())?;
        let Some(host) = host_if_named(self.host.as_ref(), context)? else {
            return Err(Error::new(ErrorCode::UsageMissing, "the server is needed").hint(Hint::GiveHost));
        };
        let dialer = self.trust.dialer(context, host, port_or_default(self.port, context))?;
        let key = Arc::clone(&identity.key);
        let credentials = Credentials::X509(identity.into());
        let lock = context.store.lock(Some(name.as_str()))?;
        if let Some(device) = context.store.find(name.as_str())? {
            let message = format!("the store already has '{}' in {}", self.name, device.directory.display());
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
        let state = if self.no_verify_connect {
            State::Accepted
        } else {
            verify::connect(&dialer, &credentials, &context.progress).await?;
            State::Proved
        };
        let new = NewDevice {
            name: Some(name.as_str()),
            server: &dialer.server,
            credentials: &credentials,
            key: Some(&*key),
            state,
        };
        let device = context.store.stage(&lock, &new)?;
        context.output.result("devices add", &ShowResult::new(device)?);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct ListResult {
    store: PathBuf,
    devices: Vec<Entry>,
}

/// A device of the list, or why it cannot be read.
#[derive(Serialize)]
struct Entry {
    folder: String,
    #[serde(flatten)]
    record: Option<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Entry {
    fn new(folder: String, device: Result<Device>) -> Self {
        match device {
            Ok(device) => Self { folder, record: Some(device.record), error: None },
            Err(error) => Self { folder, record: None, error: Some(error.message) },
        }
    }
}

impl fmt::Display for ListResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.devices.is_empty() {
            return write!(
                formatter,
                "{} has no device yet: make one with 'tbprov provision'",
                self.store.display()
            );
        }
        let width =
            self.devices.iter().map(|entry| entry.folder.chars().count()).max().unwrap_or(0).clamp(6, 40);
        writeln!(
            formatter,
            "{:<width$}  {:<8}  {:<10}  {:<28}  CREDENTIALSID",
            "DEVICE", "STATE", "EXPIRES", "SERVER"
        )?;
        for Entry { folder, record, error } in &self.devices {
            let Some(record) = record else {
                writeln!(formatter, "{folder:<width$}  damaged   {}", error.as_deref().unwrap_or_default())?;
                continue;
            };
            let end = record.not_after.map_or_else(|| "-".to_owned(), |end| end.date().to_string());
            let server = format!("{}:{}", record.host, record.port);
            let id = record.credentials_id.as_deref().unwrap_or("-");
            writeln!(
                formatter,
                "{folder:<width$}  {:<8}  {end:<10}  {server:<28}  {id}",
                record.state.as_str()
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct ShowResult {
    directory: PathBuf,
    #[serde(flatten)]
    members: Members,
    #[serde(skip)]
    record: Record,
}

/// The record's members but its `schema`, which would stand beside the result's own.
type Members = serde_json::Map<String, serde_json::Value>;

impl ShowResult {
    fn new(device: Device) -> Result<Self> {
        let mut members: Members = serde_json::to_value(&device.record)
            .and_then(serde_json::from_value)
            .map_err(|error| Error::new(ErrorCode::Bug, "the record could not be shown").source(error))?;
        members.remove("schema");
        Ok(Self { directory: device.directory, members, record: device.record })
    }
}

impl fmt::Display for ShowResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        writeln!(
            formatter,
            "device          {}",
            record.device.as_deref().unwrap_or("(named by the server)")
        )?;
        writeln!(formatter, "state           {}", record.state.as_str())?;
        writeln!(formatter, "server          {}:{}", record.host, record.port)?;
        writeln!(formatter, "credentials     {}", record.credentials_type)?;
        if let Some(id) = &record.credentials_id {
            writeln!(formatter, "credentialsId   {id}")?;
        }
        if let Some(key_type) = record.key_type {
            writeln!(formatter, "key             {key_type}")?;
        }
        if let Some(end) = record.not_after {
            writeln!(formatter, "valid until     {}", end.date())?;
        }
        if let Some(flashed) = &record.flashed {
            writeln!(formatter, "flashed         {} to {} {}", flashed.at.date(), flashed.chip, flashed.mac)?;
        }
        writeln!(formatter, "saved in        {}", self.directory.display())
    }
}
