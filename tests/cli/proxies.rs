//! Through a proxy: what it is told, what it says, and what is said of it.

use std::time::{Duration, Instant};

use crate::proxy::Proxy;
use crate::support::{KEY, NAME, SECRET, Sandbox, Server, fixture_text, for_each_row};

/// Nobody on this machine can resolve it: only a proxy can.
const HOST: &str = "thingsboard.invalid";

const PASSWORD: &str = "hunter2";

/// How the password looks in `Proxy-Authorization`.
const ENCODED: &str = "dTpodW50ZXIy";

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\n\r\n";

/// SOCKS5: by user and password; welcome; connected, from 127.0.0.1:1.
const BY_PASSWORD: &[u8] = &[5, 2];
const WELCOME: &[u8] = &[1, 0];
const CONNECTED: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 1];

const SOCKS: &[&[u8]] = &[BY_PASSWORD, WELCOME, CONNECTED];

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://u:{PASSWORD}@127.0.0.1:{port}")
}

fn provision(sandbox: &Sandbox, proxy: &str, more: &str) -> crate::support::Ran {
    sandbox.run(&format!(
        "provision --json --host {HOST} --port 8883 --server-cert server.pem --skip-name-check --provision-key {KEY} \
         --provision-secret {SECRET} --device-name {NAME} --proxy {proxy} {more}"
    ))
}

/// A local name server is never asked: it knows no such host.
#[test]
fn every_connection_goes_through_the_proxy_and_none_is_kept_in_the_store() {
    for (scheme, replies) in
        [("http", &[ESTABLISHED][..]), ("socks5h", SOCKS), ("socks5", SOCKS), ("SOCKS5H", SOCKS)]
    {
        let server = Server::presenting("san", |_| {});
        let proxy = Proxy::saying(replies, Some(server.port()));
        let (sandbox, url) = (Sandbox::trusting("san"), url(scheme, proxy.port));
        let ran = provision(&sandbox, &url, "--send-telemetry");
        assert_eq!(ran.outcome(), "provisioned", "{scheme} {ran:?}");
        let ran = sandbox.run(&format!("connect --events -v --proxy {url}"));
        assert_eq!(ran.outcome(), "connected", "{scheme} {ran:?}");
        let shown = format!("\"proxy\":\"{}://127.0.0.1:{}\"", shown(scheme), proxy.port);
        assert!(ran.stdout.contains(&shown), "{ran:?}");
        assert!(!format!("{ran:?}").contains(PASSWORD), "{ran:?}");
        for file in sandbox.files().into_iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
            assert!(!file.contains(PASSWORD) && !file.contains(&proxy.port.to_string()), "{file}");
        }
    }
}

fn shown(scheme: &str) -> &'static str {
    if scheme == "http" { "http" } else { "socks5h" }
}

