//! `tbprov server profile create`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::super::super::context::Context;
use super::super::super::values::Source;
use super::super::ApiArgs;
use super::shown::ProfileResult;
use super::{LENGTH, WriteArgs, may_be_made};
use tbprov::error::Hint;
use tbprov::identity::{Certificate, read_certificate_file};
use tbprov::rest::{Account, NewProfile, Provisioning};
use tbprov::sim::NamePattern;
use tbprov::text::{shown, shown_path};
use tbprov::{Error, ErrorCode, Result, Secret};

/// Characters of a name, at the most (`DeviceProfile.name`).
const LONGEST_NAME: usize = 255;

/// Takes the whole common name.
const WHOLE_NAME: &str = "(.*)";

/// Make a device profile with a provisioning strategy, and its provision key and secret.
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The device profile's name.
    name: String,
    /// How devices are registered.
    #[arg(long, value_enum, value_name = "STRATEGY", default_value = "create")]
    strategy: StrategyChoice,
    /// The authority of the strategy 'chain' (PEM), whose certificates register devices.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What takes the device's name out of a certificate's common name: a regular expression, whose first group is the
    /// name [default: (.*)].
    #[arg(long, value_name = "REGEX", requires = "ca")]
    name_pattern: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyChoice {
    /// A provision request makes the device.
    Create,
    /// A provision request finds the device, which has to be there.
    PreProvisioned,
    /// A connect with a certificate of --ca makes the device (ThingsBoard 3.5 and later).
    Chain,
}

impl CreateArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        check_name(&self.name)?;
        let provisioning = self.provisioning()?;
        let account = self.api.account(context).await?;
        if account.profile(&self.name, &context.progress).await?.is_some() {
            let message = format!("{} has a device profile '{}' already", account.url(), shown(&self.name));
            return Err(Error::new(ErrorCode::RestRefused, message).hint(Hint::ShowProfile));
        }
        let file = match &provisioning {
            Provisioning::Request { key, .. } => self.write.prepared(key)?,
            _ => None,
        };
        if self.strategy == StrategyChoice::Chain {
            check_release(&account, context).await?;
        }
        let new = NewProfile { name: &self.name, provisioning: &provisioning };
        let made = account.create_profile(&new, &context.progress).await;
        // The server has key and secret, which can be read again.
        let profile = made.map_err(may_be_made)?;
        let written = match (&provisioning, file) {
            (Provisioning::Request { secret, .. }, Some(file)) => {
                Some(file.write(secret).map_err(|error| error.hint(Hint::ShowProfile))?)
            }
            _ => None,
        };
        let ca = self.ca.as_deref();
        let result = ProfileResult::new("created", &account, &profile, written).of_authority(ca);
        context.output.result("server profile create", &result);
        Ok(ExitCode::SUCCESS)
    }

    /// Key and secret are made here: the server makes none, and saves a profile without.
    fn provisioning(&self) -> Result<Provisioning> {
        if self.strategy != StrategyChoice::Chain {
            if self.ca.is_some() {
                return Err(conflict("--ca is for the strategy 'chain'"));
            }
            return Ok(Provisioning::Request {
                pre_provisioned: self.strategy == StrategyChoice::PreProvisioned,
                key: Secret::random(LENGTH)?.expose().to_owned(),
                secret: Secret::random(LENGTH)?,
            });
        }
        if self.write.write.is_some() {
            return Err(conflict(
                "--write is for a provision key and secret, and the strategy 'chain' has none",
            ));
        }
        let Some(path) = &self.ca else {
            let message = "the strategy 'chain' needs the authority's certificate";
            return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveBy("--ca FILE")));
        };
        let name_pattern = self.name_pattern.clone().unwrap_or_else(|| WHOLE_NAME.to_owned());
        if let Some(problem) = NamePattern::new(&name_pattern).problem() {
            return Err(Error::new(ErrorCode::UsageInvalid, format!("--name-pattern: {problem}")));
        }
        Ok(Provisioning::Chain { authority: authority(path)?, name_pattern })
    }
}

/// The first certificate of a file: it alone counts in a device profile.
fn authority(path: &Path) -> Result<Certificate> {
    let origin = shown_path(path);
    let Some(authority) = read_certificate_file(path)?.into_iter().next() else {
        return Err(Error::new(ErrorCode::FileNotPem, format!("{origin} has no certificate")));
    };
    if !authority.is_ca {
        let message = format!("the first certificate of {origin} is not an authority's (CA:TRUE)");
        return Err(Error::new(ErrorCode::FileCertificate, message).hint(Hint::MakeAuthority));
    }
    authority.check_dates(&origin)?;
    Ok(authority)
}

fn check_name(name: &str) -> Result<()> {
    let source = Source::Other("the device profile's name".to_owned());
    source.check_seen(name)?;
    if name.trim().is_empty() {
        return Err(source.is_empty());
    }
    let why = match () {
        () if name.trim() != name => "begins or ends with a blank",
        () if name.chars().count() > LONGEST_NAME => "has more than 255 characters",
        () => return Ok(()),
    };
    Err(Error::new(ErrorCode::UsageInvalid, format!("{source} {why}")))
}

/// Earlier releases answer with a failure of their own.
async fn check_release(account: &Account, context: &Context) -> Result<()> {
    let release = account.release(&context.progress).await?.map(|release| release.version);
    let number = |text: &str| {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        Some((parts.next()??, parts.next()??))
    };
    match release.as_deref().map(number) {
        Some(Some(number)) if number >= (3, 5) => Ok(()),
        // A fork may count otherwise.
        Some(None) => Ok(()),
        _ => {
            let shown = release.map_or_else(|| "before 3.3".to_owned(), |text| shown(&text));
            let message =
                format!("ThingsBoard {shown} has no X.509 certificate chain strategy, which came with 3.5");
            Err(Error::new(ErrorCode::UsageConflict, message))
        }
    }
}

fn conflict(message: &str) -> Error {
    Error::new(ErrorCode::UsageConflict, message)
}
