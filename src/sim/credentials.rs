//! The credentials that the simulated server holds for a device, and how they are found at connect.

use aws_lc_rs::digest::{self, SHA3_256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::state::StoredCredentials;
use crate::error::Result;
use crate::identity::{BasicCredentials, Certificate, CredentialsType};
use crate::secret::Secret;

/// The length of a token that ThingsBoard makes itself, in characters.
const TOKEN_LENGTH: usize = 20;

/// The credentials of a device, as ThingsBoard stores them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldCredentials {
    /// A certificate: the one-line base64 of its DER. ThingsBoard does not check that it is one.
    Certificate(String),
    /// A token.
    Token(Secret),
    /// MQTT client id, user name and password; unset ones are empty.
    Basic(BasicCredentials),
}

impl HeldCredentials {
    /// The credentials of a device that proves itself with `certificate`.
    pub fn certificate(certificate: &Certificate) -> Self {
        Self::certificate_der(certificate.der())
    }

    pub(super) fn certificate_der(der: &[u8]) -> Self {
        Self::Certificate(STANDARD.encode(der))
    }

    /// A certificate as text, stored as ThingsBoard stores the request's `hash`.
    ///
    /// The BEGIN and END lines' markers, CR and LF are deleted, and nothing else: spaces, a chain's other
    /// certificates and text around it all stay and change the credentialsId
    /// (`EncryptionUtil.certTrimNewLines`).
    pub fn certificate_text(text: &str) -> Self {
        let text = text.replace("-----BEGIN CERTIFICATE-----", "").replace("-----END CERTIFICATE-----", "");
        let mut text = text.replace(['\r', '\n'], "");
        // It grew by doubling, and is kept for each of very many devices.
        text.shrink_to_fit();
        Self::Certificate(text)
    }

    /// A token of 20 random characters.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn random_token() -> Result<Self> {
        Secret::random(TOKEN_LENGTH).map(Self::Token)
    }

    /// The kind.
    pub const fn credentials_type(&self) -> CredentialsType {
        match self {
            Self::Certificate(_) => CredentialsType::X509,
            Self::Token(_) => CredentialsType::AccessToken,
            Self::Basic(_) => CredentialsType::MqttBasic,
        }
    }

    /// What the REST API shows as the value of the credentials (`DeviceCredentials.credentialsValue`).
    pub(super) fn value(&self) -> Option<String> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match self {
            Self::Certificate(text) => Some(text.clone()),
            Self::Token(_) => None,
            Self::Basic(basic) => Some(
                serde_json::json!({
                    "clientId": given(&basic.client_id),
                    "userName": given(&basic.user_name),
                    "password": given(basic.password.expose()),
                })
                .to_string(),
            ),
        }
    }

    /// The credentialsId of a certificate. Nothing for the others: there it is, or holds, the secret.
    pub fn public_id(&self) -> Option<String> {
        match self {
            Self::Certificate(_) => Some(self.lookup_id()),
            Self::Token(_) | Self::Basic(_) => None,
        }
    }

    /// ThingsBoard's credentialsId, by which credentials are found and of which no two are equal
    /// (`DeviceCredentialsServiceImpl.formatSimpleMqttCredentials` and its siblings).
    pub(super) fn lookup_id(&self) -> String {
        match self {
            Self::Certificate(text) => sha3_hex(text),
            Self::Token(token) => token.expose().to_owned(),
            Self::Basic(basic) if basic.client_id.is_empty() => basic.user_name.clone(),
            Self::Basic(basic) => basic_id(&basic.client_id, &basic.user_name),
        }
    }

    pub(super) fn stored(&self) -> StoredCredentials {
        match self {
            Self::Certificate(value) => StoredCredentials::X509 { value: value.clone() },
            Self::Token(token) => StoredCredentials::AccessToken { token: token.expose().to_owned() },
            Self::Basic(basic) => StoredCredentials::MqttBasic {
                client_id: basic.client_id.clone(),
                user_name: basic.user_name.clone(),
                password: basic.password.expose().to_owned(),
            },
        }
    }
}

impl From<StoredCredentials> for HeldCredentials {
    fn from(stored: StoredCredentials) -> Self {
        match stored {
            StoredCredentials::X509 { value } => Self::Certificate(value),
            StoredCredentials::AccessToken { token } => Self::Token(Secret::new(token)),
            StoredCredentials::MqttBasic { client_id, user_name, password } => {
                Self::Basic(BasicCredentials { client_id, user_name, password: Secret::new(password) })
            }
        }
    }
}

/// The credentialsId of basic credentials with a client id: SHA3-256 of `client` or `client|user`
/// (`EncryptionUtil.getSha3Hash(delimiter, tokens)`).
pub(super) fn basic_id(client_id: &str, user_name: &str) -> String {
    let parts: Vec<_> = [client_id, user_name].into_iter().filter(|part| !part.is_empty()).collect();
    sha3_hex(&parts.join("|"))
}

/// What stands for a credentialsId in a table: as long as any other, where tokens and names may be long.
pub(super) fn id_key(credentials_id: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let digest = digest::digest(&SHA3_256, credentials_id.as_bytes());
    key.copy_from_slice(digest.as_ref());
    key
}

/// `EncryptionUtil.getSha3Hash`: lower-case hex of SHA3-256 over the text.
fn sha3_hex(text: &str) -> String {
    use std::fmt::Write as _;
    let digest = digest::digest(&SHA3_256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../fixtures/credentials-id/example.pem");
    const EXAMPLE_ID: &str = "1b23a40578c913b22b15a2488a72b8eef347dbbcd0ea0ec594913c349a93921d";

    fn id_of(hash: &str) -> String {
        HeldCredentials::certificate_text(hash).lookup_id()
    }

    #[test]
    fn pem_with_lf_or_crlf_and_bare_base64_are_one_certificate() {
        let bare: String = EXAMPLE.lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(id_of(EXAMPLE), EXAMPLE_ID);
        assert_eq!(id_of(&EXAMPLE.replace('\n', "\r\n")), EXAMPLE_ID);
        assert_eq!(id_of(&bare), EXAMPLE_ID);
        let certificates = crate::identity::read_certificates(EXAMPLE, "example.pem").unwrap();
        assert_eq!(HeldCredentials::certificate(&certificates[0]).lookup_id(), EXAMPLE_ID);
    }

    #[test]
    fn everything_else_changes_the_id() {
        let spaces: String = EXAMPLE.lines().map(|line| format!("{line} \n")).collect();
        assert_eq!(id_of(&spaces), "3407ba9f0bbda9bac8ce10952c3d86480d16d5c04824ef1393fc0dc11542763c");
        let chain = EXAMPLE.repeat(2);
        assert_eq!(id_of(&chain), "4020a7ed48b127d8dc0ad1999ea9cf35b858e06bb4f201e118a13f4d616033b7");
        let literal = EXAMPLE.replace('\n', "\\n");
        assert_eq!(id_of(&literal), "13e40c9c7064842952b56fd5ccdb2722454e8f602539c789f2e7cd89ffb2fb11");
        let preamble = format!("subject=CN = x\n{EXAMPLE}");
        assert_eq!(id_of(&preamble), "9feeb7e32128a04d2715cfc7de81b133f10ce229de94bfee5abd921022d9e6d2");
    }

    /// The pair on ThingsBoard's documentation page, which is a genuine output of the server.
    #[test]
    fn the_documented_placeholder_has_the_documented_id() {
        assert_eq!(
            id_of("MIIB........AQAB"),
            "f307a1f717a12b32c27203cf77728d305d29f64694a8311be921070dd1259b3a"
        );
    }
}
