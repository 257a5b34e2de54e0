//! The decision about a provision request: ThingsBoard's `DeviceProvisionServiceImpl`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tbprov_contract::identity::{LONGEST_NAME, name_length};

use super::credentials::HeldCredentials;
use super::device::RegisteredDevice;
use super::profile::{DeviceProfile, Provisioning};
use super::registry::Registry;
use super::release::Release;
use super::request::{ProvisionRequest, RequestedType};
use crate::error::Result;
use crate::identity::{self, BasicCredentials, Issue, Validity, issue};
use crate::keys::{KeyType, SoftwareKey};
use crate::secret::Secret;

/// The length of a name that the server makes, in characters.
const MADE_NAME_LENGTH: usize = 20;

/// What was decided about a request.
#[derive(Debug)]
pub(super) enum Decision {
    /// The device, with the credentials that the server holds for it.
    Success(Arc<RegisteredDevice>),
    /// The reason is for events; ThingsBoard tells none.
    Failure(String),
    /// Wrong provision key or secret.
    NotFound,
}

impl Decision {
    pub(super) const fn status(&self) -> &'static str {
        match self {
            Self::Success(_) => "SUCCESS",
            Self::Failure(_) => "FAILURE",
            Self::NotFound => "NOT_FOUND",
        }
    }

    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Failure(reason) => Some(reason.clone()),
            Self::Success(_) | Self::NotFound => None,
        }
    }
}

/// What the device is given instead of what it asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Substitute {
    /// A random token.
    Token,
    /// Other credentials of the same type.
    Other,
}

/// Decides as `DeviceProvisionServiceImpl.provisionDevice` does, in its order: a blank name, then key and secret, then
/// the strategy of the device profile with this key.
///
/// Nothing where the core fails over its own error, and nobody ever answers: for the key of a chain profile,
/// whatever the secret (`ResponseStatus.valueOf` of a text that is none), and for what the database alone refuses.
pub(super) fn decide(
    registry: &mut Registry,
    request: &ProvisionRequest,
    substitute: Option<Substitute>,
) -> Option<Decision> {
    let name = request.device_name.trim();
    if name.is_empty() && !request.device_name.is_empty() {
        return Some(Decision::Failure("the device name is blank".to_owned()));
    }
    if request.key.is_empty() || request.secret.expose().is_empty() {
        return Some(Decision::NotFound);
    }
    match registry.profiles.with_key(&request.key).cloned() {
        Some(profile) => profile.decide(registry, name, request, substitute),
        None => Some(Decision::NotFound),
    }
}

impl DeviceProfile {
    fn decide(
        &self,
        registry: &mut Registry,
        name: &str,
        request: &ProvisionRequest,
        substitute: Option<Substitute>,
    ) -> Option<Decision> {
        let decided = match self.provisioning {
            Provisioning::Chain { .. } => return None,
            _ if Some(&request.secret) != self.secret.as_ref() => return Some(Decision::NotFound),
            Provisioning::Disabled => return Some(Decision::NotFound),
            _ if self.fails_in_the_database(name, request) => return None,
            Provisioning::AllowCreate => self.create(registry, name, request, substitute),
            Provisioning::PreProvisioned => self.check_pre_provisioned(registry, name),
        };
        Some(decided.map_or_else(Decision::Failure, Decision::Success))
    }

    fn fails_in_the_database(&self, name: &str, request: &ProvisionRequest) -> bool {
        let is_too_long = !self.release.checks_names() && name.chars().count() > LONGEST_NAME;
        let has_bad_hash = !self.release.answers_hash_with_nul() && request.hash.contains('\0');
        name.contains('\0') || is_too_long || has_bad_hash
    }

    fn create(
        &self,
        registry: &mut Registry,
        name: &str,
        request: &ProvisionRequest,
        substitute: Option<Substitute>,
    ) -> Result<Arc<RegisteredDevice>, String> {
        let name = match name {
            "" => made_name()?,
            _ => checked_name(name, self.release)?,
        };
        let asked = self.credentials_of(request)?;
        let given = match substitute {
            None => asked,
            Some(Substitute::Token) => random_token()?,
            Some(Substitute::Other) => other(&asked).map_err(|error| error.message)?,
        };
        let device = RegisteredDevice::new(name, given, request.gateway, true).of_profile(self.id);
        registry.create(device).map_err(|why| why.reason())
    }

    /// `CHECK_PRE_PROVISIONED_DEVICES`: what was sent is ignored, the device's own credentials are the answer.
    fn check_pre_provisioned(
        &self,
        registry: &Registry,
        name: &str,
    ) -> Result<Arc<RegisteredDevice>, String> {
        let device = registry.named(name).filter(|device| device.profile == self.id);
        let device = device.ok_or("no device with this name")?;
        if device.provisioned.load(Ordering::Relaxed) && !self.release.repeats_pre_provisioned() {
            return Err("the device was provisioned before".to_owned());
        }
        registry.mark_provisioned(&device).map_err(|error| error.message)?;
        Ok(device)
    }

