//! CONNECT: who is it, and which CONNACK does it get (`MqttTransportHandler.processConnect`).

use std::sync::Arc;

use rumqttc::mqttbytes::v4::{Connect, ConnectAuth};
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;

use super::device::RegisteredDevice;
use super::server::Peer;
use crate::clock;
use crate::identity::{Validity, credentials_id, validity};

/// The user name or client id that asks for provisioning, and no password needed.
const PROVISION: &str = "provision";

/// CONNACK 3.
const UNAVAILABLE: u8 = 3;

/// CONNACK 5.
const NOT_AUTHORIZED: u8 = 5;

/// The leaf that a client presented during TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) credentials_id: String,
    /// Nothing when the certificate cannot be read.
    validity: Option<Validity>,
    /// Why registration at connect left it unknown.
    pub(super) unregistered: Option<String>,
}

impl ClientCertificate {
    pub(super) fn new(leaf: &CertificateDer<'_>) -> Self {
        Self { credentials_id: credentials_id(leaf), validity: validity(leaf), unregistered: None }
    }
}

/// What becomes of a CONNECT.
#[derive(Debug)]
pub(super) enum Login {
    Provision,
    Device(Arc<RegisteredDevice>),
    Refused { code: u8, reason: String },
}

impl Login {
    fn refused(code: u8, reason: &str) -> Self {
        Self::Refused { code, reason: reason.to_owned() }
    }
}

/// Decides in ThingsBoard's order: provisioning first, then the certificate if one was presented, then
/// user name, password and client id. The limit of connects comes last, so that only those of a device count.
/// A core that stalls too long is CONNACK 3.
pub(super) async fn login(peer: &Peer, connect: &Connect, certificate: Option<&ClientCertificate>) -> Login {
    let (user_name, _) = user_and_password(&connect.auth);
    if user_name == Some(PROVISION) || connect.client_id == PROVISION {
        return Login::Provision;
    }
    if !peer.server.core.look_up().await {
        return Login::refused(UNAVAILABLE, "by a fault: the core does not answer");
    }
    let login = look_up(peer, connect, certificate);
    if let Some(filter) = &peer.server.address_filter {
        match login {
            Login::Refused { code: UNAVAILABLE, .. } | Login::Provision => {}
            Login::Refused { .. } => filter.failed(peer.address, Instant::now()),
            Login::Device(_) => filter.succeeded(peer.address, Instant::now()),
        }
    }
    match login {
        Login::Device(device) => match peer.server.admission.connect(&device) {
            Ok(()) => Login::Device(device),
            Err(why) => Login::refused(UNAVAILABLE, why),
        },
        login => login,
    }
}

/// Who it is, whatever the limits are.
fn look_up(peer: &Peer, connect: &Connect, certificate: Option<&ClientCertificate>) -> Login {
    let (user_name, password) = user_and_password(&connect.auth);
    if let Some((fault, code)) = peer.server.injector.refusal() {
        peer.tell(fault);
        return Login::refused(code, "by a fault");
    }
    let login = match certificate {
        Some(certificate) => by_certificate(peer, certificate),
        None => by_password(peer, &connect.client_id, user_name, password.as_deref()),
    };
    match login {
        Login::Device(device) if !peer.server.registry().takes_mqtt(&device) => {
            Login::refused(UNAVAILABLE, "its device profile has another transport type")
        }
        login => login,
    }
}

/// `processX509CertConnect`: the dates come before the lookup, and a start in the future counts as expired.
fn by_certificate(peer: &Peer, certificate: &ClientCertificate) -> Login {
    let valid = certificate.validity.is_some_and(|validity| validity.contains(clock::now()));
    if !valid {
        return Login::refused(NOT_AUTHORIZED, "the certificate is outside its validity dates");
    }
    match peer.server.registry().with_certificate(&certificate.credentials_id) {
        Some(device) => Login::Device(device),
        None => {
            let why = certificate.unregistered.as_deref().unwrap_or("no device has this certificate");
            Login::refused(NOT_AUTHORIZED, why)
        }
    }
}

/// `processAuthTokenConnect` and `ReturnCodeResolver`.
fn by_password(peer: &Peer, client_id: &str, user_name: Option<&str>, password: Option<&str>) -> Login {
    let ignores_user = peer.server.release.ignores_user_of_client_only();
    let (user, word) = (user_name.unwrap_or(""), password.unwrap_or(""));
    let found = peer.server.registry().login(client_id, user, word, ignores_user);
    if let Some(device) = found {
        return Login::Device(device);
    }
    if user_name.is_none() && password.is_none() && !client_id.trim().is_empty() {
        let code = peer.server.release.no_identity_code();
        return Login::refused(code, "neither a client certificate nor a user name");
    }
    Login::refused(NOT_AUTHORIZED, "no device has these credentials")
}

fn user_and_password(auth: &ConnectAuth) -> (Option<&str>, Option<String>) {
    match auth {
        ConnectAuth::None => (None, None),
        ConnectAuth::Username { username } => (Some(username), None),
        ConnectAuth::UsernamePassword { username, password } => {
            (Some(username), Some(String::from_utf8_lossy(password).into_owned()))
        }
    }
}
