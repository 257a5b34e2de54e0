//! What the server has stored of a device.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::account::Account;
use super::device::{Device, encoded};
use crate::error::Result;
use crate::event::Progress;

/// A value that the server has, with its time.
#[derive(Debug, Clone, Deserialize)]
pub struct TelemetryValue {
    /// Milliseconds since 1970, UTC.
    pub ts: i64,
    /// The value as JSON, with its own type and all its digits; `null` where there is none.
    pub value: Box<RawValue>,
}

/// An attribute that the server has.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
    /// When it was set, in milliseconds since 1970, UTC; 0 where the server does not say.
    #[serde(default)]
    pub last_update_ts: i64,
}

/// Which values are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first millisecond.
    pub from: i64,
    /// The millisecond after the last.
    pub to: i64,
    /// Values of a key, at the most: the latest ones.
    pub limit: u32,
}

impl Account {
    /// The values of a device by key, the latest first: those of `range`, or without one the latest of each key. No keys
    /// are all keys, where there is no range.
    ///
    /// # Errors
    /// Those of the network and of TLS, and the `rest/…` codes.
    pub async fn telemetry(
        &self,
        device: &Device,
        keys: &[&str],
        range: Option<Range>,
        progress: &Progress,
    ) -> Result<BTreeMap<String, Vec<TelemetryValue>>> {
        let mut path = format!(
            "/api/plugins/telemetry/DEVICE/{}/values/timeseries?useStrictDataTypes=true",
            encoded(device.id())
        );
        if !keys.is_empty() {
            path.push_str(&format!("&keys={}", encoded(&keys.join(","))));
        }
        if let Some(Range { from, to, limit }) = range {
            path.push_str(&format!("&startTs={from}&endTs={to}&limit={limit}"));
        }
        self.get(&path, progress).await
    }

    /// The keys of a device's telemetry.
    ///
    /// # Errors
    /// As [`Self::telemetry`].
    pub async fn telemetry_keys(&self, device: &Device, progress: &Progress) -> Result<Vec<String>> {
        self.get(&format!("/api/plugins/telemetry/DEVICE/{}/keys/timeseries", encoded(device.id())), progress)
            .await
    }

    /// The device's attributes that the server sets: `active`, `lastActivityTime`, `provisionState` and others.
    ///
    /// # Errors
    /// As [`Self::telemetry`].
    pub async fn server_attributes(&self, device: &Device, progress: &Progress) -> Result<Vec<Attribute>> {
        let path =
            format!("/api/plugins/telemetry/DEVICE/{}/values/attributes/SERVER_SCOPE", encoded(device.id()));
        self.get(&path, progress).await
    }
}
