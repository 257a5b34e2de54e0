//! The account at ThingsBoard's REST API: who is asked, with what, and who is never told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tbprov::sim::{Config, Release};

use crate::proxy::Proxy;
use crate::support::{Ran, Sandbox, Server, for_each_row};
use crate::web::*;

const PASSWORD: &str = "Hunter2-of-the-account";
const API_KEY: &str = "tb_api-key-0123456789";
const ADMIN: &str = "admin@example.com";

/// The REST API of a simulator at any port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A simulator, and a folder that has its account.
fn served(change: impl Fn(&mut Config)) -> (Server, Sandbox) {
    let server = Server::presenting("san", |config| {
        config.rest = Some(ANY);
        change(config);
    });
    let mut sandbox = Sandbox::trusting("san");
    for (name, value) in server.account() {
        sandbox.set(name, &value);
    }
    (server, sandbox)
}

fn faulty(faults: &str) -> (Server, Sandbox) {
    served(|config| config.faults = faults.split(',').map(|fault| fault.parse().unwrap()).collect())
}

/// A folder that has the account of a user at `web`.
fn of_user(web: &Web) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox
        .set("TBPROV_API_URL", &web.url())
        .set("TBPROV_API_USER", ADMIN)
        .set("TBPROV_API_PASSWORD", PASSWORD);
    sandbox
}

/// The same of an API key.
fn of_key(web: &Web) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set("TBPROV_API_URL", &web.url()).set("TBPROV_API_KEY", API_KEY);
    sandbox
}

fn check(sandbox: &Sandbox) -> Ran {
    sandbox.run("server check --json")
}

fn check_at(answers: Vec<Canned>) -> (Ran, Vec<String>) {
    let web = Web::saying(answers);
    let ran = check(&of_user(&web));
    (ran, web.heard())
}

