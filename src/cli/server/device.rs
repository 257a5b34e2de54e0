//! `tbprov server device`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::super::context::Context;
use super::{ApiArgs, moment, name_of, no_device};
use tbprov::ledger::{Entry, Subject, Which};
use tbprov::rest::{Account, Attribute, Device, DeviceCredentials};
use tbprov::server::Host;
use tbprov::text::{escaped, shown_path};
use tbprov::{ErrorCode, Result, State};

/// Show a device as the server has it, and whether its credentials are those of the store.
#[derive(Debug, Args)]
pub(in crate::cli) struct DeviceArgs {
    /// The device's name at the server.
    name: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl DeviceArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let name = name_of(&self.name)?;
        let account = self.api.account(context).await?;
        let entry = in_store(context, name).await?;
        let Some(device) = account.device(name, &context.progress).await? else {
            return Err(no_device(&account, name, context, entry.as_ref()));
        };
        let there = There::read(&account, device, context).await?;
        let whose = match &entry {
            Some(entry) => Some(whose(context, entry, &there.credentials).await?),
            None => None,
        };
        let result = DeviceResult {
            api_url: account.url().to_string(),
            device: name.to_owned(),
            server: there.result,
            store: entry.as_ref().map(StoreResult::new),
            credentials_are: whose,
        };
        context.output.result("server device", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// The device of the store with this name. One that cannot be read is told of, and is none.
pub(super) async fn in_store(context: &Context, name: &str) -> Result<Option<Entry>> {
    match context.ledger.find(Subject::Named(name)).await {
        Err(error) if error.code == ErrorCode::StoreCorrupt => {
            context.progress.warn(format!("the store's device of this name: {}", error.message));
            Ok(None)
        }
        found => found,
    }
}

/// Whose credentials the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Whose {
    Current,
    Candidate,
    Previous,
    Other,
}

async fn whose(context: &Context, entry: &Entry, there: &DeviceCredentials) -> Result<Whose> {
    let all = [
        (Which::Current, Whose::Current),
        (Which::Candidate, Whose::Candidate),
        (Which::Previous, Whose::Previous),
    ];
    for (which, whose) in all {
        let Ok((_, identity)) = entry.identity(which) else { continue };
        let is_it = match (&identity.credentials_id, there.credentials_id()) {
            (Some(held), Some(there)) => held == there,
            (None, None) => {
                let held = context.ledger.key(entry, which).await?.open(&entry.place())?;
                there.are_of(&held)
            }
            _ => false,
        };
        if is_it {
            return Ok(whose);
        }
    }
    Ok(Whose::Other)
}

/// What the server has of a device.
struct There {
    credentials: DeviceCredentials,
    result: ThereResult,
}

impl There {
    async fn read(account: &Account, device: Device, context: &Context) -> Result<Self> {
        let progress = &context.progress;
        let credentials = account.credentials(&device, progress).await?;
        let profile = account.profile_with_id(device.profile_id(), progress).await?;
        let attributes = account.server_attributes(&device, progress).await?;
        let value = |key: &str| find(&attributes, key);
        let time = |key: &str| value(key).and_then(Value::as_i64).filter(|ms| *ms > 0).and_then(moment);
        let result = ThereResult {
            id: device.id().to_owned(),
            profile: profile.map(|profile| profile.name().to_owned()),
            created: moment(device.created_time),
            credentials_type: credentials.credentials_type().to_owned(),
            credentials_id: credentials.credentials_id().map(str::to_owned),
            active: value("active").and_then(Value::as_bool),
            last_activity: time("lastActivityTime"),
            last_connect: time("lastConnectTime"),
            provision_state: value("provisionState").and_then(Value::as_str).map(str::to_owned),
        };
        Ok(Self { credentials, result })
    }
}

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

/// The result of `server device`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct DeviceResult {
    api_url: String,
    device: String,
    server: ThereResult,
    store: Option<StoreResult>,
    credentials_are: Option<Whose>,
}

#[derive(Serialize)]
struct ThereResult {
    id: String,
    profile: Option<String>,
    created: Option<String>,
    credentials_type: String,
    credentials_id: Option<String>,
    active: Option<bool>,
    last_activity: Option<String>,
    last_connect: Option<String>,
    provision_state: Option<String>,
}

#[derive(Serialize)]
struct StoreResult {
    directory: Option<PathBuf>,
    state: State,
    credentials_id: Option<String>,
    host: Host,
    port: u16,
}

impl StoreResult {
    fn new(entry: &Entry) -> Self {
        let record = &entry.record;
        Self {
            directory: entry.directory.clone(),
            state: record.state(),
            credentials_id: record.identity.credentials_id.clone(),
            host: record.host.clone(),
            port: record.port,
        }
    }
}

impl fmt::Display for DeviceResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = &self.server;
        let or_never =
            |time: &Option<String>| time.clone().unwrap_or_else(|| "none that the server knows".to_owned());
        writeln!(formatter, "device          {} at {}", escaped(&self.device), self.api_url)?;
        writeln!(formatter, "id              {}", escaped(&there.id))?;
        match &there.profile {
            Some(profile) => writeln!(formatter, "profile         {}", escaped(profile))?,
            None => writeln!(formatter, "profile         deleted meanwhile")?,
        }
        writeln!(formatter, "credentials     {}", escaped(&there.credentials_type))?;
        if let Some(id) = &there.credentials_id {
            writeln!(formatter, "credentialsId   {}", escaped(id))?;
        }
        let whose = match self.credentials_are {
            Some(Whose::Current) => "the store's current identity",
            Some(Whose::Candidate) => "the store's candidate",
            Some(Whose::Previous) => "the store's previous identity",
            Some(Whose::Other) => "not the store's",
            None => "unknown: the store has no device of this name",
        };
        writeln!(formatter, "they are        {whose}")?;
        if let Some(store) = &self.store {
            let place = store.directory.as_ref().map(shown_path).unwrap_or_default();
            let server = store.host.with_port(store.port);
            writeln!(formatter, "in the store    {}, for {server}, in {place}", store.state.as_str())?;
        }
        let active = match there.active {
            Some(true) => "yes",
            Some(false) => "no",
            None => "the server does not say",
        };
        writeln!(formatter, "active          {active}")?;
        writeln!(formatter, "last activity   {}", or_never(&there.last_activity))?;
        writeln!(formatter, "last connect    {}", or_never(&there.last_connect))?;
        if let Some(state) = &there.provision_state {
            writeln!(formatter, "provisionState  {}", escaped(state))?;
        }
        match &there.created {
            Some(created) => writeln!(formatter, "created         {created}"),
            None => writeln!(formatter, "created         at no time that can be shown"),
        }
    }
}
