//! Files that other programs make, given where PEM is needed: each is named, and the advised command makes PEM of it.

use super::*;

/// How a file is made of `cert.pem` and `key.pem`, the flag that it is given to, what is said of it, and the file that
/// the advised command makes; none where nothing can be made of it.
const KINDS: &[(&str, &str, &str, Option<&str>)] = &[
    ("openssl x509 -in cert.pem -outform der -out given", "--cert", "a certificate in DER", Some("cert.pem")),
    ("openssl pkey -in key.pem -outform der -out given", "--key", "a private key in DER", Some("key.pem")),
    ("openssl ec -in key.pem -outform der -out given", "--key", "a private key in DER", Some("key.pem")),
    ("openssl rsa -in rsa.pem -traditional -outform der -out given", "--key", "a private key in DER", None),
    (
        "openssl pkcs8 -topk8 -in key.pem -outform der -passout pass:x -out given",
        "--key",
        "a private key in DER",
        None,
    ),
    ("openssl pkey -in key.pem -pubout -outform der -out given", "--key", "a public key in DER", None),
    ("openssl pkey -in key.pem -pubout -out given", "--key", "a public key", None),
    ("openssl req -new -key key.pem -subj /CN=x -out given", "--cert", "a certificate request", None),
    (
        "openssl req -new -key key.pem -subj /CN=x -outform der -out given",
        "--cert",
        "a certificate request",
        None,
    ),
    ("openssl crl2pkcs7 -nocrl -certfile cert.pem -out given", "--cert", "PKCS#7", Some("certs.pem")),
    (
        "openssl crl2pkcs7 -nocrl -certfile cert.pem -outform der -out given",
        "--cert",
        "PKCS#7",
        Some("certs.pem"),
    ),
    ("openssl x509 -in cert.pem -trustout -out given", "--cert", "TRUSTED form", Some("cert.pem")),
    ("openssl ecparam -name prime256v1 -out given", "--key", "without the key", None),
    (
        "openssl pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out given",
        "--cert",
        "PKCS#12",
        Some("cert.pem"),
    ),
    (
        "openssl pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out given",
        "--key",
        "PKCS#12",
        Some("key.pem"),
    ),
    ("openssl ca -config ca.cnf -gencrl -out given", "--cert", "revoked certificates", None),
    (
        "openssl ca -config ca.cnf -gencrl -out crl && openssl crl -in crl -outform der -out given",
        "--cert",
        "revoked certificates",
        None,
    ),
];

const AUTHORITY: &str = "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ncertificate=cert.pem\nprivate_key=key.pem\ndefault_md=sha256\ndefault_crl_days=1\n";

#[test]
fn what_other_programs_make_is_named_and_converted() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    tbprov(&sandbox, &["certs", "gen", "--name", "sensor"]);
    sandbox.write("ca.cnf", AUTHORITY);
    sandbox.write("index.txt", "");
    sandbox.write("rsa.pem", fixture_text("files/pkcs1_key.pem"));
    let shell = |script: &str| say(&sandbox, "sh", &["-c", script]);
    shell("mkdir made");
    for (make, flag, says, makes) in KINDS {
        shell(make);
        let given = |file: &str| {
            let plan =
                "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
            let (certificate, key) = if *flag == "--cert" { (file, "key.pem") } else { ("cert.pem", file) };
            sandbox.run_all(plan.split(' ').chain(["--cert", certificate, "--key", key]))
        };
        let ran = given("given");
        ran.failed(5, "file/not-pem");
        assert!(ran.message().contains(says), "{make}: {}", ran.message());
        // Advice about DER is for DER alone.
        let is_pem = std::fs::read(sandbox.path("given")).unwrap().starts_with(b"-----BEGIN ");
        assert!(!(is_pem && ran.help().contains("-inform der")), "{make}: {}", ran.help());
        let Some(makes) = makes else { continue };
        // In a folder of its own, so that nothing is made of what is there; without a terminal to ask for a password.
        let help = ran.help().replace("-in given", "-in ../given");
        let command = help.split(" (with -legacy").next().unwrap();
        let command = command.replace("openssl pkcs12 ", "openssl pkcs12 -passin pass:x ");
        shell(&format!("cd made && {command}"));
        given(&format!("made/{makes}")).done();
    }
}
