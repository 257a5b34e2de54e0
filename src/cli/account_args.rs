//! The account at ThingsBoard's REST API: where the API is, who asks, and what proves it.
//!
//! Whoever names the URL decides who gets the secret. So a secret goes only to a URL from the same source, and a
//! configuration file that nobody named gives neither.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::context::Context;
use super::prompt::Question;
use super::secret_file::read;
use super::values::{Given, Source, variable};
use tbprov::dial::{Dialer, Proxy};
use tbprov::error::Hint;
use tbprov::rest::{Account, ApiUrl, Login};
use tbprov::server::Server;
use tbprov::tls::{Trust, TrustSource};
use tbprov::{Error, ErrorCode, Result, Secret};

const PASSWORD: Question = Question {
    text: "Password of the ThingsBoard account",
    otherwise: "--api-password-file FILE (- is stdin) with --api-url, or TBPROV_API_PASSWORD with TBPROV_API_URL",
};

/// Who asks ThingsBoard's REST API.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Account")]
pub(super) struct AccountArgs {
    /// The address of ThingsBoard's web pages, such as https://tb.example.com. [env: TBPROV_API_URL]
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// The first line of this file is an API key (ThingsBoard 4.3 and later); - is stdin. [env: TBPROV_API_KEY has the
    /// key]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["api_user", "api_password_file"])]
    api_key_file: Option<PathBuf>,
    /// A user of ThingsBoard: the e-mail address of a tenant administrator. [env: TBPROV_API_USER]
    #[arg(long, value_name = "NAME")]
    api_user: Option<String>,
    /// The first line of this file is the user's password; - is stdin. Without it, the password is asked for. [env:
    /// TBPROV_API_PASSWORD has the password]
    #[arg(long, value_name = "FILE")]
    api_password_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted for the REST API, as --server-cert is for MQTT [default: the system's roots].
    /// [env: TBPROV_API_CERT]
    #[arg(long, value_name = "FILE")]
    api_cert: Option<PathBuf>,
    /// Send the login over http:// to another machine too. Everybody on the way can read it.
    #[arg(long)]
    insecure_http: bool,
}

/// Where a URL and its secret come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Flags,
    Environment,
    /// The names of ThingsBoard's own command-line tool.
    OthersEnvironment,
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Flags => "a flag",
            Self::Environment => "a TBPROV_API_… variable",
            Self::OthersEnvironment => "a TB_… variable",
            Self::File => "the configuration file",
        })
    }
}

/// A secret, or the file that has it.
enum Held {
    File(PathBuf),
    Text(Given<String>),
}

impl Held {
    async fn read(self, context: &Context, what: &str) -> Result<Secret> {
        let Given { source, value } = match self {
            Self::Text(Given { source, value }) => Given { source, value: Secret::new(value) },
            Self::File(path) => {
                let source = Source::Other(format!("the file of {what}"));
                Given { source, value: read(context, &path, what).await? }
            }
        };
        source.check_seen(value.expose())?;
        if value.expose().trim().is_empty() { Err(source.is_empty()) } else { Ok(value) }
    }
}

/// What one source gives.
struct Offer {
    origin: Origin,
    url: Option<Given<String>>,
    key: Option<Held>,
    user: Option<Given<String>>,
    password: Option<Held>,
}

impl Offer {
    const fn has_secret(&self) -> bool {
        self.key.is_some() || self.password.is_some()
    }

    /// What proves `user`, or whom the key belongs to; nothing where the password would have to be asked for and may not be.
    async fn login(
        self,
        user: Option<Given<String>>,
        may_ask: bool,
        context: &Context,
    ) -> Result<Option<Login>> {
        let password = match (self.key, self.password) {
            (Some(_), Some(_)) => return Err(two_logins(self.origin)),
            (Some(key), None) => return Ok(Some(Login::ApiKey(key.read(context, "the API key").await?))),
            (None, password) => password,
        };
        let Given { source, value: name } = user.ok_or_else(no_user)?;
        source.check(&name)?;
        if name.trim().is_empty() {
            return Err(source.is_empty());
        }
        let password = match password {
            Some(password) => password.read(context, "the password").await?,
            None if may_ask => PASSWORD.ask_hidden(context, false).await?,
            None => return Ok(None),
        };
        Ok(Some(Login::User { name, password }))
    }
}

