//! What goes into the identity on a chip, beside the device's own files.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tbprov_contract::identity::{check_ssid, check_wifi_password};
use zeroize::Zeroizing;

use super::super::context::Context;
use super::super::prompt::Question;
use super::super::secret_file::{self, clap_secret};
use super::super::server_args::{BeliefArgs, clap_host, clap_port, parse_duration};
use super::super::values::{Given, Source, variable};
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::firmware::{self, Chip, IdentityOptions, Wifi};
use tbprov::ledger::Entry;
use tbprov::server::Host;
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Secret, State, Step};

/// The identity's options, the same for every command that writes one for a board.
#[derive(Debug, Args)]
#[command(next_help_heading = "Identity")]
pub(super) struct IdentityArgs {
    /// The wireless network's name, for boards with WiFi.
    #[arg(long, env = "TBPROV_WIFI_SSID", value_name = "SSID", value_parser = clap_ssid)]
    wifi_ssid: Option<String>,
    /// The wireless network's password, empty for an open network [default: TBPROV_WIFI_PASSWORD, else asked
    /// for].
    #[arg(long, value_name = "PASSWORD", value_parser = clap_secret, requires = "wifi_ssid")]
    wifi_password: Option<Secret>,
    /// A file with the wireless network's password; - is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "wifi_password", requires = "wifi_ssid")]
    wifi_password_file: Option<PathBuf>,
    /// Connect to this IPv4 address and port instead of looking the host up; its certificate is checked for the
    /// host all the same.
    #[arg(long, value_name = "IP:PORT")]
    address: Option<SocketAddrV4>,
    #[command(flatten)]
    session: SessionArgs,
}

/// What every identity holds, the emulated board's too.
#[derive(Debug, Args)]
#[command(next_help_heading = "Identity")]
pub(super) struct SessionArgs {
    /// The pause between two readings.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    interval: Duration,
    /// The MQTT topic of readings [default: v1/devices/me/telemetry].
    #[arg(long, value_name = "TOPIC")]
    telemetry_topic: Option<String>,
    /// An SNTP server, HOST or HOST:PORT; without one the firmware cannot check the server's validity dates.
    #[arg(long, env = "TBPROV_TIME_SERVER", value_name = "HOST")]
    time_server: Option<String>,
    /// The first pause before the firmware connects again; it doubles with each failure.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    retry: Duration,
    /// Another server than the device's own.
    #[arg(long, value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// Another port than the device's own.
    #[arg(long = "server-port", value_name = "PORT", value_parser = clap_port)]
    server_port: Option<u16>,
    #[command(flatten)]
    belief: BeliefArgs,
    /// Use a device whose identity was never proved by a connect.
    #[arg(long)]
    force: bool,
}

const PASSWORD_VARIABLE: &str = "TBPROV_WIFI_PASSWORD";

/// For clap.
fn clap_ssid(text: &str) -> Result<String, &'static str> {
    check_ssid(text).map(|()| text.to_owned())
}

const WIFI_PASSWORD: Question = Question {
    text: "Password of the wireless network",
    otherwise: "--wifi-password-file FILE or TBPROV_WIFI_PASSWORD (empty for an open network)",
};

impl SessionArgs {
    /// The server that `device`, which has to be proved unless forced, shall connect to.
    pub(super) async fn dialer(&self, context: &Context, device: &Entry) -> Result<Dialer> {
        if device.record.state() != State::Proved && !self.force {
            let message =
                format!("'{}' is {}, not proved", device.shown_name(), device.record.state().as_str());
            return Err(Error::new(ErrorCode::StoreNotProved, message));
        }
        self.belief.dialer_for(context, device, self.host.clone(), self.server_port).await
    }

    /// The options, for a board with a cable that finds the server by itself.
    pub(super) fn options(&self) -> IdentityOptions {
        let defaults = IdentityOptions::default();
        IdentityOptions {
            interval: self.interval,
            topic: self.telemetry_topic.clone().unwrap_or(defaults.topic),
            time_server: self.time_server.clone(),
            retry: self.retry,
            wifi: None,
            address: None,
        }
    }
}