#[track_caller]
fn assert_silent(ran: &Ran) {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for secret in [PASSWORD, API_KEY, "the-1st-token", "the-1st-refresh", "the-2nd-token"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn check_shows_each_authority() {
    let (_server, mut sandbox) = served(|_| {});
    let result = check(&sandbox).done();
    assert_eq!(result["authority"], "TENANT_ADMIN");
    assert_eq!(result["can"]["administer_devices"], true);
    assert!(result["release"].as_str().unwrap().starts_with("4.3"), "{result}");
    for (name, authority) in
        [("customer@thingsboard.org", "CUSTOMER_USER"), ("sysadmin@thingsboard.org", "SYS_ADMIN")]
    {
        let result = check(sandbox.set("TBPROV_API_USER", name)).done();
        assert_eq!((&result["user"], &result["authority"]), (&name.into(), &authority.into()));
        assert_eq!(result["can"]["administer_devices"], false);
        assert!(sandbox.run("server check").stdout.contains("tbprov can do there: nothing"));
    }
}

#[test]
fn a_key_does_without_a_login() {
    let (server, sandbox) = served(|_| {});
    let by_password = check(&sandbox).done();
    let key = server.api_key().unwrap();
    sandbox.write("key.txt", format!("\u{feff}{key}\r\nmore\r\n"));
    let url = server.account()[0].1.clone();
    let mut elsewhere = Sandbox::trusting("san");
    elsewhere.write("key.txt", &key);
    let flags = format!("--api-url {url} --api-cert server.pem --api-key-file");
    assert_eq!(elsewhere.run(&format!("server check --json {flags} key.txt")).done(), by_password);
    assert_eq!(sandbox.run(&format!("server check --json {flags} key.txt")).done(), by_password);
    let ran = elsewhere.run_with_stdin(&format!("server check --json {flags} -"), key);
    assert_eq!(ran.done(), by_password);
    let ran = check(
        elsewhere
            .set("TBPROV_API_URL", &url)
            .set("TBPROV_API_KEY", "wrong")
            .set("TBPROV_API_CERT", "server.pem"),
    );
    assert_eq!(ran.brief(), "1 rest/unauthorized rest");
    assert!(ran.help().contains("4.3"), "{ran:?}");
}

#[test]
fn what_a_release_does_not_have_is_said() {
    for (release, version) in [(Release::V3_2, "3.2"), (Release::V3_6, "3.6")] {
        let (_server, mut sandbox) = served(|config| config.release = release);
        let shown = check(&sandbox).done()["release"].clone();
        assert!(shown.is_null() || shown.as_str().unwrap().starts_with(version), "{shown}");
        sandbox.unset("TBPROV_API_USER").unset("TBPROV_API_PASSWORD").set("TBPROV_API_KEY", API_KEY);
        let ran = check(&sandbox);
        assert_eq!(ran.brief(), "1 rest/unauthorized rest");
        assert_silent(&ran);
    }
}

/// `(flags, variables, lines of a file, whether it is named, how it ends)`; URL stands for the server's.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, bool, &'static str);

const URL_LINE: &str = "api-url = 'URL'\n";
const ALL_LINES: &str = "api-url = 'URL'\napi-key-file = 'key.txt'\n";
const CONFLICT: &str = "2 usage/conflict plan";
const MISSING: &str = "2 usage/missing-value plan";
const KEY: (&str, &str) = ("TBPROV_API_KEY", API_KEY);
const URL: (&str, &str) = ("TBPROV_API_URL", "URL");
const USER_NAME: (&str, &str) = ("TBPROV_API_USER", ADMIN);
const THEIR_URL: (&str, &str) = ("TB_URL", "URL");
const THEIR_KEY: (&str, &str) = ("TB_API_KEY", API_KEY);

const SOURCES: &[Row] = &[
    // Both from the same.
    ("--api-url URL --api-key-file key.txt", &[], "", false, ""),
    ("", &[URL, KEY], "", false, ""),
    ("", &[], ALL_LINES, true, ""),
    ("", &[THEIR_URL, THEIR_KEY], "", false, ""),
    ("", &[THEIR_URL, ("TB_USERNAME", ADMIN), ("TB_PASSWORD", PASSWORD)], "", false, ""),
    // A user is no secret. The URL of a weaker source is not asked for.
    ("--api-user admin@example.com", &[URL, ("TBPROV_API_PASSWORD", PASSWORD)], "", false, ""),
    ("--api-url URL --api-key-file key.txt", &[("TBPROV_API_URL", "https://a.invalid"), KEY], "", false, ""),
    ("", &[URL, KEY], "api-url = 'https://a.invalid'\napi-key-file = 'no-such-file'\n", true, ""),
    // One from each.
    ("--api-url URL", &[KEY], "", false, CONFLICT),
    ("--api-url URL --api-user a", &[("TBPROV_API_PASSWORD", PASSWORD)], "", false, CONFLICT),
    ("--api-url URL", &[THEIR_KEY, THEIR_URL], "", false, CONFLICT),
    ("--api-url URL", &[], ALL_LINES, true, CONFLICT),
    ("--api-key-file key.txt", &[URL], "", false, CONFLICT),
    ("--api-key-file key.txt", &[URL, KEY], "", false, CONFLICT),
    ("--api-key-file key.txt", &[THEIR_URL, THEIR_KEY], "", false, CONFLICT),
    ("--api-key-file key.txt", &[], URL_LINE, true, CONFLICT),
    ("", &[URL], ALL_LINES, true, CONFLICT),
    ("", &[KEY], URL_LINE, true, CONFLICT),
    ("", &[THEIR_URL], ALL_LINES, true, CONFLICT),
    ("", &[URL, KEY, ("TBPROV_API_PASSWORD", PASSWORD)], "", false, CONFLICT),
    // What nobody named gives nothing.
    ("", &[], ALL_LINES, false, MISSING),
    ("", &[KEY], URL_LINE, false, MISSING),
    ("--api-key-file key.txt", &[], URL_LINE, false, MISSING),
    ("--api-url URL", &[], ALL_LINES, false, MISSING),
    // Others' variables where one of ours is there, and where they name no URL.
    ("", &[THEIR_URL, THEIR_KEY, USER_NAME], "", false, MISSING),
    ("", &[THEIR_KEY], "", false, MISSING),
    ("", &[("TB_URL", ""), ("TB_PASSWORD", "")], "", false, MISSING),
    // Empty ones.
    ("", &[("TBPROV_API_URL", ""), KEY], "", false, "2 usage/invalid-value plan"),
    ("", &[URL, ("TBPROV_API_KEY", "")], "", false, "2 usage/invalid-value plan"),
    (
        "",
        &[URL, ("TBPROV_API_USER", ""), ("TBPROV_API_PASSWORD", PASSWORD)],
        "",
        false,
        "2 usage/invalid-value plan",
    ),
    ("", &[URL, USER_NAME, ("TBPROV_API_PASSWORD", "")], "", false, "2 usage/invalid-value plan"),
    // What no header carries.
    ("", &[URL, ("TBPROV_API_KEY", "tb_api-key-0123456789\n")], "", false, "2 usage/invalid-value plan"),
    (
        "",
        &[URL, ("TBPROV_API_KEY", "tb_api-key-0123456789\nX-Evil: 1")],
        "",
        false,
        "2 usage/invalid-value plan",
    ),
];

#[test]
fn a_secret_goes_only_to_a_url_of_the_same_source() {
    for_each_row(SOURCES, |(flags, variables, lines, is_named, ends)| {
        let web = Web::saying(thingsboard());
        let mut sandbox = Sandbox::new();
        sandbox.write("key.txt", format!("{API_KEY}\r\n"));
        for (name, value) in *variables {
            sandbox.set(name, &value.replace("URL", &web.url()));
        }
        let mut line = format!("server check --json {}", flags.replace("URL", &web.url()));
        if !lines.is_empty() {
            sandbox.write("tbprov.toml", lines.replace("URL", &web.url()));
            line.push_str(if *is_named { " --config tbprov.toml" } else { "" });
        }
        let ran = sandbox.run(&line);
        assert_silent(&ran);
        let is_told = web.heard().iter().any(|text| text.contains(PASSWORD) || text.contains(API_KEY));
        let brief = if ran.code == Some(0) { String::new() } else { ran.brief() };
        if brief != *ends || is_told != ends.is_empty() {
            return Err(format!("{ran:?}, told: {is_told}"));
        }
        let must_name = !lines.is_empty() && !is_named && !flags.contains("--api-url");
        if must_name && !ran.help().contains("--config tbprov.toml") {
            return Err(format!("{ran:?}"));
        }
        Ok(())
    });
}

#[test]
fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let other = Web::saying(thingsboard());
        let to = format!("Location: {}/login?password={PASSWORD}&key={API_KEY}\r\n", other.url());
        let web = Web::always(answer(status, &to, ""));
        for sandbox in [of_user(&web), of_key(&web)] {
            let ran = sandbox.run("server check --json -vv");
            assert_eq!(ran.brief(), "4 rest/not-thingsboard rest");
            assert!(ran.message().contains(&format!("{}/login", other.url())), "{ran:?}");
            assert_silent(&ran);
        }
        assert_eq!((web.heard().len(), other.heard().len()), (2, 0));
    }
}