impl AccountArgs {
    /// Whether a secret comes from stdin.
    pub(super) fn reads_stdin(&self) -> bool {
        [&self.api_key_file, &self.api_password_file]
            .into_iter()
            .any(|file| file.as_deref() == Some(Path::new("-")))
    }

    /// Whether an account is named. Nothing is asked for.
    pub(super) fn is_named(&self, context: &Context) -> Result<bool> {
        Ok(self.offers(context)?.iter().any(|offer| offer.url.is_some()))
    }

    /// The account, where one is named.
    ///
    /// A password that nothing gives is asked for where `may_ask` says so; else there is no account.
    pub(super) async fn account(
        &self,
        context: &Context,
        timeout: Duration,
        proxy: Option<Proxy>,
        may_ask: bool,
    ) -> Result<Option<Account>> {
        let mut offers = self.offers(context)?;
        let Some(chosen) = offers.iter().position(|offer| offer.url.is_some()) else {
            return match offers.iter().find(|offer| offer.has_secret() || offer.origin == Origin::Flags) {
                Some(offer) => Err(no_url(offer.origin, context)),
                None => Ok(None),
            };
        };
        let user = offers.iter_mut().find_map(|offer| offer.user.take());
        let offer = offers.remove(chosen);
        // What is stronger than the URL is meant for another one: it is neither sent nor passed over.
        if let Some(other) = offers.iter().take(chosen).find(|other| other.has_secret()) {
            return Err(other_source(offer.origin, other.origin));
        }
        let Some(url) = &offer.url else { return Ok(None) };
        let url = api_url(url)?;
        self.check_scheme(&url, proxy.as_ref())?;
        if let Some(other) = offers.iter().find(|other| !offer.has_secret() && other.has_secret()) {
            return Err(other_source(offer.origin, other.origin));
        }
        let Some(login) = offer.login(user, may_ask, context).await? else { return Ok(None) };
        let trust = self.trust(context, &url)?;
        let server = Server { host: url.host().clone(), port: url.port(), trust: Arc::new(trust) };
        Ok(Some(Account::new(Dialer::new(server, timeout).through(proxy), url, login)))
    }

    /// What flags, variables and a named file give, the strongest first.
    fn offers(&self, context: &Context) -> Result<Vec<Offer>> {
        let flag = |name: &str, value: &Option<String>| {
            value.clone().map(|value| Given { source: Source::flag(name), value })
        };
        let file = |path: &Option<PathBuf>| path.clone().map(Held::File);
        let flags = Offer {
            origin: Origin::Flags,
            url: flag("--api-url", &self.api_url),
            key: file(&self.api_key_file),
            user: flag("--api-user", &self.api_user),
            password: file(&self.api_password_file),
        };
        let mut offers = Vec::new();
        if flags.url.is_some() || flags.user.is_some() || flags.has_secret() {
            offers.push(flags);
        }
        offers.extend(of_environment()?);
        let config = &context.config;
        if config.is_named {
            let line = |name, value: &Option<String>| {
                value.clone().map(|value| Given { source: Source::Line(name), value })
            };
            offers.push(Offer {
                origin: Origin::File,
                url: line("api-url", &config.api_url),
                key: file(&config.api_key_file),
                user: line("api-user", &config.api_user),
                password: file(&config.api_password_file),
            });
        }
        Ok(offers)
    }

    /// As [`Self::account`], for what cannot be done without one.
    pub(super) async fn needed(
        &self,
        context: &Context,
        timeout: Duration,
        proxy: Option<Proxy>,
    ) -> Result<Account> {
        let account = self.account(context, timeout, proxy, true).await?;
        account.ok_or_else(|| {
            let message = "this needs an account at ThingsBoard's REST API";
            Error::new(ErrorCode::UsageMissing, message).hint(without_url(context))
        })
    }

