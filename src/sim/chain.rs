//! Registration at connect: what the core does with the certificates of a TLS handshake where the device profile's
//! strategy is `X509_CERTIFICATE_CHAIN` (`DefaultTransportApiService.validateOrCreateDeviceX509Certificate`).

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::oid;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::credentials::HeldCredentials;
use super::device::RegisteredDevice;
use super::name_pattern::NamePattern;
use super::profile::{DeviceProfile, Provisioning};
use super::provisioning::{checked_name, made_name};
use super::registry::Registry;
use crate::identity::credentials_id;

/// What became of a client's certificates.
#[derive(Debug)]
pub(super) enum Registration {
    /// One of them is a device's, or the profile has another strategy: nothing is changed.
    Unchanged,
    /// The device is new.
    Created(Arc<RegisteredDevice>),
    /// The device has the leaf instead of another certificate.
    Replaced(Arc<RegisteredDevice>),
    /// Nothing is changed, for this reason. TLS succeeds all the same; CONNECT is refused.
    Refused(String),
}

/// Goes through the certificates in the order sent, leaf first: one that a device has ends it, and so does the
/// authority of a profile, for which the leaf is registered.
pub(super) fn register(registry: &mut Registry, sent: &[CertificateDer<'_>]) -> Registration {
    let [leaf, ..] = sent else { return Registration::Unchanged };
    if !registry.profiles.have_chain() {
        return Registration::Unchanged;
    }
    for certificate in sent {
        let id = credentials_id(certificate);
        if registry.with_certificate(&id).is_some() {
            return Registration::Unchanged;
        }
        if let Some(profile) = registry.profiles.with_key(&id).cloned()
            && let Provisioning::Chain { name_pattern, allow_create } = &profile.provisioning
        {
            let registered = register_leaf(&profile, name_pattern, *allow_create, registry, leaf);
            return registered.unwrap_or_else(Registration::Refused);
        }
    }
    Registration::Refused(
        "no device has this certificate, and the profile's authority was not sent".to_owned(),
    )
}

/// `DeviceProvisionServiceImpl.provisionDeviceViaX509Chain`.
fn register_leaf(
    profile: &DeviceProfile,
    pattern: &NamePattern,
    allow_create: bool,
    registry: &mut Registry,
    leaf: &CertificateDer<'_>,
) -> Result<Registration, String> {
    let common_name = common_name(leaf).ok_or("the certificate has no common name")?;
    let name = pattern.name_in(&common_name)?;
    let credentials = HeldCredentials::certificate_der(leaf);
    let known = name.as_deref().and_then(|name| registry.named(name));
    let known = known.filter(|known| known.profile == profile.id);
    if let Some(known) = known {
        if !matches!(known.credentials, HeldCredentials::Certificate(_)) {
            return Err(format!("the device '{}' has other credentials than a certificate", known.name));
        }
        let device = registry.replace(&known, credentials).map_err(|why| why.reason())?;
        return Ok(Registration::Replaced(device));
    }
    if !allow_create {
        return Err(format!("no device has the name of '{common_name}', and creating is off"));
    }
    let name = name.map_or_else(made_name, |name| checked_name(&name, profile.release))?;
    let device = RegisteredDevice::new(name, credentials, false, true).of_profile(profile.id);
    let device = registry.create(device);
    device.map(Registration::Created).map_err(|why| why.reason())
}

/// The first common name as Bouncy Castle writes it: `getRDNs(CN)[0].getFirst()`, `IETFUtils.valueToString`.
fn common_name(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let is_common_name =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| *attribute.attr_type() == oid!(2.5.4.3);
    let part = parsed.subject().iter_rdn().find(|part| part.iter().any(is_common_name))?;
    let text = part.iter().next()?.as_str().ok()?;
    Some(escaped(text.trim_matches(' ')))
}

/// With a backslash before what has a meaning in a distinguished name (RFC 4514); the blanks around it are gone.
fn escaped(common_name: &str) -> String {
    let mut text = String::with_capacity(common_name.len());
    for (at, character) in common_name.char_indices() {
        let has_meaning = matches!(character, ',' | '+' | '=' | '"' | ';' | '\\' | '<' | '>');
        if has_meaning || (at == 0 && character == '#') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What six real servers made of these common names.
    #[test]
    fn common_names_are_escaped_as_by_bouncy_castle() {
        for (common_name, shown) in [
            ("dev,1", r"dev\,1"),
            (r#"a+b=c;"x""#, r#"a\+b\=c\;\"x\""#),
            (r"a\b", r"a\\b"),
            ("#hash", r"\#hash"),
            ("a#b", "a#b"),
            ("传感器/1 é", "传感器/1 é"),
        ] {
            assert_eq!(escaped(common_name), shown);
        }
    }
}
