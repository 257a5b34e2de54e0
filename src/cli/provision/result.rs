//! What `tbprov provision` tells at the end.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::cli::telemetry_args::TelemetryResult;
use tbprov::DeviceName;
use tbprov::State;
use tbprov::flow::Provisioned;
use tbprov::flow::{DEFAULT_KEY_TYPE, IdentityPlan, ProvisionPlan};
use tbprov::identity::CredentialsType;
use tbprov::keys::KeyType;
use tbprov::server::Host;
use tbprov::tls::TrustSource;

#[derive(Serialize)]
struct ServerResult {
    host: Host,
    port: u16,
    tls: Option<&'static str>,
}

#[derive(Serialize)]
struct Verified {
    answer: bool,
    connect: bool,
    mutual_tls: bool,
}

#[derive(Serialize)]
struct TimingsResult {
    key: f64,
    exchange: f64,
    verify: f64,
}

/// The result of `provision`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
pub(super) struct ProvisionResult {
    outcome: &'static str,
    device: String,
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
}

impl ProvisionResult {
    pub(super) fn new(done: &Provisioned) -> Self {
        let record = &done.device.record;
        let milliseconds = |duration: std::time::Duration| (duration.as_secs_f64() * 1e5).round() / 1e2;
        Self {
            outcome: done.outcome.as_str(),
            device: done.device.shown_name(),
            credentials_id: record.credentials_id.clone(),
            directory: done.device.directory.clone(),
            server: ServerResult {
                host: record.host.clone(),
                port: record.port,
                tls: done.proof.map(|proof| proof.tls_version),
            },
            key_type: record.key_type,
            not_after: record.not_after,
            verified: Verified {
                answer: done.answer_verified,
                connect: done.proof.is_some(),
                mutual_tls: done.proof.is_some() && record.credentials_type == CredentialsType::X509,
            },
            proved: record.state == State::Proved,
            telemetry: TelemetryResult::from(done.telemetry),
            timings_ms: TimingsResult {
                key: milliseconds(done.timings.key),
                exchange: milliseconds(done.timings.exchange),
                verify: milliseconds(done.timings.verify),
            },
        }
    }
}

impl fmt::Display for ProvisionResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "device          {} ({})", self.device, self.outcome)?;
        if let Some(id) = &self.credentials_id {
            writeln!(formatter, "credentialsId   {id}")?;
        }
        writeln!(
            formatter,
            "server          {} {}",
            self.server.host.with_port(self.server.port),
            self.server.tls.unwrap_or_default()
        )?;
        if let Some(end) = self.not_after {
            writeln!(formatter, "valid until     {}", end.date())?;
        }
        writeln!(formatter, "saved in        {}", self.directory.display())?;
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
    pub(super) fn new(plan: &ProvisionPlan) -> Self {
        let identity = match &plan.identity {
            IdentityPlan::Generate { key_type, days } => {
                json!({"generate": {"key_type": key_type.unwrap_or(DEFAULT_KEY_TYPE), "days": days}})
            }
            IdentityPlan::Existing(identity) => {
                json!({"existing": {"credentials_id": identity.leaf.credentials_id()}})
            }
            IdentityPlan::AccessToken => json!({"generate": "access-token"}),
            IdentityPlan::MqttBasic => json!({"generate": "mqtt-basic"}),
        };
        let trust = match &plan.dialer.server.trust.source {
            TrustSource::File(path) => json!({"file": path}),
            TrustSource::System => json!("system"),
        };
        Self {
            dry_run: json!({
                "host": plan.dialer.server.host,
                "port": plan.dialer.server.port,
                "trust": trust,
                "skip_name_check": plan.dialer.server.trust.skip_name_check,
                "timeout_s": plan.dialer.timeout.as_secs_f64(),
                "provision_key": plan.provision_key,
                "provision_secret": "[hidden]",
                "device": plan.device_name.as_ref().map(DeviceName::as_str),
                "credentials_type": plan.identity.credentials_type(),
                "identity": identity,
                "gateway": plan.gateway,
                "verify_connect": plan.verify_connect,
                "send_telemetry": plan.telemetry.is_some(),
                "store": plan.store.root(),
            }),
        }
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
