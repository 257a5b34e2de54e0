//! What people give, and where: the text of a key where a path is wanted, what a `.env` file leaves behind, secrets in the
//! wrong place. Each is refused by the name of its source, and none is shown.

use crate::support::{KEY, Ran, SECRET, Sandbox, Server, fixture_text, for_each_row, same};

/// What must never be seen, in arguments that are no secrets by their place.
const HIDDEN: &str = "Hunter2Hunter2Hunter2";

fn run(variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let sandbox = Sandbox::new();
    let mut command = sandbox.bare_in_time();
    Ran::from(command.envs(variables.iter().copied()).args(arguments).output().unwrap())
}

/// The ways to hand over a key, and the line of it that is looked for in what is said.
fn texts_of_a_key() -> Vec<String> {
    let pem = fixture_text("server/san_key.pem");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    vec![
        pem.clone(),
        pem.replace('\n', "\r\n"),
        pem.replace('\n', "\\n"),
        pem.replace('\n', " "),
        pem.lines().map(|line| format!("  {line}\n")).collect(),
        body,
    ]
}

#[test]
fn the_text_of_a_key_is_refused_by_its_name_and_never_shown() {
    let texts = texts_of_a_key();
    let secret = texts[0].lines().find(|line| line.len() == 64).unwrap().to_owned();
    let mut rows: Vec<(&str, Vec<String>, Option<&str>)> = Vec::new();
    for text in &texts {
        let text = text.as_str();
        rows.push(("--key ", ["provision", "--key", text, "--cert", "c"].map(str::to_owned).to_vec(), None));
        rows.push(("--key ", vec!["connect".to_owned(), format!("--key={text}")], None));
        rows.push(("TBPROV_SERVER_CERT ", ["devices", "list"].map(str::to_owned).to_vec(), Some(text)));
        rows.push(("argument 2 ", ["connect", text].map(str::to_owned).to_vec(), None));
        rows.push(("argument 2 ", ["--nonsense", text].map(str::to_owned).to_vec(), None));
        rows.push(("--port ", ["provision", "--port", text].map(str::to_owned).to_vec(), None));
    }
    for_each_row(&rows, |(name, arguments, variable)| {
        let variables: Vec<_> = variable.iter().map(|text| ("TBPROV_SERVER_CERT", *text)).collect();
        let modes =
            if *name == "--key " { &[&[][..], &["--json"], &["--events"]][..] } else { &[&["--json"][..]] };
        for mode in modes {
            let arguments: Vec<&str> =
                arguments.iter().map(String::as_str).chain(mode.iter().copied()).collect();
            let ran = run(&variables, &arguments);
            same(name, &format!("{:?}", ran.code), "Some(2)")?;
            let said = format!("{}{}", ran.stdout, ran.stderr);
            if !said.contains(&format!("{name}holds the text of a file")) || said.contains(&secret[..20]) {
                return Err(format!("{arguments:?}: {said}"));
            }
        }
        Ok(())
    });
}

