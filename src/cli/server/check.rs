//! `tbprov server check`

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::ApiArgs;
use tbprov::Result;
use tbprov::rest::{Authority, Release, User};
use tbprov::text::escaped;

/// Log in, and show what the account may do, and the server's release.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    api: ApiArgs,
}

impl CheckArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let account = self.api.account(context).await?;
        let User { email, authority } = account.user(&context.progress).await?;
        let release = account.release(&context.progress).await?;
        let result = CheckResult {
            api_url: account.url().to_string(),
            user: email,
            authority,
            release: release.as_ref().map(|release| release.version.clone()),
            edition: release.and_then(|Release { edition, .. }| edition),
            can: Rights { administer_devices: authority.administers_devices() },
        };
        context.output.result("server check", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of `server check`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct CheckResult {
    api_url: String,
    user: String,
    authority: Authority,
    release: Option<String>,
    edition: Option<String>,
    can: Rights,
}

/// What the account can do with tbprov.
#[derive(Serialize)]
struct Rights {
    /// Device profiles, devices, credentials and telemetry.
    administer_devices: bool,
}

impl fmt::Display for CheckResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authority, can) = match self.authority {
            Authority::TenantAdmin => (
                "a tenant administrator",
                "everything: device profiles, devices and their credentials, telemetry, rotation",
            ),
            Authority::SysAdmin => (
                "a system administrator",
                "nothing with devices: they belong to tenants; use an account of a tenant administrator",
            ),
            Authority::CustomerUser => {
                ("a customer user", "nothing: device profiles and credentials are a tenant administrator's")
            }
            Authority::Other => ("of an authority that tbprov does not know", "perhaps nothing"),
        };
        writeln!(formatter, "{} is {authority} at {}", escaped(&self.user), self.api_url)?;
        match (&self.release, &self.edition) {
            (Some(release), Some(edition)) => {
                writeln!(formatter, "release: {} ({})", escaped(release), escaped(edition))?;
            }
            (Some(release), None) => writeln!(formatter, "release: {}", escaped(release))?,
            (None, _) => writeln!(formatter, "release: the server does not tell it (before 3.3)")?,
        }
        writeln!(formatter, "tbprov can do there: {can}")
    }
}
