//! What `tbprov provision` tells at the end.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::super::results::{ServerResult, milliseconds};
use super::super::telemetry_args::TelemetryResult;
use tbprov::dial::Dialer;
use tbprov::flow::{
    DEFAULT_DAYS, DEFAULT_KEY_TYPE, IdentityPlan, ProvisionPlan, Provisioned, RegistrationPlan,
};
use tbprov::identity::CredentialsType;
use tbprov::keys::KeyType;
use tbprov::text::shown_path;
use tbprov::tls::TrustSource;
use tbprov::{DeviceName, State};

#[derive(Serialize)]
struct Verified {
    answer: bool,
    connect: bool,
    mutual_tls: bool,
}

#[derive(Serialize)]
struct TimingsResult {
    #[serde(serialize_with = "milliseconds")]
    key: Duration,
    #[serde(serialize_with = "milliseconds")]
    exchange: Duration,
    #[serde(serialize_with = "milliseconds")]
    verify: Duration,
}

/// The result of `provision`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
pub(super) struct ProvisionResult {
    outcome: &'static str,
    device: String,
    credentials_type: CredentialsType,
    credentials_id: Option<String>,
    directory: PathBuf,
    server: ServerResult,
    key_type: Option<KeyType>,
    #[serde(with = "time::serde::rfc3339::option")]
    not_after: Option<time::OffsetDateTime>,
    verified: Verified,
    #[serde(skip)]
    proved: bool,
    telemetry: TelemetryResult,
    timings_ms: TimingsResult,
    /// Out of which the server takes the device's name, where the connect registered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<String>,
}

impl ProvisionResult {
    pub(super) fn new(plan: &ProvisionPlan, done: &Provisioned) -> Self {
        let record = &done.entry.record;
        let identity = &record.identity;
        Self {
            outcome: done.outcome.as_str(),
            device: done.entry.shown_name().to_owned(),
            credentials_type: identity.credentials_type,
            credentials_id: identity.credentials_id.clone(),
            directory: done.entry.directory.clone().unwrap_or_default(),
            server: ServerResult {
                host: record.host.clone(),
                port: record.port,
                tls: done.proof.map(|proof| proof.tls_version),
            },
            key_type: identity.key_type,
            not_after: identity.not_after,
            verified: Verified {
                answer: done.answer_verified,
                connect: done.proof.is_some(),
                mutual_tls: done.proof.is_some_and(|proof| proof.mutual_tls),
            },
            proved: record.state() == State::Proved,
            telemetry: TelemetryResult::from(done.telemetry),
            timings_ms: TimingsResult {
                key: done.timings.key,
                exchange: done.timings.exchange,
                verify: done.timings.verify,
            },
            common_name: match &plan.registration {
                RegistrationPlan::ByRequest { .. } => None,
                RegistrationPlan::AtConnect { common_name, .. } => Some(common_name.clone()),
            },
        }
    }
}

impl fmt::Display for ProvisionResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "device          {} ({})", self.device, self.outcome)?;
        match &self.credentials_id {
            Some(id) => writeln!(formatter, "credentialsId   {id}")?,
            None => writeln!(formatter, "credentials     {}, in credentials.json", self.credentials_type)?,
        }
        let server = self.server.host.with_port(self.server.port);
        match self.server.tls {
            Some(tls) => writeln!(formatter, "server          {server} {tls}")?,
            None => writeln!(formatter, "server          {server}")?,
        }
        if let Some(common_name) = &self.common_name {
            writeln!(
                formatter,
                "name there      what the profile's pattern takes out of the common name '{common_name}'; tbprov cannot see it"
            )?;
        }
        if let Some(end) = self.not_after {
            writeln!(formatter, "valid until     {}", end.date())?;
        }
        writeln!(formatter, "saved in        {}", shown_path(&self.directory))?;
        if self.telemetry.is_any() {
            writeln!(formatter, "telemetry       {}", self.telemetry)?;
        }
        if !self.proved {
            writeln!(formatter, "not proved yet  run the same command without --no-verify-connect")?;
        }
        Ok(())
    }
}

/// What `--dry-run` prints: the whole plan but the secret.
#[derive(Serialize)]
pub(super) struct DryRun {
    dry_run: serde_json::Value,
}

impl DryRun {
    pub(super) fn new(plan: &ProvisionPlan, dialer: &Dialer, store: &Path) -> Self {
        let server = &dialer.server;
        let trust = match &server.trust.source {
            TrustSource::File(path) => json!({"file": path}),
            TrustSource::System => json!("system"),
        };
        let mut members = json!({
            "host": server.host,
            "port": server.port,
            "trust": trust,
            "skip_name_check": server.trust.skip_name_check,
            "timeout_s": dialer.timeout.as_secs_f64(),
            "answer_timeout_s": plan.answer_timeout.as_secs_f64(),
            "device": plan.device_name.as_ref().map(DeviceName::as_str),
            "credentials_type": plan.identity.credentials_type(),
            "identity": identity(&plan.identity),
            "verify_connect": plan.verify_connect,
            "send_telemetry": plan.telemetry.is_some(),
            "store": store,
        });
        if let Some(proxy) = &dialer.proxy {
            members["proxy"] = json!(proxy.to_string());
        }
        match &plan.registration {
            RegistrationPlan::ByRequest { provision_key, gateway, .. } => {
                members["provision_key"] = json!(provision_key);
                members["provision_secret"] = json!("[hidden]");
                members["gateway"] = json!(gateway);
            }
            RegistrationPlan::AtConnect { issuer, common_name } => {
                members["issuer"] = json!(issuer.leaf.subject);
                members["common_name"] = json!(common_name);
            }
        }
        Self { dry_run: members }
    }
}

fn identity(plan: &IdentityPlan) -> serde_json::Value {
    match plan {
        IdentityPlan::Generate { key_type, days } => json!({"generate": {
            "key_type": key_type.unwrap_or(DEFAULT_KEY_TYPE),
            "days": days.unwrap_or(DEFAULT_DAYS),
        }}),
        IdentityPlan::Given(identity) => {
            json!({"existing": {"credentials_id": identity.leaf.credentials_id()}})
        }
        IdentityPlan::AccessToken => json!({"generate": "access-token"}),
        IdentityPlan::MqttBasic => json!({"generate": "mqtt-basic"}),
    }
}

impl fmt::Display for DryRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "nothing was done; this is what would be:")?;
        let Some(members) = self.dry_run.as_object() else { return Ok(()) };
        for (name, value) in members {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(formatter, "  {name:<16} {value}")?;
        }
        Ok(())
    }
}