/// `(arguments, what is said)`: a secret in a place where clap would show it.
const MISPLACED: &[(&[&str], &str)] = &[
    (&["provision", HIDDEN], "argument 2 is not expected"),
    (
        &["provision", "--provision-secret", "--Hunter2Hunter2Hunter2"],
        "--provision-secret begins with a dash",
    ),
    (&["provision", "--provision-key", "-Hunter2Hunter2Hunter2"], "--provision-key begins with a dash"),
    (&["provision", "--provision-secrt=Hunter2Hunter2Hunter2"], "'--provision-secrt'"),
    (&["provision", "--provision-secrt", HIDDEN], "'--provision-secrt'"),
    (&["certs", "gen", "--name", "d", "--encrypt-key", HIDDEN], "argument 6 is not expected"),
    (&["--json=Hunter2Hunter2Hunter2", "devices", "list"], "--json takes no value"),
    (&["devices", "list", "--quiet=Hunter2Hunter2Hunter2"], "--quiet takes no value"),
    (&[HIDDEN], "no command of the name that was given"),
    (&["devices", "list", "--config", HIDDEN], "no configuration file of the name"),
    (
        &["devices", "list", "--config", r#"{"provision-secret":"Hunter2Hunter2Hunter2"}"#],
        "--config holds the text",
    ),
    (&["provision", "TBPROV_PROVISION_SECRET=Hunter2Hunter2Hunter2"], "argument 2 holds the text"),
    (
        &["provision", "--host", "h", "--provision-key", "k", "--provision-secret-file", HIDDEN],
        "cannot read the provision secret",
    ),
    (
        &["firmware", "identity", "--out", "o", "--wifi-ssid", "s", "--device", "d", "extra", HIDDEN],
        "argument 9 is not expected",
    ),
];

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for_each_row(MISPLACED, |(arguments, said)| {
        for mode in [&[][..], &["--json"], &["--events", "-vv"]] {
            let arguments: Vec<&str> = arguments.iter().chain(mode).copied().collect();
            let ran = run(&[], &arguments);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            if !all.contains(said) || all.contains(&HIDDEN[..8]) || !matches!(ran.code, Some(2 | 5)) {
                return Err(format!("{arguments:?}: {ran:?}"));
            }
        }
        Ok(())
    });
    let ran = run(&[("TBPROV_CONFIG", HIDDEN)], &["devices", "list"]);
    assert!(ran.stderr.contains("config/invalid") && !ran.stderr.contains(HIDDEN), "{ran:?}");
    let helped = run(&[("TBPROV_STORE", HIDDEN)], &["connect", "--help"]);
    assert!(helped.stdout.contains("[env: TBPROV_STORE]") && !helped.stdout.contains(HIDDEN), "{helped:?}");
}

#[test]
fn a_path_that_is_shown_is_one_short_line() {
    let long = format!("begin/{}/end.pem", "x/".repeat(400));
    let rows: [&[&str]; 7] = [
        &["certs", "inspect", &long],
        &["connect", "--host", "h", "--cert", &long, "--key", "k"],
        &["provision", "--server-cert", &long],
        &["devices", "list", "--config", &long],
        &["sim", "--port", "0", "--strategy", "chain", "--name-pattern", "(.*)", "--ca", &long],
        &["connect", "--send-telemetry=@FILE"],
        &["provision", "--port", &long],
    ];
    for arguments in rows {
        let telemetry = format!("--send-telemetry=@{long}");
        let arguments: Vec<_> =
            arguments.iter().map(|part| if part.ends_with("@FILE") { &*telemetry } else { part }).collect();
        let message = run(&[], &[&arguments[..], &["--json"]].concat()).message();
        assert!(message.contains(" … ") && message.contains("end.pem"), "{message}");
        assert!(message.chars().count() < 500 && !message.contains('\n'), "{message}");
    }
}

/// The variables of a `.env` file with Windows' line ends, and the command that reads each.
const VARIABLES: &[(&str, &str, &str)] = &[
    ("TBPROV_SERVER_CERT", "server.pem", "provision"),
    ("TBPROV_STORE", "store", "devices list"),
    ("TBPROV_CONFIG", "tbprov.toml", "devices list"),
    ("TBPROV_HOST", "localhost", "provision"),
    ("TBPROV_HOST", "localhost", "doctor"),
    ("TBPROV_PORT", "8883", "provision"),
    ("TBPROV_PROVISION_KEY", KEY, "provision --host h"),
    ("TBPROV_PROVISION_SECRET", SECRET, "provision --host h --provision-key k"),
    ("TBPROV_DEVICE_NAME", "d", "provision"),
    ("TBPROV_DEVICE_NAME", "d", "certs gen"),
    ("TBPROV_KEY_PASSWORD", SECRET, "certs gen --name d --encrypt-key"),
    ("TBPROV_WIFI_SSID", "home", "firmware identity --out o"),
    ("TBPROV_SERIAL_PORT", "/dev/ttyUSB9", "firmware monitor"),
    ("TBPROV_SIM_PROVISION_SECRET", SECRET, "sim --port 0"),
];