#[test]
fn a_secret_in_clear_text_stays_on_this_machine() {
    let proxy = Proxy::saying(&[b"HTTP/1.1 502 No\r\n\r\n"], None);
    let through = format!("--proxy http://127.0.0.1:{}", proxy.port);
    let mut sandbox = Sandbox::new();
    sandbox.set("TBPROV_API_KEY", API_KEY);
    for (url, flags) in [
        ("http://tb.invalid", ""),
        ("http://localhost.tb.invalid", ""),
        ("http://192.0.2.1:8080", ""),
        ("http://localhost:8080", &*through),
        ("http://127.0.0.1:8080", &*through),
    ] {
        let ran = sandbox.set("TBPROV_API_URL", url).run(&format!("server check --json {flags}"));
        assert_eq!(ran.brief(), "2 usage/invalid-value plan", "{url}");
        assert!(ran.help().contains("--insecure-http"), "{ran:?}");
    }
    assert!(proxy.heard().is_empty());
    let ran = sandbox.run(&format!("server check --json --insecure-http {through}"));
    assert_eq!(ran.brief(), "3 network/connect tcp");
    assert!(proxy.heard()[0].starts_with(b"CONNECT 127.0.0.1:8080"));
}

#[test]
fn a_token_that_has_ended_is_renewed() {
    let expired = || refusal(401, 11, "Token has expired");
    let last = |heard: &[String]| heard.last().unwrap().to_ascii_lowercase();
    let ended = || vec![(INFO, vec![expired(), json(200, r#"{"version":"4.3.1.3"}"#)])];
    let (ran, heard) = check_at(thingsboard_but(ended()));
    assert_eq!(ran.done()["release"], "4.3.1.3");
    assert_eq!(heard.len(), 5);
    assert!(
        heard[3].starts_with(TOKEN) && heard[3].contains(r#""refreshToken":"the-1st-refresh""#),
        "{heard:?}"
    );
    assert!(last(&heard).contains("x-authorization: bearer the-2nd-token"), "{heard:?}");
    // The refresh token has ended too.
    let (ran, heard) = check_at(thingsboard_but([ended(), vec![(TOKEN, vec![expired()])]].concat()));
    ran.done();
    assert_eq!(heard.iter().filter(|text| text.starts_with(LOGIN)).count(), 2);
    assert!(heard.iter().all(|text| !text.starts_with(TOKEN) || !text.contains("uthorization:")));
    // It never holds.
    let (ran, heard) = check_at(thingsboard_but(vec![(USER, vec![expired()])]));
    assert_eq!((ran.brief().as_str(), heard.len()), ("1 rest/unauthorized rest", 4));
    let (_server, sandbox) = faulty("rest-expired-token=1");
    assert_eq!(check(&sandbox).done()["authority"], "TENANT_ADMIN");
}

#[test]
fn what_the_server_is_too_busy_for_is_asked_again() {
    let busy = |status, after: &str| answer(status, &format!("Retry-After: {after}\r\n"), "");
    let (ran, heard) = check_at(thingsboard_but(vec![
        (LOGIN, vec![busy(503, "0"), json(200, FIRST)]),
        (INFO, vec![busy(429, "0"), busy(503, "0"), json(404, "")]),
    ]));
    assert!(ran.done()["release"].is_null());
    assert_eq!(heard.len(), 6);
    // Longer than anybody waits.
    for (status, ends) in [(429, "1 rest/limited rest"), (503, "1 rest/server-error rest")] {
        for after in ["61", "3600", "18446744073709551615"] {
            let (ran, heard) = check_at(thingsboard_but(vec![(USER, vec![busy(status, after)])]));
            assert_eq!((ran.brief().as_str(), heard.len()), (ends, 2), "{after}");
        }
    }
}

#[test]
fn a_login_that_fails_once_with_500_is_tried_again() {
    let (_server, sandbox) = faulty("rest-login-error=1");
    assert_eq!(check(&sandbox).done()["authority"], "TENANT_ADMIN");
    let (ran, heard) = check_at(thingsboard_but(vec![(LOGIN, vec![refusal(500, 2, "could not execute")])]));
    assert_eq!((ran.brief().as_str(), heard.len()), ("1 rest/server-error rest", 2));
}

#[test]
fn a_second_factor_is_said() {
    for fault in ["rest-second-factor", "rest-factor-setup"] {
        let (_server, sandbox) = faulty(fault);
        let ran = check(&sandbox);
        assert_eq!(ran.brief(), "1 rest/second-factor rest", "{fault}");
        assert!(ran.help().contains("--api-key-file"), "{ran:?}");
    }
}

#[test]
fn no_secret_is_shown_whatever_the_server_says() {
    let of_login = [PASSWORD, "the-1st-token", "the-1st-refresh"].join(" ");
    for_each_row(
        &[
            (LOGIN, of_user as fn(&Web) -> Sandbox, PASSWORD),
            (USER, of_user, &of_login),
            (USER, of_key, API_KEY),
        ],
        |(path, account, echo)| {
            for said in echoes(echo) {
                let web = Web::saying(thingsboard_but(vec![(path, vec![said.clone()])]));
                let sandbox = account(&web);
                for output in ["--json -vv", "--events -vv", "-vv"] {
                    let ran = sandbox.run(&format!("server check {output}"));
                    assert_silent(&ran);
                    if ran.code == Some(0) {
                        return Err(format!("{said}: {ran:?}"));
                    }
                }
                assert!(web.heard().iter().any(|text| text.starts_with(path)));
            }
            Ok(())
        },
    );
}

/// Answers that fail, and that show all of `echo`.
fn echoes(echo: &str) -> Vec<String> {
    let quoted = format!(r#"{{\"password\":\"{echo}\",\"header\":\"Bearer {echo}\"}}"#);
    let headers = format!("X-Authorization: {echo}\r\nSet-Cookie: t={echo}\r\nLocation: /{echo}\r\n");
    vec![
        refusal(400, 31, echo),
        refusal(401, 10, &quoted),
        refusal(500, 2, &quoted),
        answer(403, &headers, echo),
        answer(307, &headers, echo),
        answer(200, &headers, echo),
        answer(200, &headers, &format!("{{\"token\":[\"{echo}\"],\"email\":[\"{echo}\"]}}")),
        answer(404, &headers, &format!("<html>{echo}")),
        answer(502, &headers, &format!("<html>{echo}")),
        format!("HTTP/1.1 200 {echo}\r\nContent-Length: 999\r\n{headers}\r\n{{\"token\":\"{echo}"),
        format!("HTTP/9 {echo}\r\n\r\n"),
    ]
}

#[test]
fn what_goes_well_shows_no_secret() {
    let web = Web::saying(thingsboard());
    for mut sandbox in [of_user(&web), of_key(&web)] {
        sandbox.set("RUST_LOG", "trace").set("RUST_BACKTRACE", "full");
        for output in ["--json -vv", "--events -vv", "-vv", ""] {
            let ran = sandbox.run(&format!("server check {output}"));
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_silent(&ran);
        }
    }
}

#[test]
fn standard_input_is_read_once() {
    let (server, sandbox) = (Server::presenting("san", |_| {}), Sandbox::trusting("san"));
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let account = "--json --api-url https://a.invalid --api-user a --api-password-file -";
    for line in [
        "provision --host h --provision-key k --device-name d --provision-secret-file -",
        "provision --host h --provision-key k --provision-secret s --device-name d --confirm --send-telemetry=-",
        "connect --confirm --send-telemetry=-",
    ] {
        let ran = sandbox.run_with_stdin(&format!("{line} {account}"), format!("{PASSWORD}\n"));
        assert_eq!(ran.brief(), CONFLICT, "{line}");
        assert!(ran.message().contains("stdin") || ran.message().contains("standard input"), "{ran:?}");
    }
}

#[test]
fn a_password_comes_without_the_end_of_its_line() {
    let web = Web::saying(thingsboard());
    let sandbox = Sandbox::new();
    sandbox.write("password.txt", format!("\u{feff}{PASSWORD}\r\nmore\r\n"));
    let line = format!("server check --json --api-url {} --api-user {ADMIN} --api-password-file", web.url());
    sandbox.run(&format!("{line} password.txt")).done();
    sandbox.run_with_stdin(&format!("{line} -"), format!("{PASSWORD}\r\n")).done();
    let logins: Vec<_> = web.heard().into_iter().filter(|text| text.starts_with(LOGIN)).collect();
    assert_eq!(logins.len(), 2);
    let body = format!(r#"{{"username":"{ADMIN}","password":"{PASSWORD}"}}"#);
    assert!(logins.iter().all(|text| text.ends_with(&body)), "{logins:?}");
    // Nobody is there to be asked.
    let ran = sandbox.run(&format!("server check --json --api-url {} --api-user {ADMIN}", web.url()));
    assert_eq!(ran.brief(), MISSING);
    assert!(ran.help().contains("--api-password-file"), "{ran:?}");
}
