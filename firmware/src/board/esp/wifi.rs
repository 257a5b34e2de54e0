//! The network by WiFi: a station in an open or WPA2 network, which joins it again for ever.

use alloc::format;
use core::fmt;

use embassy_executor::Spawner;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ConnectionError, ControllerConfig, DisconnectReason, WifiController,
    WifiError,
};
use log::{info, warn};
use tbprov_contract::report::Trouble;
use tbprov_contract::{Identity, Wifi};
use tbprov_firmware_app::life::carries_nothing;
use tbprov_firmware_app::unusable;
use tbprov_firmware_app::wifi::unsuited;

use super::{restart, spawn};

pub(super) use esp_radio::wifi::Interface;

/// An access point that does not answer is given up after that long. Joining takes a few seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts to join.
const PAUSE: Duration = Duration::from_secs(3);
/// How often the radio is asked whether it is still in the network, should the event that it left be lost.
const GLANCE: Duration = Duration::from_secs(10);

/// What of the chip's peripherals is needed: the radio.
macro_rules! port {
    ($peripherals:ident) => {
        $peripherals.WIFI
    };
}
pub(super) use port;

/// Starts the radio and the task that joins the network. It returns before it has joined.
pub(super) async fn start(spawner: Spawner, radio: WIFI<'static>, identity: &Identity) -> Interface {
    let Some(network) = &identity.wifi else {
        unusable("this board has only WiFi, and its identity names no network").await
    };
    let Ok(config) = station(network) else { unusable("the network's name or password is too long").await };
    match WifiController::new(radio, memory().with_initial_config(config)) {
        Ok(controller) => spawn(spawner, stay(controller, !network.password.is_empty())),
        Err(error) => restart(&format!("the radio does not start: {error}")).await,
    }
    Interface::station()
}

/// About half of the frames that the radio may hold otherwise: a telemetry message needs few, and what it may not hold, a
/// crowded network cannot take from TLS. A frame is up to 1.6 KB.
fn memory() -> ControllerConfig {
    ControllerConfig::default()
        .with_static_rx_buf_num(6)
        .with_dynamic_rx_buf_num(16)
        .with_dynamic_tx_buf_num(16)
}

fn station(network: &Wifi) -> Result<Config, WifiError> {
    let authentication = if network.password.is_empty() {
        AuthenticationMethodConfig::Open
    } else {
        AuthenticationMethodConfig::Wpa2Personal(network.password.as_str().try_into()?)
    };
    let station = StationConfig::default().with_ssid(network.ssid.as_str().try_into()?);
    Ok(Config::Station(station.with_authentication(authentication)))
}

/// Joins the network, and does so again whenever it is lost or carries nothing.
#[embassy_executor::task]
async fn stay(mut controller: WifiController<'static>, has_password: bool) -> ! {
    let why = |reason| Why { reason, has_password };
    loop {
        match with_timeout(PATIENCE, controller.connect_async()).await {
            Ok(Ok(joined)) => {
                info!("WiFi: joined '{}' on channel {}", joined.ssid.as_str(), joined.channel);
                match until_useless(&controller).await {
                    Some(reason) => report(format_args!("network lost: {}", why(reason))),
                    None => {
                        report(format_args!("no other machine answers in this network; joining it anew"));
                        leave(&mut controller).await;
                    }
                }
            }
            Ok(Err(ConnectionError::Failed(info))) => {
                report(format_args!("not joined: {}", why(info.reason)))
            }
            Ok(Err(error)) => report(format_args!("not joined: the radio says '{error}'")),
            Err(_) => {
                report(format_args!("not joined: no answer from the access point"));
                leave(&mut controller).await;
            }
        }
        Timer::after(PAUSE).await;
    }
}

/// Waits until the station is no longer in the network, and returns why; or until the network carries nothing any more.
async fn until_useless(controller: &WifiController<'_>) -> Option<DisconnectReason> {
    let joined_at = Instant::now();
    loop {
        match with_timeout(GLANCE, controller.wait_for_disconnect_async()).await {
            Ok(Ok(info)) => return Some(info.reason),
            Err(_) if carries_nothing(joined_at) => return None,
            Err(_) if controller.is_connected() => {}
            Ok(Err(_)) | Err(_) => return Some(DisconnectReason::Unspecified),
        }
    }
}

/// Leaves the network, or ends what the radio may still be trying; whether there was anything is all the same.
async fn leave(controller: &mut WifiController<'_>) {
    let _ = with_timeout(PATIENCE, controller.disconnect_async()).await;
}

fn report(words: fmt::Arguments<'_>) {
    warn!("{}WiFi: {words}", Trouble::NoNetwork);
}

/// Why a station is not in the network, in words.
struct Why {
    reason: DisconnectReason,
    /// Whether the identity has a password for the network.
    has_password: bool,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DisconnectReason as Reason;
        formatter.write_str(match self.reason {
            Reason::NoAccessPointFound => "no access point of that name is in reach (2.4 GHz)",
            Reason::NoAccessPointFoundWithCompatibleSecurity
            | Reason::NoAccessPointFoundInAuthmodeThreshold
            | Reason::AkmpInvalid
            | Reason::BadCipherOrAkm
            | Reason::CipherSuiteRejected => unsuited(self.has_password),
            Reason::FourWayHandshakeTimeout
            | Reason::HandshakeTimeout
            | Reason::AuthenticationFailed
            | Reason::MicFailure => "the access point refuses the password",
            Reason::AuthenticationExpired => {
                "the access point ended the authentication; the password may be wrong"
            }
            Reason::BeaconTimeout => "the access point is no longer heard",
            Reason::AssociationTooMany => "the access point has too many stations",
            Reason::AuthenticationLeave | Reason::AssociationLeave | Reason::StationLeaving => {
                "the access point sent the station away"
            }
            Reason::AssociationFailed | Reason::ConnectionFailed => "the access point refuses the station",
            Reason::Unspecified => "the radio gives no reason",
            other => return write!(formatter, "{other:?}"),
        })
    }
}