    /// The credentials of a new device (`DeviceServiceImpl.saveDevice`, `DeviceCredentialsServiceImpl`).
    fn credentials_of(&self, request: &ProvisionRequest) -> Result<HeldCredentials, String> {
        if request.has_no_credentials() {
            return random_token();
        }
        let credentials = match request.credentials_type {
            RequestedType::AccessToken if request.token.expose().is_empty() => {
                return Err("the credentialsId is empty".to_owned());
            }
            RequestedType::AccessToken => HeldCredentials::Token(request.token.clone()),
            RequestedType::MqttBasic => basic(request, self.release)?,
            RequestedType::X509Certificate => HeldCredentials::certificate_text(&request.hash),
            RequestedType::Lwm2m => return Err("there are no LwM2M credentials in the request".to_owned()),
        };
        if any_character(&credentials, |character| character == '\0') {
            return Err("the credentials hold a NUL".to_owned());
        }
        let is_text = !matches!(credentials, HeldCredentials::Certificate(_));
        if is_text
            && self.release.refuses_control_characters()
            && any_character(&credentials, char::is_control)
        {
            return Err("the credentials hold control characters".to_owned());
        }
        Ok(credentials)
    }
}

/// The name of a device that is given none.
pub(super) fn made_name() -> Result<String, String> {
    let name = Secret::random(MADE_NAME_LENGTH).map_err(|error| error.message)?;
    Ok(name.expose().to_owned())
}

/// `Device.name` with `@NoXss` and `@Length`; the check for markup is an approximation of OWASP AntiSamy.
pub(super) fn checked_name(name: &str, release: Release) -> Result<String, String> {
    if !release.checks_names() {
        return Ok(name.to_owned());
    }
    if name_length(name) > LONGEST_NAME {
        return Err(format!("the device name is longer than {LONGEST_NAME} characters"));
    }
    if name.contains('\0') {
        return Err("the device name holds a NUL".to_owned());
    }
    if has_markup(name, release) {
        return Err("the device name holds markup".to_owned());
    }
    Ok(name.to_owned())
}

/// What `@NoXss` refuses, approximately.
pub(super) fn has_markup(text: &str, release: Release) -> bool {
    // A comment and the end of an element are taken out by AntiSamy, and not told.
    let begins_element =
        |(_, behind): (&str, &str)| behind.starts_with(|next: char| next.is_ascii_alphabetic());
    let has_element = text.match_indices('<').any(|(at, _)| begins_element(text.split_at(at + 1)));
    let has_template = text.find("{{").is_some_and(|start| text[start..].contains("}}"));
    has_element || (has_template && release.refuses_templates())
}

fn basic(request: &ProvisionRequest, release: Release) -> Result<HeldCredentials, String> {
    if request.client_id.is_empty() && request.user_name.is_empty() {
        return Err("both client id and user name are empty".to_owned());
    }
    let has_password = !request.password.expose().is_empty();
    let has_no_user = !request.client_id.is_empty() && has_password && request.user_name.is_empty();
    if has_no_user && release.wants_user_with_password() {
        return Err("a password with a client id needs a user name".to_owned());
    }
    Ok(HeldCredentials::Basic(BasicCredentials {
        client_id: request.client_id.clone(),
        user_name: request.user_name.clone(),
        password: request.password.clone(),
    }))
}

fn any_character(credentials: &HeldCredentials, wanted: fn(char) -> bool) -> bool {
    let any = |text: &str| text.chars().any(wanted);
    match credentials {
        HeldCredentials::Certificate(text) => any(text),
        HeldCredentials::Token(token) => any(token.expose()),
        HeldCredentials::Basic(basic) => {
            any(&basic.client_id) || any(&basic.user_name) || any(basic.password.expose())
        }
    }
}

fn random_token() -> Result<HeldCredentials, String> {
    HeldCredentials::random_token().map_err(|error| error.message)
}

