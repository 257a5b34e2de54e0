//! What is wrong with flags, variables, the configuration file and what is missing; and which comes first.

use serde_json::Value;

use crate::support::{Ran, Sandbox, for_each_row, same};

/// `(the line, what the message names, how it ends)`: wrong and missing arguments.
const REFUSED: &[(&str, &str, &str)] = &[
    ("provision --host mqtts://h:8883", "--host", "2 usage/invalid-value plan"),
    ("provision --port 0", "--port", "2 usage/invalid-value plan"),
    ("provision --port 65536", "--port", "2 usage/invalid-value plan"),
    ("provision --port mqtt", "--port", "2 usage/invalid-value plan"),
    ("provision --key-type ec-p521", "ec-p521", "2 usage/invalid-value plan"),
    ("provision --days 0", "--days", "2 usage/invalid-value plan"),
    ("provision --days many", "--days", "2 usage/invalid-value plan"),
    ("provision --credentials-type password", "--credentials-type", "2 usage/invalid-value plan"),
    ("provision --timeout 0", "--timeout", "2 usage/invalid-value plan"),
    ("provision --timeout soon", "--timeout", "2 usage/invalid-value plan"),
    ("provision --timeout 2h", "--timeout", "2 usage/invalid-value plan"),
    ("provision --send-telemetry=25", "--send-telemetry", "2 usage/invalid-value plan"),
    ("provision --send-telemetry=[]", "--send-telemetry", "2 usage/invalid-value plan"),
    ("provision --send-telemetry={\"a\":", "--send-telemetry", "2 usage/invalid-value plan"),
    ("provision --send-telemetry=@no-such-file", "no-such-file", "5 file/not-found plan"),
    ("provision --send-telemetry=@.", "'.'", "5 file/io plan"),
    ("provision --send-telemetry --count x", "--count", "2 usage/invalid-value plan"),
    ("provision --send-telemetry --interval x", "--interval", "2 usage/invalid-value plan"),
    ("provision --send-telemetry --attributes []", "--attributes", "2 usage/invalid-value plan"),
    ("provision --send-telemetry --telemetry-topic a/#", "a/#", "2 usage/invalid-value plan"),
    ("provision --count 3", "--send-telemetry", "2 usage/missing-value plan"),
    ("provision --cert a", "--key", "2 usage/missing-value plan"),
    ("provision --key a", "--cert", "2 usage/missing-value plan"),
    ("provision --cert a --key b --days 3", "--days", "2 usage/conflict plan"),
    ("provision --cert a --key b --key-type ec-p256", "--key-type", "2 usage/conflict plan"),
    (
        "provision --provision-secret a --provision-secret-file b",
        "--provision-secret-file",
        "2 usage/conflict plan",
    ),
    ("provision --nonsense", "--nonsense", "2 usage/invalid-value plan"),
    ("connect a --cert b --key c", "--cert", "2 usage/conflict plan"),
    ("connect --cert a", "--key", "2 usage/missing-value plan"),
    ("connect", "no device", "5 store/not-found plan"),
    ("connect nobody", "nobody", "5 store/not-found plan"),
    ("certs gen", "--name", "2 usage/missing-value plan"),
    ("certs gen --name d --key-type x", "--key-type", "2 usage/invalid-value plan"),
    ("certs gen --name d --days 0", "--days", "2 usage/invalid-value plan"),
    ("certs gen --name d --ca-cert a", "--ca-key", "2 usage/missing-value plan"),
    ("certs gen --name d --encrypt-key", "Password", "2 usage/missing-value plan"),
    ("certs server", "--host", "2 usage/missing-value plan"),
    ("certs server --host a/b", "--host", "2 usage/invalid-value plan"),
    ("certs ca", "--name", "2 usage/missing-value plan"),
    ("certs inspect", "FILE|HOST:PORT", "2 usage/missing-value plan"),
    ("certs inspect no-such-file", "no-such-file", "5 file/not-found plan"),
    ("certs inspect localhost:0", "'0'", "2 usage/invalid-value plan"),
    ("certs inspect localhost:99999", "99999", "2 usage/invalid-value plan"),
    ("devices show nobody", "nobody", "5 store/not-found plan"),
    ("devices show", "NAME", "2 usage/missing-value plan"),
    ("devices add d", "--cert", "2 usage/missing-value plan"),
    ("doctor --timeout x", "--timeout", "2 usage/invalid-value plan"),
    ("doctor d --host h", "--host", "2 usage/conflict plan"),
    ("sim --fault explode", "accept-then-close", "2 usage/invalid-value plan"),
    ("sim --fault reset", "reset=3", "2 usage/invalid-value plan"),
    ("sim --release 9", "--release", "2 usage/invalid-value plan"),
    ("sim --bind here", "--bind", "2 usage/invalid-value plan"),
    ("sim --strategy none", "pre-provisioned", "2 usage/invalid-value plan"),
    ("completions cobol", "bash", "2 usage/invalid-value plan"),
    ("--color blue devices list", "never", "2 usage/invalid-value plan"),
    ("-q -v devices list", "--verbose", "2 usage/conflict plan"),
    ("--config no-such.toml devices list", "no-such.toml", "2 config/invalid plan"),
    ("--config . devices list", "cannot be used", "2 config/invalid plan"),
    ("provide", "provide", "2 usage/invalid-value plan"),
];

