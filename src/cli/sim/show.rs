//! What the simulator tells while it serves.

use std::sync::Arc;

use crate::output::{Format, Mark, Output};
use tbprov::sim::{self, Event};

/// Shows the simulator's events: NDJSON where that was asked for, else a line for what matters.
pub(super) fn observer(output: &Output) -> Arc<dyn sim::Observer> {
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
            Event::Registered { device, replaced, .. } => {
                let what = if *replaced {
                    "has another certificate now"
                } else {
                    "is registered by its certificate"
                };
                self.0.told(Mark::Passed, &format!("{device} {what}"))
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
            Event::RestCall { method, path, status, .. } => {
                let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
                let mark = if status.starts_with('2') { Mark::Passed } else { Mark::Failed };
                self.0.told(mark, &format!("REST: {method} {path}: {status}"));
            }
            Event::Fault { name, .. } => self.0.told(Mark::Warning, &format!("fault: {name}")),
            Event::NotSimulated { device, what, .. } => {
                let device = device.clone().unwrap_or_else(unnamed);
                self.0.told(Mark::Warning, &format!("{device} tried what is not simulated: {what}"));
            }
            Event::Closed { connection, device, reason, is_news: true } => {
                let who = device.clone().unwrap_or_else(|| format!("connection {connection}"));
                self.0.told(Mark::Failed, &format!("{who} closed: {reason}"));
            }
            _ => {}
        }
    }
}
