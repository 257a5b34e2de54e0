//! Through proxies of Debian's: tinyproxy (HTTP CONNECT) and microsocks (SOCKS5), each with user and password.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use super::*;

const PASSWORD: &str = "hunter-2";

/// Starts what `command` makes at a free port, and waits until it listens. The port may be taken between the look and
/// the start.
fn started(what: &str, mut command: impl FnMut(u16) -> Command) -> (Running, u16) {
    for _ in 0..5 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut running = Running::start(&mut command(port));
        until(what, || running.has_ended() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        if !running.has_ended() {
            return (running, port);
        }
    }
    panic!("{what} does not start")
}

/// `settings` are further lines of its configuration.
fn tinyproxy(sandbox: &Sandbox, settings: &str) -> Option<(Running, u16)> {
    let program = installed("tinyproxy")?;
    Some(started("tinyproxy", |port| {
        let configuration =
            format!("Listen 127.0.0.1\nPort {port}\nTimeout 60\nBasicAuth tester {PASSWORD}\n{settings}\n");
        let file = sandbox.write("tinyproxy.conf", configuration);
        let mut command = sandbox.command(program.to_str().unwrap());
        command.arg("-d").arg("-c").arg(file);
        command
    }))
}

fn microsocks(sandbox: &Sandbox) -> Option<(Running, u16)> {
    let program = installed("microsocks")?;
    Some(started("microsocks", |port| {
        let mut command = sandbox.command(program.to_str().unwrap());
        command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "tester", "-P", PASSWORD]);
        command
    }))
}

/// Provisions, sends telemetry and looks, with the right password; then the wrong one, none, and a server that is down.
fn serves(scheme: &str, port: u16) {
    let server = Server::start(|_| {});
    let sandbox = Sandbox::new();
    let url = |login: &str| format!("{scheme}://{login}127.0.0.1:{port}");
    let right = url(&format!("tester:{PASSWORD}@"));
    let provisioned =
        run(sandbox.provision(&server, NAME).args(["--send-telemetry", "--proxy", &right])).done();
    assert_eq!(provisioned["telemetry"]["acknowledged"], 1, "{provisioned}");
    let doctor = run(sandbox.tbprov(&["doctor", NAME, "--json"]).env("TBPROV_PROXY", &right));
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    let connect = |proxy: &str, more: &[&str]| {
        let ran = run(sandbox.connect(more).args(["--proxy", proxy]));
        assert!(!format!("{ran:?}").contains("hunter"), "{ran:?}");
        ran
    };
    assert_eq!(connect(&right, &[]).outcome(), "connected");
    for wrong in [url("tester:hunter-3@"), url("nobody@"), url("")] {
        connect(&wrong, &[]).failed(3, "network/proxy");
    }
    connect(&right, &["--port", "1"]).failed(3, "network/connect");
}

#[test]
fn a_proxy_of_http_connects() {
    let sandbox = Sandbox::new();
    let Some((_tinyproxy, port)) = tinyproxy(&sandbox, "") else { return };
    serves("http", port);
}

#[test]
fn a_proxy_of_socks5_connects() {
    let sandbox = Sandbox::new();
    let Some((_microsocks, port)) = microsocks(&sandbox) else { return };
    serves("socks5h", port);
}

/// What most proxies of companies do: CONNECT to port 443 alone.
#[test]
fn a_proxy_that_does_not_allow_the_port_says_so() {
    let sandbox = Sandbox::new();
    let Some((_tinyproxy, port)) = tinyproxy(&sandbox, "ConnectPort 443") else { return };
    let proxy = format!("http://tester:{PASSWORD}@127.0.0.1:{port}");
    let ran = run(&mut sandbox.tbprov(&["certs", "inspect", "--json", "localhost:8883", "--proxy", &proxy]));
    let error = ran.failed(3, "network/proxy");
    assert!(error["message"].as_str().unwrap().contains("refuses to connect to localhost:8883: 'HTTP/1."));
    assert!(error["help"].as_str().unwrap().contains("443"), "{error}");
}

/// Each kind is named by the other's URL, and no TLS server is a proxy.
#[test]
fn a_proxy_of_the_other_kind_is_told() {
    let sandbox = Sandbox::new();
    let (Some((_http, http)), Some((_socks, socks))) = (tinyproxy(&sandbox, ""), microsocks(&sandbox)) else {
        return;
    };
    let server = Server::start(|_| {});
    for proxy in [
        format!("http://127.0.0.1:{socks}"),
        format!("socks5h://127.0.0.1:{http}"),
        format!("http://127.0.0.1:{}", server.port()),
        format!("socks5://127.0.0.1:{}", server.port()),
    ] {
        let ran = run(sandbox
            .tbprov(&["certs", "inspect", "--json", "localhost:1", "--timeout", "1s"])
            .args(["--proxy", &proxy]));
        let (exit_code, code, step) = ran.failure();
        assert_eq!((exit_code, step.as_str()), (3, "tcp"), "{proxy} {ran:?}");
        assert!(
            code.starts_with("network/") && ran.message().contains(&proxy.replace("s5:", "s5h:")),
            "{ran:?}"
        );
    }
}