#[test]
fn devices_add_inspect_and_doctor_go_through_it_too() {
    let server = Server::presenting("san", |_| {});
    let sandbox = Sandbox::trusting("san");
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let proxy = Proxy::saying(&[ESTABLISHED], Some(server.port()));
    let mut elsewhere = Sandbox::trusting("san");
    elsewhere.set("TBPROV_PROXY", &url("http", proxy.port));
    for file in ["cert.pem", "key.pem"] {
        elsewhere.write(file, sandbox.read(&format!("devices/{NAME}/{file}")));
    }
    let added = elsewhere.run(&format!(
        "devices add {NAME} --json --cert cert.pem --key key.pem --host {HOST} --server-cert server.pem --skip-name-check"
    ));
    assert_eq!(added.done()["state"], "proved", "{added:?}");
    let inspected = elsewhere.run(&format!("certs inspect --json {HOST}:8883")).done();
    assert_eq!(inspected["certificates"][0]["subject"], "CN=localhost");
    let doctor = elsewhere.run(&format!("doctor {NAME} --json"));
    let checks = doctor.done()["checks"].clone();
    let detail = |name: &str| {
        let check = checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap();
        check["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail("resolve").contains("the proxy 127.0.0.1 is 127.0.0.1; it resolves"), "{checks}");
    let through = format!("connected to {HOST}:8883 through the proxy http://127.0.0.1:{}", proxy.port);
    assert!(detail("tcp").starts_with(&through), "{checks}");
    assert!(detail("identity").contains("accepts the saved identity"), "{checks}");
    assert!(!format!("{doctor:?}").contains(PASSWORD));
}

#[test]
fn the_proxy_is_told_the_servers_name_and_who_asks() {
    let inspect = |proxy: &Proxy, url: &str, place: &str| {
        Sandbox::new().run_all(["certs", "inspect", "--json", place, "--proxy", url]);
        proxy.heard()
    };
    let text = |heard: &[u8]| String::from_utf8(heard.to_vec()).unwrap();
    for (user, place, told) in [
        ("", "MQTT.invalid.:8883", "CONNECT mqtt.invalid:8883 HTTP/1.1\r\nHost: mqtt.invalid:8883\r\n\r\n"),
        ("", "[::1]:1", "CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\n\r\n"),
        // `u@corp:p:w/%` in Base64.
        (
            "u%40corp:p:w%2F%25@",
            "a.invalid:1",
            "CONNECT a.invalid:1 HTTP/1.1\r\nHost: a.invalid:1\r\nProxy-Authorization: Basic dUBjb3JwOnA6dy8l\r\n\r\n",
        ),
    ] {
        let proxy = Proxy::saying(&[b"HTTP/1.1 502 No\r\n\r\n"], None);
        let heard = inspect(&proxy, &format!("http://{user}127.0.0.1:{}", proxy.port), place);
        assert_eq!(text(&heard[0]), told);
    }
    for (place, address) in [
        ("ab.invalid:258", [&[3, 10][..], b"ab.invalid", &[1, 2]].concat()),
        ("127.0.0.2:1", vec![1, 127, 0, 0, 2, 0, 1]),
        ("[::2]:1", [&[4][..], &[0; 15], &[2, 0, 1]].concat()),
    ] {
        let proxy = Proxy::saying(&[BY_PASSWORD, WELCOME, &[5, 1]], None);
        let heard = inspect(&proxy, &url("socks5h", proxy.port), place);
        assert_eq!(heard[0], [5, 2, 0, 2]);
        assert_eq!(heard[1], [&[1, 1][..], b"u", &[7], b"hunter2"].concat());
        assert_eq!(heard[2], [&[5, 1, 0][..], &address].concat());
        // Nobody to name: no login is offered.
        let proxy = Proxy::saying(&[&[5, 0], &[5, 1]], None);
        let heard = inspect(&proxy, &format!("socks5://127.0.0.1:{}", proxy.port), place);
        assert_eq!(heard[0], [5, 1, 0]);
    }
}

/// `(what the proxy says, how it ends, what the message says)`
type Row = (&'static [&'static [u8]], &'static str, &'static str);

const REFUSED: &str = "3 network/proxy tcp";
const UNREACHED: &str = "3 network/connect tcp";
const CLOSED: &str = "3 network/closed tcp";

const OF_HTTP: &[Row] = &[
    (
        &[b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n"],
        REFUSED,
        "refuses this user or its password (407)",
    ),
    (&[b"HTTP/1.1 407 x\r\n\r\n"], REFUSED, "refuses this user or its password (407)"),
    (
        &[b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n\r\n"],
        REFUSED,
        "asks for a login by Negotiate, NTLM; only Basic",
    ),
    (
        &[b"HTTP/1.1 403 Fil\x1b[31mtered\r\n\r\n"],
        REFUSED,
        r"refuses to connect to thingsboard.invalid:8883: 'HTTP/1.1 403'",
    ),
    // What the user gave, in a form of the proxy's own.
    (&[b"HTTP/1.1 403 no p%61ss%40word for dXNlcg\r\n\r\n"], REFUSED, "'HTTP/1.1 403 no for'"),
    (&[b"HTTP/1.0 302 Found\r\nLocation: http://login/\r\n\r\n"], REFUSED, "'HTTP/1.0 302 Found'"),
    (&[b"HTTP/1.1 400 Bad Request\nServer: x\n\n"], REFUSED, "'HTTP/1.1 400 Bad Request'"),
    (&[b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"], REFUSED, "does not know CONNECT"),
    (&[b"HTTP/1.0 501 Unsupported method ('CONNECT')\r\n\r\n"], REFUSED, "does not know CONNECT"),
    (
        &[b"HTTP/1.1 502 Bad Gateway\r\n\r\n"],
        UNREACHED,
        "has no connection to thingsboard.invalid:8883: 'HTTP/1.1 502 Bad Gateway'",
    ),
    (&[b"HTTP/1.1 504 Gateway Timeout\r\n\r\n"], UNREACHED, "504"),
    (&[b"HTTP/1.0 500 Unable to connect\r\n\r\n"], UNREACHED, "500"),
    (
        &[b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"],
        REFUSED,
        "is none: it answers CONNECT with a page",
    ),
    (&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"], REFUSED, "with a page"),
    (
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n<html>"],
        "3 tls/handshake tls",
        "does not speak TLS (through the proxy http://127.0.0.1:",
    ),
    (&[b"HTTP/1.1 abc\r\n\r\n"], REFUSED, "which is not HTTP"),
    (&[b"HTTP/1.1 20\r\n\r\n"], REFUSED, "which is not HTTP"),
    (&[b"SSH-2.0-OpenSSH_9.2\r\n"], REFUSED, "what answers there is not HTTP"),
    (&[b"\0\0\0"], REFUSED, "what answers there is not HTTP"),
    (&[&[5, 0]], REFUSED, "what answers there is not HTTP"),
    (&[&[0x15, 3, 1, 0, 2, 2, 70]], REFUSED, "speaks TLS, and a proxy over TLS is not supported"),
    (&[b""], CLOSED, "closed the connection without an answer to CONNECT"),
    (&[b"HTTP/1.1 200 OK\r\nVia"], CLOSED, "closed the connection in the middle of its answer"),
    (&[ESTABLISHED], "3 network/closed tls", "during the TLS handshake (through the proxy http://127.0.0.1:"),
    // What follows the header is the server's: alert 112.
    (&[b"HTTP/1.1 200 OK\r\n\r\n\x15\x03\x03\x00\x02\x02\x70"], "3 tls/handshake tls", "alert 112"),
];

const OF_SOCKS: &[Row] = &[
    (&[&[5, 0xff]], REFUSED, "takes no login by user and password"),
    (&[&[5, 1]], REFUSED, "chose way 1 to log in"),
    (&[BY_PASSWORD, &[1, 1]], REFUSED, "refuses this user or its password"),
    (&[BY_PASSWORD, b""], CLOSED, "when it was given user and password"),
    (&[BY_PASSWORD, WELCOME, &[5, 1]], UNREACHED, "general failure (reply 1)"),
    (&[BY_PASSWORD, WELCOME, &[5, 2, 0, 1]], REFUSED, "its rules do not allow it (reply 2)"),
    (&[&[5, 0], &[5, 3, 0, 1]], UNREACHED, "the network cannot be reached (reply 3)"),
    (&[&[5, 0], &[5, 4, 0, 1]], UNREACHED, "the host cannot be reached"),
    (&[&[5, 0], &[5, 5, 0, 1]], UNREACHED, "the connection was refused (reply 5)"),
    (&[&[5, 0], &[5, 6, 0, 1]], UNREACHED, "time to live"),
    (&[&[5, 0], &[5, 7, 0, 1]], REFUSED, "does not know CONNECT (reply 7)"),
    (&[&[5, 0], &[5, 8, 0, 1]], REFUSED, "this kind of address (reply 8)"),
    (&[&[5, 0], &[5, 77, 0, 1]], REFUSED, "reply 77, which SOCKS5 does not know"),
    (&[&[5, 0], &[5, 0, 0, 9]], REFUSED, "an address of kind 9"),
    (&[&[5, 0], &[5, 0, 0, 1, 127]], CLOSED, "in the middle of its reply"),
    (&[&[5, 0], b""], CLOSED, "without an answer to CONNECT"),
    (&[&[4, 0x5b]], REFUSED, "what answers there is not SOCKS5"),
    (&[b"HTTP/1.1 400 Bad Request\r\n\r\n"], REFUSED, "does not speak SOCKS5; it may be one of HTTP"),
    (&[b""], CLOSED, "without an answer to SOCKS5"),
    // What follows the address, here a name, is the server's: alert 70.
    (&[&[5, 0], b"\x05\0\0\x03\x01x\0\x01\x15\x03\x03\x00\x02\x02\x46"], "3 tls/handshake tls", "alert 70"),
];

fn fails(scheme: &str, (replies, promised, says): &Row) -> Result<(), String> {
    let proxy = Proxy::saying(replies, None);
    let url = url(scheme, proxy.port);
    let ran = Sandbox::new().run(&format!("certs inspect --json -vv {HOST}:8883 --proxy {url}"));
    let all = format!("{ran:?}");
    if ran.brief() != *promised || !ran.message().contains(says) {
        return Err(format!("{scheme} {promised} {says}: {ran:?}"));
    }
    if all.contains(PASSWORD)
        || all.contains(ENCODED)
        || !all.contains(&format!("{scheme}://127.0.0.1")) && !says.contains("alert")
    {
        return Err(format!("{scheme}: {ran:?}"));
    }
    Ok(())
}

#[test]
fn what_a_proxy_of_http_says_is_said_in_words() {
    for_each_row(OF_HTTP, |row| fails("http", row));
}

#[test]
fn what_a_proxy_of_socks_says_is_said_in_words() {
    for_each_row(OF_SOCKS, |row| fails("socks5h", row));
}

#[test]
fn a_header_without_end_has_an_end() {
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(20_000)].concat();
    let proxy = Proxy::saying(&[&endless], None);
    let ran =
        Sandbox::new().run(&format!("certs inspect --json h:1 --proxy http://127.0.0.1:{}", proxy.port));
    assert_eq!(ran.brief(), REFUSED);
    assert!(ran.message().contains("more than 16 KiB"), "{ran:?}");
}

#[test]
fn a_user_that_is_missing_is_asked_for() {
    let of_http: &[&[u8]] = &[b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n"];
    for (scheme, replies) in [("http", of_http), ("socks5h", &[&[5, 0xff][..]]), ("socks5h", &[BY_PASSWORD])]
    {
        let proxy = Proxy::saying(replies, None);
        let place = format!("{scheme}://127.0.0.1:{}", proxy.port);
        let ran = Sandbox::new().run(&format!("certs inspect --json h:1 --proxy {place}"));
        assert_eq!(ran.brief(), REFUSED, "{ran:?}");
        assert!(ran.message().contains("wants a user and a password"), "{ran:?}");
        assert!(ran.help().contains("TBPROV_PROXY"), "{ran:?}");
    }
}

#[test]
fn a_silent_proxy_takes_no_longer_than_the_step() {
    for scheme in ["http", "socks5h"] {
        // It waits for more than it is told.
        let proxy = Proxy::saying(&[b"", b""], None);
        let begin = Instant::now();
        let place = format!("{scheme}://127.0.0.1:{}", proxy.port);
        let ran = Sandbox::new().run(&format!("certs inspect --json h:1 --timeout 300ms --proxy {place}"));
        assert_eq!(ran.brief(), "3 network/timeout tcp", "{ran:?}");
        assert!(ran.message().contains(&format!("the proxy {place} did not connect to h:1 within 300ms")));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_proxy_that_is_not_reached_is_named() {
    for (place, promised) in [
        ("http://127.0.0.1:1", "3 network/connect tcp"),
        ("socks5h://nobody.invalid:1", "3 network/resolve resolve"),
    ] {
        let ran = Sandbox::new().run(&format!("certs inspect --json h:1 --proxy {place}"));
        assert_eq!(ran.brief(), promised, "{ran:?}");
        assert!(
            ran.message().contains("proxy") && ran.help().contains("the proxy's host and port"),
            "{ran:?}"
        );
    }
}

#[test]
fn the_flag_goes_before_the_variable_and_that_before_the_file() {
    let shown = |sandbox: &Sandbox, flags: &[&str]| {
        let line = "provision --json --dry-run --host h --server-cert server.pem --provision-key k --provision-secret s \
                    --device-name d";
        let ran = sandbox.run_all(line.split_whitespace().chain(flags.iter().copied()));
        assert!(!format!("{ran:?}").contains(PASSWORD), "{ran:?}");
        ran.done()["dry_run"]["proxy"].as_str().unwrap_or("none").to_owned()
    };
    let mut sandbox = Sandbox::new();
    sandbox.write("server.pem", fixture_text("server/san.pem"));
    assert_eq!(shown(&sandbox, &[]), "none");
    sandbox.write("tbprov.toml", format!("proxy = \"socks5://u:{PASSWORD}@file:3\""));
    assert_eq!(shown(&sandbox, &[]), "socks5h://file:3");
    sandbox.set("TBPROV_PROXY", &format!("http://u:{PASSWORD}@variable:2"));
    assert_eq!(shown(&sandbox, &[]), "http://variable:2");
    assert_eq!(shown(&sandbox, &["--proxy", "http://u:hunter2@flag:1"]), "http://flag:1");
    assert_eq!(shown(&sandbox, &["--proxy", ""]), "none");
    sandbox.set("TBPROV_PROXY", "");
    assert_eq!(shown(&sandbox, &[]), "none");
    // Others' variables are not ours.
    sandbox.unset("TBPROV_PROXY").set("HTTPS_PROXY", "http://other:9");
    assert_eq!(shown(&sandbox, &[]), "socks5h://file:3");
}

#[test]
fn a_url_that_is_none_is_refused_by_its_source_without_a_quote() {
    let mut sandbox = Sandbox::new();
    let wrong = format!("https://u:{PASSWORD}@h:1");
    let ran = sandbox.run(&format!("certs inspect --json h:1 --proxy {wrong}"));
    assert_eq!(ran.brief(), "2 usage/invalid-value plan");
    assert!(ran.message().starts_with("--proxy: the proxy's URL is that of a proxy over TLS"), "{ran:?}");
    assert!(!format!("{ran:?}").contains(PASSWORD));
    sandbox.set("TBPROV_PROXY", &format!("ftp://u:{PASSWORD}@h:1"));
    let ran = sandbox.run("certs inspect --json h:1");
    assert!(ran.message().starts_with("TBPROV_PROXY: "), "{ran:?}");
    assert!(!format!("{ran:?}").contains(PASSWORD));
    sandbox.unset("TBPROV_PROXY").write("tbprov.toml", format!("proxy = \"{PASSWORD}:3128\""));
    let ran = sandbox.run("certs inspect --json h:1");
    assert_eq!(ran.brief(), "2 config/invalid plan");
    assert!(ran.message().starts_with("the configuration: ") && ran.help().contains("socks5h://"), "{ran:?}");
    assert!(!format!("{ran:?}").contains(PASSWORD));
    sandbox.set("TBPROV_PROXY", &format!("http://u:{PASSWORD}@h:1"));
    let help = sandbox.run("connect --help");
    assert!(help.stdout.contains("TBPROV_PROXY") && !help.stdout.contains(PASSWORD), "{help:?}");
    let zoned = sandbox.run("certs inspect --json [fe80::1%lo]:1 --proxy http://127.0.0.1:1");
    assert_eq!(zoned.brief(), UNREACHED, "the proxy comes first");
}

#[test]
fn an_address_of_one_link_cannot_be_reached_through_a_proxy() {
    let proxy = Proxy::saying(&[ESTABLISHED], None);
    let line = format!("certs inspect --json [fe80::1%lo]:1 --proxy http://127.0.0.1:{}", proxy.port);
    let ran = Sandbox::new().run(&line);
    assert_eq!(ran.brief(), "2 usage/invalid-value tcp");
    assert!(ran.message().contains("[fe80::1%lo]:1 is an address of one link"), "{ran:?}");
}

#[test]
fn a_variable_of_other_programs_is_named_where_no_connection_is_made() {
    // On Windows the case of a variable's name means nothing.
    let variables = &["HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"];
    for variable in &variables[..if cfg!(windows) { 2 } else { 4 }] {
        let mut sandbox = Sandbox::new();
        sandbox.set(variable, &format!("http://u:{PASSWORD}@127.0.0.1:1"));
        for (place, promised) in
            [("127.0.0.1:1", UNREACHED), ("nobody.invalid:1", "3 network/resolve resolve")]
        {
            let ran = sandbox.run(&format!("certs inspect --json {place}"));
            assert_eq!(ran.brief(), promised, "{ran:?}");
            let named = ran.help().contains(&format!("{variable} names a proxy, which was not used"));
            assert!(named && ran.help().contains("--proxy http://host:port"), "{ran:?}");
            assert!(!format!("{ran:?}").contains(PASSWORD));
        }
        sandbox.set(variable, "");
        assert!(!sandbox.run("certs inspect --json 127.0.0.1:1").help().contains(variable));
    }
}

/// ThingsBoard's plain port closes when it hears TLS. Who listens at the real one of this machine does not matter.
#[test]
fn the_plain_port_is_named_where_it_closes() {
    let proxy = Proxy::saying(&[ESTABLISHED], None);
    for (port, promised, says) in [
        (1883, "3 tls/handshake tls", "1883 is the plain port"),
        (8883, "3 network/closed tls", "ThingsBoard has blocked this address"),
        (
            21883,
            "3 network/closed tls",
            "it is the plain port (ThingsBoard's is 1883, or what is mapped to it)",
        ),
    ] {
        let line = format!("certs inspect --json {HOST}:{port} --proxy http://127.0.0.1:{}", proxy.port);
        let ran = Sandbox::new().run(&line);
        assert_eq!(ran.brief(), promised);
        assert!(format!("{} {}", ran.message(), ran.help()).contains(says), "{ran:?}");
    }
}

/// Of a proxy that refuses, another attempt is worth nothing; one whose server is down may do better.
#[test]
fn telemetry_ends_where_the_proxy_refuses() {
    let server = Server::presenting("san", |_| {});
    let sandbox = Sandbox::trusting("san");
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let proxy = Proxy::saying(&[b"HTTP/1.1 403 no\r\n\r\n"], None);
    let line = format!("connect --json --send-telemetry --proxy http://127.0.0.1:{}", proxy.port);
    assert_eq!(sandbox.run(&line).failure().1, "network/proxy");
    assert_eq!(proxy.heard().len(), 1);
}
