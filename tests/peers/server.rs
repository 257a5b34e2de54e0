//! Servers whose certificate OpenSSL made: the example's own commands, and an impostor.

use std::process::Stdio;

use super::*;

/// The commands of the ESP32 example, with its option that leaves the questions out.
fn server_certificate(sandbox: &Sandbox) {
    say(sandbox, "openssl", &["ecparam", "-out", "server_key.pem", "-name", "secp256r1", "-genkey"]);
    let request = "req -new -key server_key.pem -x509 -nodes -days 365 -out server.pem -subj /CN=localhost";
    say(sandbox, "openssl", &request.split(' ').collect::<Vec<_>>());
}

/// From the example's server certificate to telemetry, with a new key and with the example's own.
#[test]
fn a_server_certificate_of_the_examples_commands_serves_every_release() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    server_certificate(&sandbox);
    // The example's device key has 4096 bits, which takes long.
    let request =
        "req -x509 -newkey rsa:2048 -keyout key.pem -out cert.pem -sha256 -days 365 -nodes -subj /CN=esp32";
    say(&sandbox, "openssl", &request.split(' ').collect::<Vec<_>>());
    for release in RELEASES {
        let release = release.as_str();
        let arguments =
            ["sim", "--events", "--port", "0", "--dir", ".", "--release", release, "--provision-key", KEY];
        let mut sim = Running::start(sandbox.tbprov(&arguments).env("TBPROV_SIM_PROVISION_SECRET", SECRET));
        let ready: serde_json::Value = serde_json::from_str(&sim.until("\"command\":\"sim\"")).unwrap();
        let port = ready["port"].to_string();
        for (name, more) in [("new key", &[][..]), ("own key", &["--cert", "cert.pem", "--key", "key.pem"])] {
            let device = format!("{release} {name}");
            let arguments =
                ["provision", "--json", "--host", "localhost", "--port", &port, "--device-name", &device];
            let mut command = sandbox.tbprov(&arguments);
            command
                .args(["--provision-key", KEY, "--server-cert", "server.pem", "--send-telemetry"])
                .args(more);
            let result = run(command.env("TBPROV_PROVISION_SECRET", SECRET)).done();
            assert_eq!(
                (&result["outcome"], &result["telemetry"]["acknowledged"]),
                (&"provisioned".into(), &1.into())
            );
            assert!(sim.until("\"event\":\"telemetry\"").contains(&device));
        }
    }
}

/// A server with the same name and another key, made by the same commands, learns nothing.
#[test]
fn an_impostor_learns_nothing() {
    if installed("openssl").is_none() {
        return;
    }
    let (sandbox, impostor) = (Sandbox::new(), Sandbox::new());
    server_certificate(&sandbox);
    server_certificate(&impostor);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = impostor.command("openssl");
        command
            .args("s_server -accept 127.0.0.1:0 -cert server.pem -key server_key.pem -naccept 1".split(' '));
        // It closes the connection when its stdin ends.
        let mut server = Running::start(command.arg(version).stdin(Stdio::piped()));
        let accept = server.until("ACCEPT");
        let port = accept.trim_end().rsplit(':').next().unwrap();
        let arguments =
            ["provision", "--json", "--host", "localhost", "--port", port, "--device-name", "sensor"];
        let mut command = sandbox.tbprov(&arguments);
        command
            .args(["--provision-key", KEY, "--server-cert", "server.pem"])
            .env("TBPROV_PROVISION_SECRET", SECRET);
        run(&mut command).failed(3, "tls/untrusted");
        let heard = server.end().stdout;
        assert!(!heard.contains("sensor") && !heard.contains(KEY) && !heard.contains(SECRET), "{heard}");
        assert!(!heard.contains("CIPHER is"), "the handshake did not end well: {heard}");
    }
}

/// Servers whose certificates nobody should have: how OpenSSL makes the pair, what the key is called, and whether the
/// server can prove that it has it.
const STRANGE: &[(&str, &str, bool)] = &[
    ("req -x509 -newkey rsa:1024 -noenc", "rsa-1024", false),
    ("req -x509 -newkey rsa:2048 -noenc -md5", "rsa-2048", true),
    ("req -x509 -newkey rsa:2048 -noenc -sha1", "rsa-2048", true),
    ("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -noenc", "ec-p521", true),
    (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -noenc",
        "ec with explicit parameters",
        false,
    ),
];

/// Looking is possible whatever is there, and says what was not proved.
#[test]
fn what_a_server_presents_is_shown_whatever_it_is() {
    if installed("openssl").is_none() {
        return;
    }
    for (make, key, proved) in STRANGE {
        let sandbox = Sandbox::new();
        let files = ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-days", "9"];
        say(&sandbox, "openssl", &[&make.split(' ').collect::<Vec<_>>()[..], &files].concat());
        let mut command = sandbox.command("openssl");
        command.args("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -naccept 2".split(' '));
        let mut server = Running::start(command.args(["-cipher", "ALL:@SECLEVEL=0"]).stdin(Stdio::piped()));
        let accept = server.until("ACCEPT");
        let place = format!("localhost:{}", accept.trim_end().rsplit(':').next().unwrap());
        let ran = run(&mut sandbox.tbprov(&["certs", "inspect", "--json", &place, "--save", "server.pem"]));
        let shown = ran.done();
        assert_eq!((&shown["certificates"][0]["key"], &shown["proved"]), (&(*key).into(), &(*proved).into()));
        assert_eq!(sandbox.read("server.pem"), sandbox.read("cert.pem"), "{make}");
        assert!(ran.stderr.contains("in 8 days"), "it ends soon: {ran:?}");
        let said = run(&mut sandbox.tbprov(&["certs", "inspect", &place])).stdout;
        assert_eq!(said.contains("not proved"), !proved, "{make}: {said}");
    }
}
