//! What a file is that is not the PEM that was needed.

use std::fmt;

/// What a file was found to be. Its text says so in words that follow 'is' or 'holds'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A certificate in PEM.
    Certificate,
    /// A private key in PEM.
    PrivateKey,
    /// PEM in which each line end is written as a backslash and an n.
    EscapedPem,
    /// PEM without line ends.
    OneLinePem,
    /// PEM whose lines begin with blanks.
    IndentedPem,
    /// PEM in quotes.
    QuotedPem,
    /// PEM whose dashes were changed.
    BrokenDashes,
    /// Base64 without the lines around it.
    BareBase64,
    /// A certificate in OpenSSL's own form.
    TrustedCertificate,
    /// A certificate request (PKCS#10) in PEM.
    Request,
    /// PKCS#7 in PEM.
    Pkcs7,
    /// A private key of OpenSSH.
    OpenSshKey,
    /// A private key of PuTTY.
    PuttyKey,
    /// A public key of SSH.
    SshPublicKey,
    /// A public key in PEM.
    PublicKey,
    /// A list of revoked certificates in PEM.
    RevocationList,
    /// Parameters of a key in PEM, without the key.
    Parameters,
    /// What PGP made.
    Pgp,
    /// PEM of another kind.
    OtherPem,
    /// A certificate in DER.
    CertificateDer,
    /// A private key in DER.
    KeyDer,
    /// A public key in DER.
    PublicKeyDer,
    /// A certificate request in DER.
    RequestDer,
    /// PKCS#7 in DER.
    Pkcs7Der,
    /// A list of revoked certificates in DER.
    RevocationListDer,
    /// PKCS#12.
    Pkcs12,
    /// A key store of Java, of its own two kinds.
    JavaKeyStore,
    /// A compressed file or an archive.
    Archive,
    /// HTML or XML.
    Markup,
    /// JSON.
    Json,
}

impl FileKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate",
            Self::PrivateKey => "a private key",
            Self::EscapedPem => r"PEM whose line ends are written as \n, a backslash and an n",
            Self::OneLinePem => "PEM on one line, without its line ends",
            Self::IndentedPem => "PEM whose lines begin with blanks, as YAML has it",
            Self::QuotedPem => "PEM in quotes",
            Self::BrokenDashes => "PEM whose BEGIN and END lines lost or changed their five dashes",
            Self::BareBase64 => "base64 without the BEGIN and END lines of PEM",
            Self::TrustedCertificate => {
                "a certificate in OpenSSL's own TRUSTED form, which ThingsBoard cannot use"
            }
            Self::Request => "a certificate request (CSR)",
            Self::Pkcs7 => "certificates in a PKCS#7 envelope",
            Self::OpenSshKey => "a private key in OpenSSH's own form",
            Self::PuttyKey => "a private key in PuTTY's own form",
            Self::SshPublicKey => "a public key of SSH",
            Self::PublicKey => "a public key",
            Self::RevocationList => "a list of revoked certificates (CRL)",
            Self::Parameters => "the parameters of a key without the key",
            Self::Pgp => "what PGP made",
            Self::OtherPem => "PEM of another kind",
            Self::CertificateDer => "a certificate in DER",
            Self::KeyDer => "a private key in DER",
            Self::PublicKeyDer => "a public key in DER",
            Self::RequestDer => "a certificate request (CSR) in DER",
            Self::Pkcs7Der => "certificates in a PKCS#7 envelope in DER",
            Self::RevocationListDer => "a list of revoked certificates (CRL) in DER",
            Self::Pkcs12 => "PKCS#12 (.p12, .pfx)",
            Self::JavaKeyStore => "a Java key store (JKS or JCEKS)",
            Self::Archive => "a compressed file or an archive",
            Self::Markup => "HTML or XML",
            Self::Json => "JSON",
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
