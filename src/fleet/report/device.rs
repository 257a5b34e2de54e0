//! One device of a report.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::identity::CredentialsType;
use crate::keys::KeyType;
use crate::ledger::roster::{Listed, Row, RowState, Trouble};

/// What helps against the failure with this code.
pub type Advise = fn(&str) -> String;

/// A row of the ledger, with what became of it. It holds no secret.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// The device's name.
    pub device: String,
    /// What people call it.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The MAC address of the board that it is for.
    pub mac: Option<String>,
    /// Whether it is a gateway.
    pub gateway: bool,
    /// How far it has come.
    pub state: RowState,
    /// How often a run has claimed it.
    pub attempts: u32,
    /// Why it is not done, where it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Why>,
    /// When it is due again, where it waits.
    #[serde(with = "rfc3339::option")]
    pub retry_at: Option<OffsetDateTime>,
    /// When it came to its end.
    #[serde(with = "rfc3339::option")]
    pub ended: Option<OffsetDateTime>,
    /// The kind of its credentials; null without an identity, as are the following.
    pub credentials_type: Option<CredentialsType>,
    /// ThingsBoard's id of its certificate.
    pub credentials_id: Option<String>,
    /// The key's type: its own, else the one that its row wants.
    pub key_type: Option<KeyType>,
    /// The certificate's last valid instant.
    #[serde(with = "rfc3339::option")]
    pub not_after: Option<OffsetDateTime>,
    /// Its server.
    pub host: Option<String>,
    /// The server's port.
    pub port: Option<u16>,
    /// The manifest that it came with; null for one that was not imported.
    pub manifest: Option<Manifest>,
    /// The client attributes of its row.
    pub client: Map<String, Value>,
    /// The Wi-Fi network of its row.
    pub wifi_ssid: Option<String>,
    /// What its row has for labels and reports: the columns `x.KEY`.
    pub x: BTreeMap<String, String>,
}

/// Why a device is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The error's code.
    pub code: String,
    /// The step that was reached.
    pub step: String,
    /// What happened.
    pub message: String,
    /// What helps.
    pub help: String,
}

/// Where a row comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The manifest's name.
    pub name: String,
    /// Its line.
    pub line: u64,
}

impl Why {
    /// The trouble of a row, with what helps.
    pub fn of(trouble: Trouble, advise: Advise) -> Self {
        let help = advise(&trouble.code);
        Self { code: trouble.code, step: trouble.step, message: trouble.message, help }
    }
}

impl Device {
    /// The row as it is reported.
    pub fn new(listed: Listed, advise: Advise) -> Self {
        let Listed { row, source, state, entry, attempts, trouble, retry_at, ended, .. } = listed;
        let Row { name, label, serial, mac, key_type, gateway, fields, .. } = row;
        let record = entry.map(|entry| entry.record);
        let identity = record.as_ref().map(|record| &record.identity);
        Self {
            device: name.as_str().to_owned(),
            label,
            serial,
            mac,
            gateway: gateway || record.as_ref().is_some_and(|record| record.wishes.gateway),
            state,
            attempts,
            error: trouble.map(|trouble| Why::of(trouble, advise)),
            retry_at,
            ended,
            credentials_type: identity.map(|identity| identity.credentials_type),
            credentials_id: identity.and_then(|identity| identity.credentials_id.clone()),
            key_type: identity.and_then(|identity| identity.key_type).or(key_type),
            not_after: identity.and_then(|identity| identity.not_after),
            host: record.as_ref().map(|record| record.host.to_string()),
            port: record.as_ref().map(|record| record.port),
            manifest: source.map(|(name, line)| Manifest { name, line }),
            client: fields.client,
            wifi_ssid: fields.wifi_ssid,
            x: fields.extra,
        }
    }
}
