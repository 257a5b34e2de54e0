//! Programs that know nothing of `tbprov`, where they are installed.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;

use super::{Ran, Running, Sandbox, run, until};

const TOPIC: &str = "v1/devices/me/telemetry";

/// The beginning of a configuration of OpenSSL's whose last section holds the settings of TLS.
const OPENSSL: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\n";

/// Where the program is, if it is installed.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are not in everybody's path.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let found = folders.map(|folder| folder.join(&file)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("TBPROV_REQUIRE_PEERS").is_none(), "{program} is not installed");
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs `tbprov` with `--json`, which must succeed.
#[track_caller]
pub(crate) fn tbprov(sandbox: &Sandbox, arguments: &[&str]) -> serde_json::Value {
    run(sandbox.tbprov(arguments).arg("--json")).done()
}

/// A broker that demands client certificates, with `server.pem` and `server_key.pem` of the sandbox.
pub(crate) struct Broker {
    pub(crate) port: String,
    pub(crate) _running: Running,
}

impl Broker {
    /// Its users are the common names of certificates below `authority`; only `sensor` may do anything. `tls` is
    /// OpenSSL's configuration of the broker, such as `MaxProtocol = TLSv1.2`.
    pub(crate) fn start(sandbox: &Sandbox, authority: &str, tls: &str) -> Option<Self> {
        let acl = sandbox.write("acl", "user sensor\ntopic readwrite v1/#\n");
        let settings = format!(
            "cafile {}\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\nacl_file {}",
            sandbox.path(authority).display(),
            acl.display()
        );
        Self::with(sandbox, &settings, tls)
    }

    /// One that lets everybody in and asks for no certificate.
    pub(crate) fn for_everybody(sandbox: &Sandbox) -> Option<Self> {
        Self::with(sandbox, "allow_anonymous true", "")
    }

    fn with(sandbox: &Sandbox, settings: &str, tls: &str) -> Option<Self> {
        let program = installed("mosquitto")?;
        let openssl = sandbox.write("openssl.cnf", format!("{OPENSSL}{tls}\n"));
        let file = |name: &str| sandbox.path(name).display().to_string();
        // The port may be taken between the look and the start.
        for attempt in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let configuration = format!(
                "user root\nlog_dest none\nlistener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n{settings}\n",
                file("server.pem"),
                file("server_key.pem"),
            );
            let path = sandbox.write(&format!("mosquitto{attempt}.conf"), &configuration);
            let mut running = Running::start(
                sandbox.command(program.to_str().unwrap()).env("OPENSSL_CONF", &openssl).arg("-c").arg(path),
            );
            until("the broker", || {
                running.has_ended() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            });
            if !running.has_ended() {
                return Some(Self { port: port.to_string(), _running: running });
            }
        }
        panic!("mosquitto does not start")
    }
}

/// A client of mosquitto's with the identity in `folder`; `arguments` are those that differ.
pub(crate) fn client(sandbox: &Sandbox, program: &str, folder: &str, port: &str, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(program);
    command
        .current_dir(sandbox.path(folder))
        .args("-h localhost --cafile server.pem --cert cert.pem --key key.pem".split(' '));
    run(command.args(["-p", port, "-q", "1", "-t", TOPIC]).args(arguments))
}