#[test]
fn every_wrong_or_missing_argument_is_named() {
    let sandbox = Sandbox::new();
    for_each_row(REFUSED, |(line, named, promised)| {
        let ran = sandbox.run(&format!("--json {line}"));
        same(line, &ran.brief(), promised)?;
        if !ran.message().contains(named) {
            return Err(format!("{line}: no {named} in {:?}", ran.message()));
        }
        // The same for people: nothing on stdout, the same exit code.
        let told = sandbox.run(line);
        same(line, &told.stdout, "")?;
        same(line, &format!("{:?}", told.code), &format!("{:?}", ran.code))
    });
    assert!(sandbox.files().is_empty());
}

/// What `provision` asks for, in its order: `(flag, value, variable, name in tbprov.toml)`.
const QUESTIONS: &[(&str, &str, &str, &str)] = &[
    ("--host", "h", "TBPROV_HOST", "host"),
    ("--provision-key", "k", "TBPROV_PROVISION_KEY", "provision-key"),
    ("--provision-secret", "s", "TBPROV_PROVISION_SECRET", "provision-secret"),
    ("--device-name", "d", "TBPROV_DEVICE_NAME", "device-name"),
];

#[test]
fn what_is_missing_without_a_terminal_is_named_by_flag_variable_and_file() {
    let sandbox = Sandbox::new();
    let mut line = "provision --json --dry-run".to_owned();
    for (flag, value, variable, name) in QUESTIONS {
        let ran = sandbox.run(&line);
        assert_eq!(ran.brief(), "2 usage/missing-value plan");
        for way in [*flag, *variable, &format!("{name} = "), "tbprov.toml"] {
            assert!(ran.help().contains(way), "{way}: {ran:?}");
        }
        line.push_str(&format!(" {flag} {value}"));
    }
    sandbox.run(&line).done();
}

#[test]
fn each_question_is_answered_by_flag_variable_or_file() {
    let flags: String = QUESTIONS.iter().map(|(flag, value, ..)| format!(" {flag} {value}")).collect();
    let by_flag = Sandbox::new();
    let mut by_variable = Sandbox::new();
    let by_file = Sandbox::new();
    for (_, value, variable, _) in QUESTIONS {
        by_variable.set(variable, value);
    }
    let file: String =
        QUESTIONS.iter().map(|(_, value, _, name)| format!("{name} = \"{value}\"\n")).collect();
    by_file.write("tbprov.toml", file);
    let plan = by_flag.run(&format!("provision --json --dry-run{flags}")).done();
    assert_eq!(by_variable.run("provision --json --dry-run").done(), plan);
    assert_eq!(by_file.run("provision --json --dry-run").done(), plan);
}

