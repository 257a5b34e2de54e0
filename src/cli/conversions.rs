//! What turns a file into the PEM that is needed: command lines, by what the file is.

use std::path::Path;

use super::shell::quoted_path;
use tbprov::error::FileKind;

/// What to do with the file at `path`, which is `kind`.
pub(super) fn conversion(kind: FileKind, path: Option<&Path>) -> String {
    let file = path.map_or_else(|| "FILE".to_owned(), quoted_path);
    match kind {
        FileKind::EscapedPem => rewritten(&format!(r#"awk '{{gsub(/\\r/,""); gsub(/\\n/,"\n"); gsub(/["\047,]/,"")}}1' {file}"#)),
        FileKind::OneLinePem => rewritten(&format!(r#"awk '{{gsub(/-----[A-Z0-9 ]+-----/,"\n&\n")}}1' {file}"#)),
        FileKind::IndentedPem => rewritten(&format!("sed 's/^[[:space:]]*//' {file}")),
        FileKind::QuotedPem => rewritten(&format!(r#"awk '{{gsub(/["\047]/,""); gsub(/^[ \t]+/,"")}}1' {file}"#)),
        FileKind::BrokenDashes => {
            "the first and the last line have five dashes (-) on either side; copy the text again, or take it from the file that it came from".to_owned()
        }
        FileKind::BareBase64 => format!(
            "put a line -----BEGIN CERTIFICATE----- before it and -----END CERTIFICATE----- after it (PRIVATE KEY for a key); \
             or decode it and convert the DER: openssl base64 -d -A -in {file} -out decoded.der"
        ),
        FileKind::Certificate => "give the file whose text begins with -----BEGIN PRIVATE KEY-----".to_owned(),
        FileKind::PrivateKey => "give the file whose text begins with -----BEGIN CERTIFICATE-----".to_owned(),
        FileKind::TrustedCertificate => format!("openssl x509 -in {file} -out cert.pem"),
        FileKind::Request => signing(&file, ""),
        FileKind::RequestDer => signing(&file, "-inform der "),
        FileKind::Pkcs7 => format!("openssl pkcs7 -in {file} -print_certs -out certs.pem"),
        FileKind::Pkcs7Der => format!("openssl pkcs7 -inform der -in {file} -print_certs -out certs.pem"),
        FileKind::OpenSshKey => format!(
            "an RSA or ECDSA key becomes PEM, in a copy: cp {file} key.pem && ssh-keygen -p -N '' -m PKCS8 -f key.pem; its certificate has to be made for the same key"
        ),
        FileKind::PuttyKey => {
            format!("puttygen {file} -O private-openssh -o key.pem writes an RSA or ECDSA key as PEM")
        }
        FileKind::SshPublicKey | FileKind::PublicKey | FileKind::PublicKeyDer => {
            "a public key proves nothing: the private key is in another file, and a certificate has to be made for it".to_owned()
        }
        FileKind::RevocationList | FileKind::RevocationListDer => {
            "a revocation list says which certificates count no more; the certificate itself is in another file".to_owned()
        }
        FileKind::Parameters => {
            format!("they make a new key: openssl genpkey -paramfile {file} -out key.pem (EC alone)")
        }
        FileKind::Pgp => "PGP's keys are no X.509 identity; 'tbprov certs gen' makes one".to_owned(),
        FileKind::OtherPem => {
            "give a file whose text begins with -----BEGIN CERTIFICATE-----, or -----BEGIN PRIVATE KEY----- for a key".to_owned()
        }
        FileKind::CertificateDer => format!("openssl x509 -inform der -in {file} -out cert.pem"),
        FileKind::KeyDer => format!("openssl pkey -inform der -in {file} -out key.pem"),
        FileKind::Pkcs12 => pkcs12(&file),
        FileKind::JavaKeyStore => format!(
            "keytool -importkeystore -srckeystore {file} -destkeystore store.p12 -deststoretype PKCS12; then {}",
            pkcs12("store.p12")
        ),
        FileKind::Archive => "unpack it first".to_owned(),
        FileKind::Markup => {
            "it is a page, perhaps of a log-in or an error: download the file again".to_owned()
        }
        FileKind::Json => {
            "take the value that begins with -----BEGIN out of it, each \\n as a line end".to_owned()
        }
    }
}

fn rewritten(command: &str) -> String {
    // It may be a private key: the new file is for its owner alone.
    format!("(umask 077; {command} > fixed.pem) writes it as it should be")
}

fn signing(file: &str, form: &str) -> String {
    format!(
        "have it signed by your authority, for example: openssl x509 -req {form}-in {file} -CA ca.pem -CAkey ca_key.pem -CAcreateserial -days 365 -out cert.pem"
    )
}

/// There and back.
fn pkcs12(file: &str) -> String {
    format!(
        "openssl pkcs12 -in {file} -nokeys -out cert.pem && openssl pkcs12 -in {file} -nocerts -nodes -out key.pem \
         (with -legacy where its encryption is old); back: openssl pkcs12 -export -in cert.pem -inkey key.pem -out device.p12"
    )
}
