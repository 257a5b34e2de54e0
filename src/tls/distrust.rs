//! Why a server's certificate leads to nobody who is believed: looked at once more, after the chain has failed.

use rustls::{CertificateError, OtherError};
use rustls_pki_types::CertificateDer;

use super::trust::{Anchors, TrustSource};
use crate::identity::{Certificate, PublicKeyKind};

/// Bits of an RSA key that verifies a signature, at the least (those of aws-lc's `RSA_PKCS1_2048_8192`).
const SMALLEST_RSA: usize = 2048;

/// What the server presented, and what it should lead to.
pub(super) struct Presented<'a> {
    leaf: &'a Certificate,
    above: Vec<Certificate>,
    anchors: &'a Anchors,
}

/// Where the way from the leaf up ends, by the names of the issuers.
enum End {
    /// At an authority of this name, which is believed: the way itself is wrong.
    Believed(String),
    /// At the leaf, which names itself.
    Leaf,
    /// At an authority that names itself, and is not believed.
    Root(String),
    /// At one whose issuer is not there.
    Missing { below_leaf: bool, issuer: String },
}

impl<'a> Presented<'a> {
    pub(super) fn new(leaf: &'a Certificate, above: Vec<Certificate>, anchors: &'a Anchors) -> Self {
        Self { leaf, above, anchors }
    }

    /// Why `source` does not vouch for it, in one sentence. `why` is how the chain failed.
    pub(super) fn reason(&self, why: &rustls::Error, source: &TrustSource) -> String {
        let end = self.end();
        if let End::Believed(issuer) = &end
            && let Some(limit) = self.limit(why, issuer)
        {
            return format!("the server's certificate cannot be believed: {limit}");
        }
        let (not_vouched, holds) = self.not_vouched(source);
        match end {
            End::Missing { below_leaf: true, issuer } => {
                format!("{not_vouched}: its issuer '{issuer}' was not sent, and is not {holds}")
            }
            End::Missing { below_leaf: false, issuer } => {
                format!(
                    "{not_vouched}: its chain ends below '{issuer}', which was not sent, and is not {holds}"
                )
            }
            End::Root(root) => format!("{not_vouched}: its chain ends in '{root}', which is not {holds}"),
            End::Leaf | End::Believed(_) => not_vouched,
        }
    }

    /// That nobody vouches for it, and how to say where others are not.
    fn not_vouched(&self, source: &TrustSource) -> (String, &'static str) {
        match source {
            TrustSource::File(path) => {
                let path = crate::text::shown_path(path);
                let text = "nor signed by an authority in it";
                (format!("the server's certificate is not in {path}, {text}"), "in it")
            }
            TrustSource::System => {
                let named = match self.anchors.named() {
                    "" => String::new(),
                    named => format!(" (they are taken from {named})"),
                };
                let text = "the server's certificate is not signed by an authority that this system trusts";
                (format!("{text}{named}"), "trusted")
            }
        }
    }

    fn end(&self) -> End {
        let mut left: Vec<&Certificate> = self.above.iter().collect();
        let mut top = self.leaf;
        loop {
            let Some((subject, issuer)) = names(top.der()) else { return End::Leaf };
            // A server's own certificate that names itself is no authority's, whatever it says.
            if subject == issuer && top == self.leaf {
                return End::Leaf;
            }
            if self.anchors.has_subject(&issuer) {
                return End::Believed(top.issuer.clone());
            }
            if subject == issuer {
                return End::Root(top.subject.clone());
            }
            let above = left.iter().position(|one| names(one.der()).is_some_and(|(own, _)| own == issuer));
            match above {
                Some(above) => top = left.swap_remove(above),
                None => return End::Missing { below_leaf: top == self.leaf, issuer: top.issuer.clone() },
            }
        }
    }

    /// What is wrong on a way that leads to an authority that is believed.
    fn limit(&self, why: &rustls::Error, issuer: &str) -> Option<String> {
        let rustls::Error::InvalidCertificate(why) = why else { return None };
        match why {
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Some(
                "it, or an authority above it, is not meant for servers (extendedKeyUsage)".to_owned(),
            ),
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Some(
                "it, or an authority above it, is signed in a way that is too weak or not known, such as with SHA-1"
                    .to_owned(),
            ),
            CertificateError::BadSignature => Some(self.bad_signature(issuer)),
            CertificateError::UnknownIssuer => Some(other_key(issuer)),
            CertificateError::Other(OtherError(other)) => of_path(other.downcast_ref()?).map(str::to_owned),
            _ => None,
        }
    }

    fn bad_signature(&self, issuer: &str) -> String {
        let weak = self.above.iter().chain(self.anchors.certificates()).find_map(|one| match one.key {
            PublicKeyKind::Rsa(bits) if bits < SMALLEST_RSA => Some((&one.subject, bits)),
            _ => None,
        });
        match weak {
            Some((subject, bits)) => format!(
                "the key of its authority '{subject}' is too weak ({bits} bits of RSA; {SMALLEST_RSA} are needed)"
            ),
            None => other_key(issuer),
        }
    }
}

/// An authority that was renewed with another key, or another one of the same name.
fn other_key(issuer: &str) -> String {
    format!(
        "an authority of the name of its issuer is believed ('{issuer}'), and has another key than signed it"
    )
}

/// The raw subject and issuer: names are compared byte for byte, as the chain is.
fn names(der: &CertificateDer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let parsed = webpki::EndEntityCert::try_from(der).ok()?;
    Some((parsed.subject().to_vec(), parsed.issuer().to_vec()))
}

/// What one certificate of the way does not allow.
const fn of_path(why: &webpki::Error) -> Option<&'static str> {
    match why {
        webpki::Error::CaUsedAsEndEntity => Some(
            "it is an authority's (CA:TRUE), and proves no server unless it is believed itself, as a copy of it in the file",
        ),
        webpki::Error::EndEntityUsedAsCa => Some("what has signed it is no authority (CA:FALSE)"),
        webpki::Error::NameConstraintViolation => {
            Some("its authority may not sign for its name (nameConstraints)")
        }
        webpki::Error::PathLenConstraintViolated => {
            Some("its chain is longer than its authority allows (pathLenConstraint)")
        }
        _ => None,
    }
}