fn complete(sandbox: &Sandbox, more: &str) {
    let base = "host = \"file\"\nprovision-key = \"k\"\nprovision-secret = \"s\"\ndevice-name = \"d\"\n";
    sandbox.write("tbprov.toml", format!("{base}{more}"));
}

fn plan(sandbox: &Sandbox, flags: &str, member: &str) -> Value {
    sandbox.run(&format!("provision --json --dry-run {flags}")).done()["dry_run"][member].clone()
}

#[test]
fn a_flag_comes_before_a_variable_and_a_variable_before_the_file() {
    let mut sandbox = Sandbox::new();
    complete(&sandbox, "port = 1001\nstore = \"file\"\n");
    assert_eq!(plan(&sandbox, "", "host"), "file");
    assert_eq!(plan(&sandbox, "", "port"), 1001);
    assert_eq!(plan(&sandbox, "", "store"), "file");
    sandbox.set("TBPROV_HOST", "variable").set("TBPROV_PORT", "1002").set("TBPROV_STORE", "variable");
    assert_eq!(plan(&sandbox, "", "host"), "variable");
    assert_eq!(plan(&sandbox, "", "port"), 1002);
    assert_eq!(plan(&sandbox, "", "store"), "variable");
    assert_eq!(plan(&sandbox, "--host flag", "host"), "flag");
    assert_eq!(plan(&sandbox, "--port 1003", "port"), 1003);
    assert_eq!(plan(&sandbox, "--store ./devices", "store"), tbprov::text::shown_path("./devices"));
}

#[test]
fn the_configuration_is_the_flags_variables_or_the_customary_file() {
    let mut sandbox = Sandbox::new();
    complete(&sandbox, "");
    sandbox.write("other.toml", sandbox.read("tbprov.toml").replace("file", "other"));
    assert_eq!(plan(&sandbox, "", "host"), "file");
    assert_eq!(plan(&sandbox, "--config other.toml", "host"), "other");
    sandbox.set("TBPROV_CONFIG", "other.toml");
    assert_eq!(plan(&sandbox, "", "host"), "other");
    assert_eq!(plan(&sandbox, "--config tbprov.toml", "host"), "file");
}

#[test]
fn a_secrets_file_comes_before_its_variable() {
    let mut sandbox = Sandbox::new();
    complete(&sandbox, "");
    sandbox.set("TBPROV_PROVISION_SECRET", "variable");
    let ran = sandbox.run("provision --json --dry-run --provision-secret-file no-such-file");
    assert_eq!(ran.brief(), "5 file/not-found plan");
}

#[test]
fn doctor_looks_at_the_devices_own_server_whatever_the_variables_say() {
    let mut sandbox = Sandbox::trusting("san");
    let server = crate::support::Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    sandbox.set("TBPROV_HOST", "elsewhere.invalid").set("TBPROV_PORT", "1");
    assert_eq!(sandbox.run("doctor sensor-01 --json").done()["healthy"], true);
    assert_eq!(sandbox.run("doctor --json --timeout 5s").json()["checks"][0]["code"], "network/resolve");
}