#[test]
fn what_a_windows_env_file_leaves_is_refused_by_the_variables_name() {
    for_each_row(VARIABLES, |(variable, value, line)| {
        let shapes = [
            (
                format!("{value}\r"),
                "ends with a carriage return (\\r): it comes from a file with Windows line ends",
            ),
            (format!("{value}\n"), "ends with a line end (\\n)"),
            (format!("a\t{value}"), "holds a control character (\\t)"),
            (format!("\u{feff}{value}"), "begins with a byte order mark (U+FEFF)"),
            (format!("{value}\u{1b}[31m"), r"holds a control character (\u{1b})"),
        ];
        for (given, said) in shapes {
            let sandbox = Sandbox::new();
            let mut command = sandbox.bare_in_time();
            command.env(variable, &given).args(line.split(' ')).arg("--json");
            let ran = Ran::from(command.output().unwrap());
            let json = ran.json();
            // `doctor` tells a wrong host as its first check.
            let message = match json["checks"][0]["detail"].as_str() {
                Some(detail) => detail.to_owned(),
                None => ran.message(),
            };
            same(variable, &message, &format!("{variable} {said}"))?;
            same(variable, &format!("{:?}", ran.code), "Some(2)")?;
            same(variable, &format!("{:?}", sandbox.files()), "[]")?;
        }
        Ok(())
    });
}

#[test]
fn a_flag_and_a_line_are_read_as_a_variable_is() {
    for (flag, line) in [
        ("--server-cert", "provision"),
        ("--wifi-ssid", "firmware identity --out o"),
        ("--store", "devices list"),
        ("--provision-secret-file", "provision"),
        ("--out", "certs gen --name d"),
    ] {
        let flags = format!("{flag}=x\r");
        let arguments: Vec<_> = line.split(' ').chain([&*flags, "--json"]).collect();
        let ran = run(&[], &arguments);
        assert!(ran.message().starts_with(&format!("{flag} ends with a carriage return")), "{ran:?}");
    }
    let sandbox = Sandbox::new();
    for line in
        ["store = \"x\\r\"", "server-cert = \"x\\r\"", "host = \"h\\r\"", "provision-secret = \"s\\r\""]
    {
        sandbox.write("tbprov.toml", line);
        let ran = sandbox.run("provision --dry-run --json");
        let name = line.split(' ').next().unwrap();
        assert!(ran.message().contains(&format!("'{name}' in tbprov.toml ends with a carriage")), "{ran:?}");
    }
}

#[test]
fn a_character_that_cannot_be_seen_is_named() {
    for unseen in ["\u{200b}", "\u{2060}", "\u{202e}", "\u{feff}"] {
        let code = format!("U+{:04X}", u32::from(unseen.chars().next().unwrap()));
        for (variable, line) in [
            ("TBPROV_PROVISION_KEY", "provision --host h"),
            ("TBPROV_PROVISION_SECRET", "provision --host h --provision-key k"),
        ] {
            let arguments: Vec<_> = line.split(' ').chain(["--json"]).collect();
            let said = run(&[(variable, &format!("{KEY}{unseen}x"))], &arguments).message();
            assert_eq!(said, format!("{variable} holds the character {code}, which cannot be seen"));
        }
        let said =
            run(&[("TBPROV_SERVER_CERT", &format!("a{unseen}.pem"))], &["provision", "--json"]).message();
        assert!(said.contains(&unseen.escape_unicode().to_string()), "{said}");
    }
}

#[test]
fn an_empty_value_is_told_by_its_own_name() {
    for (variable, line) in [
        ("TBPROV_SERVER_CERT", "provision"),
        ("TBPROV_HOST", "provision"),
        ("TBPROV_PORT", "provision"),
        ("TBPROV_HOST", "doctor"),
        ("TBPROV_PORT", "doctor --host h"),
        ("TBPROV_STORE", "devices list"),
        ("TBPROV_CONFIG", "devices list"),
        ("TBPROV_PROVISION_KEY", "provision --host h"),
        ("TBPROV_PROVISION_SECRET", "provision --host h --provision-key k"),
        ("TBPROV_KEY_PASSWORD", "certs gen --name d --encrypt-key"),
    ] {
        let arguments: Vec<_> = line.split(' ').chain(["--json"]).collect();
        let said = run(&[(variable, "")], &arguments).stdout;
        assert!(said.contains(&format!("\"{variable} is empty\"")), "{line}: {said}");
    }
    for (flag, line) in [
        ("--provision-key", "provision --host h"),
        ("--provision-secret", "provision --host h --provision-key k"),
    ] {
        let arguments: Vec<_> = line.split(' ').chain([flag, "", "--json"]).collect();
        assert_eq!(run(&[], &arguments).message(), format!("{flag} is empty"));
    }
    let wrong = run(&[("TBPROV_PORT", "88x")], &["provision", "--json"]).message();
    assert!(wrong.contains("for 'TBPROV_PORT'") && !wrong.contains("--port"), "{wrong}");
}

