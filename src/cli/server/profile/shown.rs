//! Device profiles in results. Documented in `docs/protocol.md`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::super::shell::{operand, quoted_path};
use super::written::Written;
use tbprov::rest::{Account, DeviceProfile, Strategy};
use tbprov::text::{escaped, shown_path};

/// A device profile, without its secret.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
    strategy: Option<Strategy>,
    provision_key: Option<String>,
    name_pattern: Option<String>,
    transport: String,
    default: bool,
    /// Why no device can be registered, or none can connect.
    problem: Option<&'static str>,
}

impl Shown {
    pub(super) fn new(profile: &DeviceProfile) -> Self {
        Self {
            name: profile.name().to_owned(),
            strategy: profile.strategy(),
            provision_key: profile.provision_key().map(str::to_owned),
            name_pattern: profile.name_pattern().map(str::to_owned),
            transport: profile.transport().to_owned(),
            default: profile.is_default(),
            problem: problem(profile),
        }
    }

    fn strategy(&self) -> &'static str {
        self.strategy.map_or("unknown", |strategy| match strategy {
            Strategy::Disabled => "disabled",
            Strategy::Create => "create",
            Strategy::PreProvisioned => "pre-provisioned",
            Strategy::Chain => "chain",
        })
    }
}

/// What ThingsBoard saves without complaint.
fn problem(profile: &DeviceProfile) -> Option<&'static str> {
    let Some(strategy) = profile.strategy() else {
        return Some("its strategy is unknown, or differs in the two places where ThingsBoard keeps it");
    };
    if strategy == Strategy::Disabled {
        return None;
    }
    if profile.provision_key().is_none() {
        return Some("it has no provision key");
    }
    if profile.provision_secret().is_none() {
        return Some("it has no provision secret");
    }
    if !matches!(profile.transport(), "DEFAULT" | "MQTT") {
        return Some("its transport is neither DEFAULT nor MQTT: its devices cannot connect");
    }
    None
}

#[derive(Serialize)]
pub(super) struct ListResult {
    pub(super) api_url: String,
    pub(super) profiles: Vec<Shown>,
}

impl fmt::Display for ListResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.profiles.is_empty() {
            return writeln!(formatter, "{} has no device profile", self.api_url);
        }
        let names: Vec<_> = self.profiles.iter().map(|profile| escaped(&profile.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        for (name, profile) in names.iter().zip(&self.profiles) {
            let key = profile.provision_key.as_deref().map(escaped).unwrap_or_default();
            let line = format!("{name:width$}  {:15}  {key}", profile.strategy());
            writeln!(formatter, "{}", line.trim_end())?;
            if let Some(problem) = profile.problem {
                writeln!(formatter, "{:width$}  {problem}", "")?;
            }
        }
        Ok(())
    }
}

/// The result of every command about one device profile.
#[derive(Serialize)]
pub(super) struct ProfileResult {
    outcome: &'static str,
    api_url: String,
    profile: Shown,
    written: Option<Written>,
    #[serde(skip)]
    authority: Option<PathBuf>,
}

impl ProfileResult {
    pub(super) fn new(
        outcome: &'static str,
        account: &Account,
        profile: &DeviceProfile,
        written: Option<Written>,
    ) -> Self {
        let api_url = account.url().to_string();
        Self { outcome, api_url, profile: Shown::new(profile), written, authority: None }
    }

    /// The file of the authority, for the command that comes next.
    pub(super) fn of_authority(self, path: Option<&Path>) -> Self {
        Self { authority: path.map(Path::to_owned), ..self }
    }

    /// The command that comes next.
    fn next(&self) -> Option<String> {
        let name = operand(&self.profile.name);
        match (self.profile.strategy, &self.written, &self.authority) {
            (Some(Strategy::Create | Strategy::PreProvisioned), Some(Written { file, .. }), _) => {
                Some(format!("tbprov provision --config {}", quoted_path(file)))
            }
            (Some(Strategy::Create | Strategy::PreProvisioned), None, _) if self.outcome != "disabled" => {
                Some(format!("tbprov server profile show --write tbprov.toml {name}"))
            }
            (Some(Strategy::Chain), _, Some(ca)) => Some(format!(
                "tbprov provision --ca-cert {} --ca-key KEY --device-name NAME",
                quoted_path(ca)
            )),
            _ => None,
        }
    }
}

impl fmt::Display for ProfileResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown { name, provision_key, name_pattern, transport, default, problem, .. } = &self.profile;
        let default = if *default { ", the tenant's default" } else { "" };
        writeln!(formatter, "device profile  {} ({}{default})", escaped(name), self.outcome)?;
        writeln!(formatter, "strategy        {}", self.profile.strategy())?;
        if let Some(key) = provision_key {
            writeln!(formatter, "provision key   {}", escaped(key))?;
        }
        if let Some(pattern) = name_pattern {
            writeln!(formatter, "name pattern    {}", escaped(pattern))?;
        }
        if transport != "DEFAULT" {
            writeln!(formatter, "transport       {}", escaped(transport))?;
        }
        if let Some(problem) = problem {
            writeln!(formatter, "problem         {problem}")?;
        }
        if let Some(Written { file, secret_file }) = &self.written {
            writeln!(formatter, "written to      {}", shown_path(file))?;
            writeln!(formatter, "secret in       {}", shown_path(secret_file))?;
        }
        match self.next() {
            Some(next) => writeln!(formatter, "\nnext: {next}"),
            None => Ok(()),
        }
    }
}