/// Credentials of the same type as `asked` and another value.
fn other(asked: &HeldCredentials) -> Result<HeldCredentials> {
    match asked {
        HeldCredentials::Certificate(_) => {
            let key = SoftwareKey::generate(KeyType::EcP256)?;
            let made = issue(&Issue {
                name: "another",
                profile: &identity::Profile::Device,
                validity: Validity::days(365),
                key: &key,
                issuer: None,
            })?;
            Ok(HeldCredentials::certificate(&made.leaf))
        }
        HeldCredentials::Token(_) => HeldCredentials::random_token(),
        HeldCredentials::Basic(basic) => {
            let password = Secret::random(MADE_NAME_LENGTH)?;
            Ok(HeldCredentials::Basic(BasicCredentials { password, ..basic.clone() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::config::{Config, PreProvisioned, Strategy};

    /// A registry with this strategy.
    fn of(strategy: Strategy, release: Release) -> Registry {
        Registry::new(&Config { strategy, release, ..Config::new("k", Secret::new("s")) })
    }

    fn ask(registry: &mut Registry, extra: &str) -> Decision {
        ask_raw(registry, &format!(r#"{{"provisionDeviceKey":"k","provisionDeviceSecret":"s"{extra}}}"#))
    }

    fn ask_raw(registry: &mut Registry, json: &str) -> Decision {
        let release = registry.profiles.own().release;
        let request = ProvisionRequest::parse(json.as_bytes(), release).unwrap();
        decide(registry, &request, None).unwrap()
    }

    fn status(extra: &str) -> &'static str {
        ask(&mut of(Strategy::AllowCreate, Release::V4_3), extra).status()
    }

    fn device(decision: Decision) -> Arc<RegisteredDevice> {
        match decision {
            Decision::Success(device) => device,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_key_or_secret_is_not_found_and_a_blank_name_fails_first() {
        let mut registry = of(Strategy::AllowCreate, Release::V4_3);
        let mut ask = |key: &str, secret: &str, name: &str| {
            let json = format!(
                r#"{{"provisionDeviceKey":"{key}","provisionDeviceSecret":"{secret}","deviceName":"{name}"}}"#
            );
            ask_raw(&mut registry, &json).status()
        };
        assert_eq!(ask("x", "s", "a"), "NOT_FOUND");
        assert_eq!(ask("k", "x", "a"), "NOT_FOUND");
        assert_eq!(ask("", "", "a"), "NOT_FOUND");
        assert_eq!(ask("x", "x", "  "), "FAILURE");
    }

    #[test]
    fn names_are_trimmed_made_and_checked() {
        let mut registry = of(Strategy::AllowCreate, Release::V4_3);
        assert_eq!(&*device(ask(&mut registry, r#","deviceName":" a ""#)).name, "a");
        assert_eq!(device(ask(&mut registry, "")).name.len(), 20);
        let name = |name: &str| status(&format!(r#","deviceName":"{name}""#));
        assert_eq!(name(&"x".repeat(255)), "SUCCESS");
        assert_eq!(name(&"x".repeat(256)), "FAILURE");
        assert_eq!(name("<script>"), "FAILURE");
        assert_eq!(name("{{x}}"), "FAILURE");
        assert_eq!(name("a < b"), "SUCCESS");
    }

    #[test]
    fn a_type_without_its_field_gets_a_random_token() {
        let mut registry = of(Strategy::AllowCreate, Release::V4_3);
        let decision = ask(&mut registry, r#","credentialsType":"X509_CERTIFICATE""#);
        assert!(matches!(device(decision).credentials, HeldCredentials::Token(_)));
        assert_eq!(status(r#","credentialsType":"ACCESS_TOKEN","hash":"x""#), "FAILURE");
    }

    #[test]
    fn basic_credentials_need_a_client_id_or_a_user_name() {
        let basic = |extra: &str| status(&format!(r#","credentialsType":"MQTT_BASIC",{extra}"#));
        assert_eq!(basic(r#""username":"u","password":"p""#), "SUCCESS");
        assert_eq!(basic(r#""clientId":"c""#), "SUCCESS");
        assert_eq!(basic(r#""clientId":"c","password":"p""#), "FAILURE");
        assert_eq!(basic(r#""password":"p""#), "FAILURE");
    }

    #[test]
    fn only_the_newest_release_refuses_control_characters() {
        let extra = r#","token":"a\u0001b""#;
        assert_eq!(status(extra), "FAILURE");
        let mut older = of(Strategy::AllowCreate, Release::V3_8);
        assert_eq!(ask(&mut older, extra).status(), "SUCCESS");
    }

    #[test]
    fn a_pre_provisioned_device_answers_with_its_own_credentials() {
        for (release, second) in [(Release::V3_8, "SUCCESS"), (Release::V4_3, "FAILURE")] {
            let mut registry = Registry::open(&Config {
                strategy: Strategy::PreProvisioned,
                release,
                pre_provisioned: vec![PreProvisioned::new("a")],
                ..Config::new("k", Secret::new("s"))
            })
            .unwrap();
            let extra = r#","deviceName":"a","credentialsType":"X509_CERTIFICATE","hash":"x""#;
            let device = device(ask(&mut registry, extra));
            assert!(matches!(device.credentials, HeldCredentials::Token(_)));
            assert_eq!(ask(&mut registry, extra).status(), second);
            assert_eq!(ask(&mut registry, r#","deviceName":"b""#).status(), "FAILURE");
            assert_eq!(ask(&mut registry, "").status(), "FAILURE");
        }
    }
}
