//! What turns a file into the PEM that is needed: command lines, by what the file is.

use std::path::Path;

use super::shell::{Desk, for_this_user_alone};
use tbprov::error::FileKind;

/// What to do with the file at `path`, which is `kind`, at a machine of this kind.
pub(super) fn conversion(desk: Desk, kind: FileKind, path: Option<&Path>) -> String {
    let file = path.map_or_else(|| "FILE".to_owned(), |path| desk.quoted_path(path));
    match kind {
        FileKind::EscapedPem | FileKind::OneLinePem | FileKind::IndentedPem | FileKind::QuotedPem => {
            rewritten(desk, kind, &file)
        }
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
        FileKind::OpenSshKey => {
            // Windows PowerShell leaves an empty word out, so the program asks for the new passphrase there.
            let copy = match desk {
                Desk::Windows => format!("Copy-Item -LiteralPath {file} key.pem; ssh-keygen -p -m PKCS8 -f key.pem (the new passphrase is empty)"),
                Desk::Linux | Desk::MacOs => format!("cp {file} key.pem && ssh-keygen -p -N '' -m PKCS8 -f key.pem"),
            };
            format!("an RSA or ECDSA key becomes PEM, in a copy: {copy}; its certificate has to be made for the same key")
        }
        FileKind::PuttyKey => match desk {
            Desk::Windows => format!("puttygen {file} opens a window: Conversions > Export OpenSSH key writes an RSA or ECDSA key as PEM"),
            Desk::Linux | Desk::MacOs => format!("puttygen {file} -O private-openssh -o key.pem writes an RSA or ECDSA key as PEM"),
        },
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
        FileKind::Pkcs12 => pkcs12(desk, &file),
        FileKind::JavaKeyStore => format!(
            "keytool -importkeystore -srckeystore {file} -destkeystore store.p12 -deststoretype PKCS12; then {}",
            pkcs12(desk, "store.p12")
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

/// The text with its line ends, blanks and quotes as they should be. It may be a private key, so the new file is for its
/// owner alone; on Windows once the second command has run.
fn rewritten(desk: Desk, kind: FileKind, file: &str) -> String {
    let command = match desk {
        Desk::Windows => format!(
            "{} | Set-Content -Encoding ascii fixed.pem; {}",
            in_powershell(kind, file),
            for_this_user_alone("fixed.pem", "F")
        ),
        Desk::Linux | Desk::MacOs => format!("(umask 077; {} > fixed.pem)", in_sh(kind, file)),
    };
    format!("{command} writes it as it should be")
}

fn in_sh(kind: FileKind, file: &str) -> String {
    match kind {
        FileKind::EscapedPem => {
            format!(r#"awk '{{gsub(/\\r/,""); gsub(/\\n/,"\n"); gsub(/["\047,]/,"")}}1' {file}"#)
        }
        FileKind::OneLinePem => format!(r#"awk '{{gsub(/-----[A-Z0-9 ]+-----/,"\n&\n")}}1' {file}"#),
        FileKind::IndentedPem => format!("sed 's/^[[:space:]]*//' {file}"),
        _ => format!(r#"awk '{{gsub(/["\047]/,""); gsub(/^[ \t]+/,"")}}1' {file}"#),
    }
}

fn in_powershell(kind: FileKind, file: &str) -> String {
    let lines = format!("(Get-Content -LiteralPath {file})");
    match kind {
        FileKind::EscapedPem => {
            format!(r#"{lines} -creplace '\\r','' -creplace '\\n',"`n" -creplace '["'',]',''"#)
        }
        FileKind::OneLinePem => format!(r#"{lines} -creplace '-----[A-Z0-9 ]+-----',"`n`$&`n""#),
        FileKind::IndentedPem => format!(r"{lines} -creplace '^\s+',''"),
        _ => format!(r#"{lines} -creplace '["'']','' -creplace '^\s+',''"#),
    }
}

fn signing(file: &str, form: &str) -> String {
    format!(
        "have it signed by your authority, for example: openssl x509 -req {form}-in {file} -CA ca.pem -CAkey ca_key.pem -CAcreateserial -days 365 -out cert.pem"
    )
}

/// There and back.
fn pkcs12(desk: Desk, file: &str) -> String {
    let then = desk.then();
    format!(
        "openssl pkcs12 -in {file} -nokeys -out cert.pem{then}openssl pkcs12 -in {file} -nocerts -nodes -out key.pem \
         (with -legacy where its encryption is old); back: openssl pkcs12 -export -in cert.pem -inkey key.pem -out device.p12"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_its_own_command() {
        let path = Path::new("my key.pem");
        for (kind, written) in [
            (
                FileKind::EscapedPem,
                r#"(Get-Content -LiteralPath "my key.pem") -creplace '\\r','' -creplace '\\n',"`n" -creplace '["'',]','' |"#,
            ),
            (FileKind::OneLinePem, r#" -creplace '-----[A-Z0-9 ]+-----',"`n`$&`n" |"#),
            (FileKind::IndentedPem, r" -creplace '^\s+','' |"),
            (FileKind::QuotedPem, r#" -creplace '["'']','' -creplace '^\s+','' |"#),
        ] {
            let command = conversion(Desk::Windows, kind, Some(path));
            assert!(command.contains(written), "{command}");
            assert!(command.contains(
                r#"; icacls fixed.pem /inheritance:r /grant:r "${env:USERDOMAIN}\${env:USERNAME}:F""#
            ));
            assert!(conversion(Desk::MacOs, kind, Some(path)).starts_with("(umask 077; "));
        }
    }

    #[test]
    fn windows_has_no_command_of_sh() {
        for kind in [FileKind::Pkcs12, FileKind::JavaKeyStore, FileKind::OpenSshKey] {
            let command = conversion(Desk::Windows, kind, None);
            assert!(!command.contains("&&") && !command.contains("''"), "{command}");
            assert!(conversion(Desk::Linux, kind, None).contains(" && "));
        }
        // PuTTYgen takes flags on Unix alone.
        for (desk, flags) in [(Desk::Windows, false), (Desk::Linux, true), (Desk::MacOs, true)] {
            let command = conversion(desk, FileKind::PuttyKey, Some(Path::new("my.ppk")));
            assert!(command.starts_with("puttygen my.ppk "), "{command}");
            assert_eq!(
                (command.contains(" -O "), command.contains(" > Export")),
                (flags, !flags),
                "{command}"
            );
        }
    }
}