/// `(the file, what the message says)`
const CONFIGURATIONS: &[(&str, &str)] = &[
    ("host = \"h\"\nhots = \"h\"\n", "line 2: unknown field `hots`; did you mean `host`?"),
    ("port = \"SECRET\"\n", "line 1: port is a number"),
    ("port = 0\n", "line 1: port is a number (1 to 65535)"),
    ("port = 70000\n", "line 1: port is a number (1 to 65535)"),
    ("days = 0\n", "line 1: days is a number (1 or more)"),
    ("key-type = \"ec-p521\"\n", "line 1: unknown variant `ec-p521`"),
    ("gateway = \"SECRET\"\n", "line 1: expected a boolean"),
    ("[server]\nhost = \"h\"\n", "no sections"),
    ("provision-secret = SECRET\n", "line 1"),
    ("provision-secret = \"SECRET\nport = 3\n", "line 1"),
    ("provision-secret = [\"SECRET\"]\n", "line 1: expected a string"),
    ("\nprovision-secret = { SECRET = 1 }\n", "line 2: expected a string"),
    (
        "provision-secret = \"SECRET\"\nprovision-secret = \"SECRET\"\n",
        "line 2: provision-secret stands in the file twice",
    ),
    ("provision-secret = \"SECRET\"\nprovision-secret-file = \"f\"\n", "both"),
];

#[test]
fn a_wrong_configuration_is_told_by_line_and_never_quotes_a_secret() {
    for_each_row(CONFIGURATIONS, |(file, said)| {
        let sandbox = Sandbox::new();
        sandbox.write("tbprov.toml", file);
        let ran = sandbox.run("provision --json --dry-run");
        same(file, &ran.brief(), "2 config/invalid plan")?;
        let all = format!("{ran:?} {:?}", sandbox.run("-vvv provision --dry-run"));
        match ran.message().contains(said) && ran.message().contains("tbprov.toml") && !all.contains("SECRET")
        {
            true => Ok(()),
            false => Err(format!("{file:?}: {all}")),
        }
    });
}

#[test]
fn a_configuration_that_is_no_text_is_refused_and_a_byte_order_mark_is_not() {
    let sandbox = Sandbox::new();
    sandbox.write("tbprov.toml", b"\xff\xfeh");
    assert_eq!(sandbox.run("devices list --json").brief(), "2 config/invalid plan");
    complete(&sandbox, "");
    sandbox.write("tbprov.toml", format!("\u{feff}{}", sandbox.read("tbprov.toml")));
    assert_eq!(plan(&sandbox, "", "host"), "file");
}

#[test]
fn empty_values_are_refused() {
    let sandbox = Sandbox::new();
    let ran = |arguments: &[&str]| sandbox.run_all(["--json"].iter().chain(arguments));
    let common = ["provision", "--host", "h", "--provision-key"];
    let rows: [(Ran, &str); 4] = [
        (ran(&["provision", "--host", ""]), "--host"),
        (ran(&[&common[..], &[" "]].concat()), "--provision-key is empty"),
        (ran(&[&common[..], &["k", "--provision-secret", ""]].concat()), "--provision-secret is empty"),
        (ran(&["certs", "gen", "--name", " "]), "name is empty"),
    ];
    for (ran, said) in rows {
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
        assert!(ran.message().contains(said), "{ran:?}");
    }
}

/// A folder cannot have every name.
#[test]
fn doctor_names_devices_as_the_user_did() {
    let server = crate::support::Server::presenting("san", |_| {});
    let sandbox = Sandbox::trusting("san");
    assert_eq!(server.provision_as(&sandbox, "hall/1", "").outcome(), "provisioned");
    let doctor = sandbox.run("doctor --json").json();
    let checks = doctor["checks"].as_array().unwrap();
    let device = checks.iter().find(|check| check["check"] == "device").unwrap();
    assert_eq!(device["detail"], "hall/1: proved");
}

#[test]
fn completions_offer_the_words_that_a_value_can_be() {
    let script = Sandbox::new().run("completions bash").stdout;
    for words in [
        "ec-p256 ec-p384 ed25519 rsa-2048 rsa-3072 rsa-4096",
        "esp32 esp32c2 esp32c3 esp32c6 esp32h2 esp32s3",
        "x509 access-token mqtt-basic",
        "3.2 3.4 3.6 3.8 4.0 4.3",
    ] {
        assert!(script.contains(&format!("-W \"{words}\"")), "{words}");
    }
    assert!(script.contains(" drop-before-tls ") && script.contains(" rate-limit= "));
}