impl IdentityArgs {
    /// See [`SessionArgs::dialer`].
    pub(super) async fn dialer(&self, context: &Context, device: &Entry) -> Result<Dialer> {
        self.session.dialer(context, device).await
    }

    /// The bytes of the identity partition; asks for the WiFi password where nothing else gives it.
    pub(super) async fn partition(
        &self,
        context: &Context,
        device: &Entry,
        dialer: &Dialer,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let options = IdentityOptions {
            wifi: self.wifi(context, device).await?,
            address: self.address,
            ..self.session.options()
        };
        context.progress.begin(Step::Identity);
        let partition = firmware::partition(&*context.ledger, device, &dialer.server, &options).await?;
        if let Some(why) = firmware::unreachable(&dialer.server, &options) {
            context
                .progress
                .warn(format!("{why}; say with --address IP:PORT where it is in the board's network"));
        }
        if let Some(why) = firmware::unreachable_time_server(&options) {
            context.progress.warn(format!("{why}; name another with --time-server HOST"));
        }
        Ok(partition)
    }

    /// Whether a wireless network is named.
    pub(super) async fn names_wifi(&self, context: &Context, device: &Entry) -> Result<bool> {
        Ok(self.ssid(context, device).await?.is_some())
    }

    /// The name of the wireless network: by flag, else by the device's row in the ledger of a fleet.
    async fn ssid(&self, context: &Context, device: &Entry) -> Result<Option<String>> {
        match &self.wifi_ssid {
            Some(ssid) => Ok(Some(ssid.clone())),
            None => context.wifi_ssid_of(device.shown_name()).await,
        }
    }

    /// Warns where the identity names no wireless network although the board may need one.
    pub(super) async fn warn_without_network(
        &self,
        context: &Context,
        device: &Entry,
        chip: Chip,
        ethernet: bool,
    ) -> Result<()> {
        let has_network = ethernet || self.names_wifi(context, device).await?;
        if let Some(warning) = firmware::without_network(chip, has_network) {
            context.progress.warn(warning);
        }
        Ok(())
    }

    async fn wifi(&self, context: &Context, device: &Entry) -> Result<Option<Wifi>> {
        let Some(ssid) = self.ssid(context, device).await? else { return Ok(None) };
        let password = match self.given_password(context).await? {
            Some(Given { source, value: password }) => {
                source.check(password.expose())?;
                check_wifi_password(password.expose()).map_err(|why| {
                    let message = format!("{source} is no password of a wireless network: {why}");
                    Error::new(ErrorCode::UsageInvalid, message)
                })?;
                password
            }
            None => ask_for_password(context).await?,
        };
        Ok(Some(Wifi { ssid, password: Zeroizing::new(password.expose().to_owned()) }))
    }

    /// The wireless network's password, unless it is to be asked for, and what to call where it comes from.
    async fn given_password(&self, context: &Context) -> Result<Option<Given<Secret>>> {
        if let Some(password) = &self.wifi_password {
            return Ok(Some(Given { source: Source::flag("--wifi-password"), value: password.clone() }));
        }
        if let Some(path) = &self.wifi_password_file {
            let password = secret_file::read(context, path, "the WiFi password").await?;
            if password.expose().is_empty() {
                let message = format!("{} holds no WiFi password", shown_path(path));
                return Err(Error::new(ErrorCode::UsageInvalid, message).hint(Hint::OpenNetwork));
            }
            let source = Source::Other(format!("what {} holds", shown_path(path)));
            return Ok(Some(Given { source, value: password }));
        }
        let given = variable(PASSWORD_VARIABLE)?;
        Ok(given.map(|Given { source, value }| Given { source, value: Secret::new(value) }))
    }
}

/// Asks until there is a password that a wireless network can have.
async fn ask_for_password(context: &Context) -> Result<Secret> {
    loop {
        let password = WIFI_PASSWORD.ask_hidden(context, false).await?;
        match check_wifi_password(password.expose()) {
            Ok(()) => return Ok(password),
            Err(why) => context.progress.warn(format!("this is no password of a wireless network: {why}")),
        }
    }
}