/// What `docker --env-file` and a hasty copy leave around a value.
#[test]
fn quotes_and_blanks_are_named_where_the_server_does_not_know_the_profile() {
    let server = Server::presenting("san", |_| {});
    let quoted = |text: &str| format!("\"{text}\"");
    let rows: Vec<(&str, String, &str)> = vec![
        ("TBPROV_PROVISION_KEY", quoted(KEY), "TBPROV_PROVISION_KEY is in quotes"),
        ("TBPROV_PROVISION_KEY", format!("'{KEY}'"), "TBPROV_PROVISION_KEY is in quotes"),
        ("TBPROV_PROVISION_KEY", format!(" “{KEY}” "), "TBPROV_PROVISION_KEY is in quotes"),
        ("TBPROV_PROVISION_SECRET", quoted(SECRET), "TBPROV_PROVISION_SECRET is in quotes"),
        ("TBPROV_PROVISION_SECRET", format!("{SECRET} "), "TBPROV_PROVISION_SECRET ends with a blank"),
        ("TBPROV_PROVISION_SECRET", format!("\u{a0}{SECRET}"), "TBPROV_PROVISION_SECRET begins with a blank"),
    ];
    for_each_row(&rows, |(variable, value, said)| {
        let mut sandbox = Sandbox::trusting("san");
        for (name, value) in server.environment() {
            sandbox.set(name, &value);
        }
        let ran = sandbox.set(variable, value).run("provision --device-name d --json");
        same(said, &ran.brief(), "1 server/not-found exchange")?;
        let is_told = ran.help().contains(said) && ran.help().contains("check the provision key and secret");
        let all = format!("{}{}", ran.stdout, ran.stderr);
        match is_told && !all.contains(SECRET) && !all.contains(KEY) {
            true => Ok(()),
            false => Err(format!("{said}: {all}")),
        }
    });
    let sandbox = Sandbox::new();
    let mut command = sandbox.bare_in_time();
    command.env("TBPROV_SERVER_CERT", "\"server.pem\"").args(["provision", "--json"]);
    let ran = Ran::from(command.output().unwrap());
    // No file of Windows has such a name.
    let code = if cfg!(windows) { "file/io" } else { "file/not-found" };
    assert_eq!(ran.brief(), format!("5 {code} plan"));
    assert!(ran.help().contains("TBPROV_SERVER_CERT is in quotes"), "{ran:?}");
}