    /// Nothing secret goes over plain HTTP to another machine. Through a proxy, loopback is another machine's.
    fn check_scheme(&self, url: &ApiUrl, proxy: Option<&Proxy>) -> Result<()> {
        if url.is_tls() || self.insecure_http || (url.is_loopback() && proxy.is_none()) {
            return Ok(());
        }
        let message = format!("{url} would get the login in clear text");
        Err(Error::new(ErrorCode::UsageInvalid, message).hint(Hint::InsecureHttp))
    }

    fn trust(&self, context: &Context, url: &ApiUrl) -> Result<Trust> {
        if !url.is_tls() {
            return Ok(Trust::from_certificates(Vec::new(), TrustSource::System, false));
        }
        let of_variable = variable("TBPROV_API_CERT")?.map(|given| PathBuf::from(given.value));
        let of_file = context.config.api_cert.clone().filter(|_| context.config.is_named);
        match self.api_cert.clone().or(of_variable).or(of_file) {
            Some(path) => Trust::from_file(&path, false),
            None => Trust::system(false),
        }
    }
}

/// What the variables give: ours, else those of ThingsBoard's own command-line tool.
fn of_environment() -> Result<Option<Offer>> {
    let held = |name: &str| Ok::<_, Error>(variable(name)?.map(Held::Text));
    let of = |origin, [url, key, user, password]: [&str; 4]| -> Result<Option<Offer>> {
        let offer = Offer {
            origin,
            url: variable(url)?,
            key: held(key)?,
            user: variable(user)?,
            password: held(password)?,
        };
        Ok((offer.url.is_some() || offer.user.is_some() || offer.has_secret()).then_some(offer))
    };
    let ours = ["TBPROV_API_URL", "TBPROV_API_KEY", "TBPROV_API_USER", "TBPROV_API_PASSWORD"];
    match of(Origin::Environment, ours)? {
        Some(offer) => Ok(Some(offer)),
        // Without a URL they are another program's matter, and its way to say that there is none may be an empty one.
        None if std::env::var_os("TB_URL").is_none_or(|url| url.is_empty()) => Ok(None),
        None => of(Origin::OthersEnvironment, ["TB_URL", "TB_API_KEY", "TB_USERNAME", "TB_PASSWORD"]),
    }
}

/// The URL, whose source is named where it is none.
fn api_url(Given { source, value }: &Given<String>) -> Result<ApiUrl> {
    if value.trim().is_empty() {
        return Err(source.is_empty().hint(Hint::ApiUrlForm));
    }
    value.parse().map_err(|mut error: Error| {
        error.message = format!("{source}: {}", error.message);
        error
    })
}

fn no_url(origin: Origin, context: &Context) -> Error {
    let message = format!("the account is named by {origin}, and the URL of the REST API is not");
    Error::new(ErrorCode::UsageMissing, message).hint(without_url(context))
}

/// What helps without a URL: the file that gives one may only have to be named.
const fn without_url(context: &Context) -> Hint {
    match context.config.api_url {
        Some(_) if !context.config.is_named => Hint::NameConfig,
        _ => Hint::GiveAccount,
    }
}

fn no_user() -> Error {
    let message = "the URL of the REST API is named, and neither an API key nor a user";
    Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveAccount)
}

fn two_logins(origin: Origin) -> Error {
    let message = format!("{origin} gives both an API key and a password");
    Error::new(ErrorCode::UsageConflict, message)
}

fn other_source(url: Origin, secret: Origin) -> Error {
    let message = format!(
        "the URL of the REST API is given by {url}, and the secret by {secret}: a secret goes only to a URL from the same source"
    );
    Error::new(ErrorCode::UsageConflict, message).hint(Hint::ApiSameSource)
}