#[test]
fn a_reading_after_a_blank_is_told_from_a_device() {
    for arguments in [
        &["connect", "--send-telemetry", r#"{"a":1}"#][..],
        &["connect", "d", "--send-telemetry", r#"{"a":1}"#],
        &["connect", "--send-telemetry", "@file"],
        &["provision", "--send-telemetry", r#"{"a":1}"#],
    ] {
        let ran = run(&[], &[arguments, &["--json"]].concat());
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
        // PowerShell before 7.3 removes the quotes from a reading.
        let form = if cfg!(windows) { "--send-telemetry=@FILE" } else { "--send-telemetry='{" };
        assert!(ran.help().contains(&format!("without a blank: {form}")), "{ran:?}");
    }
}

/// `(the file, what the message says)`
const LINES: &[(&str, &str)] = &[
    (r#"server-cert = "C:\Users\a.pem""#, "single quotes: server-cert = 'C:\\…'"),
    (r#"server-cert = "C:\xyz""#, "single quotes: server-cert = 'C:\\…'"),
    (r#"store = "C:\new""#, "a backslash between double quotes begins an escape"),
    ("provision-key = Txyz", "a text needs quotes: provision-key = \"…\""),
    ("host = mqtt.example.com", "a text needs quotes: host = \"…\""),
    ("host = “x”", "a text needs quotes"),
    ("port = \"8883\"", "port is a number (1 to 65535), without quotes"),
    ("port = 08883", "port is a number (1 to 65535), such as port = 8883"),
    ("days = 10d", "days is a number"),
    ("gateway = \"true\"", "gateway = true or gateway = false, without quotes"),
    ("skip-name-check = True", "skip-name-check = true or"),
    ("hots = \"h\"", "did you mean `host`?"),
    ("provision_secret = \"SECRET\"", "did you mean `provision-secret`?"),
    ("servercert = \"x\"", "did you mean `server-cert`?"),
    ("\u{feff}hosts = \"x\"", "field `hosts`; did you mean `host`?"),
    ("TBPROV_PROVISION_SECRET=SECRET", "the line is called provision-secret"),
    ("export TBPROV_HOST=h", "the line is called host"),
    ("provision-secret: SECRET", "an equals sign is needed: provision-secret = …"),
    ("provision-secret = \"SECRET", "the quote at the end is missing"),
    ("provision-secret = \"SEC\"RET\"", "a text with quotes in it"),
    ("{\"provision-secret\": \"SECRET\"}", "this is JSON"),
    ("[provision]\nhost = \"h\"", "no sections"),
    ("host = \"a\"\r\nport = 3\r\nport = 4\r\n", "line 3: port stands in the file twice"),
    ("key-type = \"SECRETSECRET1\"", "expected one of `ec-p256`"),
    (
        "provision-secret = '''-----BEGIN PRIVATE KEY-----SECRET'''",
        "'provision-secret' in tbprov.toml holds the text",
    ),
];

#[test]
fn a_wrong_line_is_told_with_what_to_write_instead() {
    for_each_row(LINES, |(file, said)| {
        let sandbox = Sandbox::new();
        sandbox.write("tbprov.toml", file);
        let ran = sandbox.run("provision --json --dry-run");
        same(file, &ran.brief(), "2 config/invalid plan")?;
        let all = format!("{}{}", ran.stdout, ran.stderr);
        match ran.message().contains(said) && !all.contains("SEC") {
            true => Ok(()),
            false => Err(format!("{file:?}: {all}")),
        }
    });
    let sandbox = Sandbox::new();
    let utf16: Vec<u8> = "\u{feff}host = \"h\"\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    sandbox.write("tbprov.toml", utf16);
    let ran = sandbox.run("devices list --json");
    assert!(ran.message().contains("UTF-16") && ran.help().contains("plain text"), "{ran:?}");
    sandbox.write("tbprov.toml", "\u{feff}host = 'h'\r\n\tport = 8884\t\r\n");
    let line = "provision --dry-run --json --provision-key k --provision-secret s --device-name d";
    assert_eq!(sandbox.run(line).done()["dry_run"]["port"], 8884);
}

/// Names that are no folder's on some system.
#[test]
fn a_device_is_listed_by_its_name_and_found_by_its_folders_too() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run("certs gen --name d --out made").code, Some(0));
    let names = ["a/b", "..", "con", "dot.", ".hidden", "a:b*?", "100%"];
    for name in names {
        let line =
            ["devices", "add", name, "--cert", "made/cert.pem", "--key", "made/key.pem", "--host", "h"];
        let ran = sandbox.run_all(line.iter().chain(&["--no-verify-connect", "--json"]));
        assert_eq!(ran.done()["device"], name);
    }
    let listed = sandbox.run("devices list");
    let shown: Vec<_> = listed.stdout.lines().skip(1).map(|line| line.split("  ").next().unwrap()).collect();
    for name in names {
        assert!(shown.contains(&name), "{name}: {}", listed.stdout);
    }
    let list = sandbox.run("devices list --json").done();
    for device in list["devices"].as_array().unwrap() {
        let (name, folder) = (device["device"].as_str().unwrap(), device["folder"].as_str().unwrap());
        for given in [name, folder] {
            assert_eq!(sandbox.run_all(["devices", "show", given, "--json"]).done()["device"], name);
        }
        // The server does not exist: the device was found.
        let told = sandbox.run_all(["connect", folder, "--json", "--port", "1", "--timeout", "1s"]);
        assert!(told.failure().1.starts_with("network/"), "{told:?}");
        let line = ["firmware", "identity", "--force", "--out", "i", "--device", folder, "--json"];
        assert_ne!(sandbox.run_all(line).failure().1, "store/not-found");
    }
    let removed = sandbox.run_all(["devices", "remove", "a%2Fb", "--yes", "--json"]).done();
    assert_eq!(removed["device"], "a/b");
    // A name comes before a folder's.
    assert_eq!(sandbox.run("devices show %2E%2E --json").done()["device"], "..");
    sandbox.run("devices show a%2Fb --json").failed(5, "store/not-found");
}
