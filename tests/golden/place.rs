//! Where a case is run: a folder that is prepared for it, and perhaps a server.

use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tbprov::sim::{Config, Event, HeldCredentials, PreProvisioned, Strategy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::snapshot::Snapshot;
use crate::support::{NAME, Ran, Sandbox, Server, fixture, fixture_text, runtime, until};

/// A folder and, while this is kept, what its commands talk to.
pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    server: Option<Server>,
    port: u16,
}

impl Place {
    /// An empty folder, and no program but ours.
    pub(crate) fn empty() -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.set("PATH", "no-such-folder");
        Self { sandbox, server: None, port: 0 }
    }

    /// A simulator, and all that `provision` needs in the environment.
    pub(crate) fn served() -> Self {
        Self::with(|_| {})
    }

    /// A simulator that keeps its devices in a file, and is then started again with this fault.
    pub(crate) fn served_then(line: &str, fault: &str) -> Self {
        let place = Self::empty();
        let state = place.sandbox.path("registry.json");
        let server = Server::presenting("san", |config| config.state = Some(state.clone()));
        let mut place = place.told_about(server.port(), "san").after(line);
        place.server = Some(server.replace(|config| {
            config.state = Some(state.clone());
            config.faults = vec![fault.parse().unwrap()];
        }));
        place
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::presenting("san", "san", change)
    }

    /// A simulator that does this wrong; several faults stand between commas.
    pub(crate) fn with_fault(faults: &str) -> Self {
        Self::with(|config| config.faults = faults.split(',').map(|fault| fault.parse().unwrap()).collect())
    }

    /// A simulator that has one certificate of the fixtures, where another may be believed.
    pub(crate) fn presenting(certificate: &str, believed: &str, change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::presenting(certificate, change);
        let mut place = Self::empty().told_about(server.port(), believed);
        place.server = Some(server);
        place
    }

    /// Nothing that listens, where a server should be.
    pub(crate) fn unserved() -> Self {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::empty().told_about(closed, "san")
    }

    /// A simulator with a REST API that keeps its devices in a file, and the account in the environment.
    pub(crate) fn of_account() -> Self {
        let place = Self::empty();
        let state = place.sandbox.path("registry.json");
        let server = Server::presenting("san", |config| {
            config.rest = Some("127.0.0.1:0".parse().unwrap());
            config.state = Some(state);
        });
        let mut place = place.told_about(server.port(), "san");
        place.server = Some(server);
        place.told_the_account()
    }

    fn told_the_account(mut self) -> Self {
        for (variable, value) in self.server.as_ref().unwrap().account() {
            self.sandbox.set(variable, &value);
        }
        self
    }

    /// The same with these faults; several stand between commas.
    pub(crate) fn faulted(self, faults: &str) -> Self {
        let state = self.sandbox.path("registry.json");
        let faults: Vec<_> =
            faults.split(',').filter(|fault| !fault.is_empty()).map(|fault| fault.parse().unwrap()).collect();
        let place = self.served_anew(|config| {
            config.rest = Some("127.0.0.1:0".parse().unwrap());
            config.state = Some(state.clone());
            config.faults.clone_from(&faults);
        });
        place.told_the_account()
    }

    /// A server that answers CONNECT with this code.
    pub(crate) fn connack(code: u8) -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime().spawn(answer_connect(listener, code));
        Self::empty().told_about(port, "san")
    }

    /// A server of `broker`.
    pub(crate) fn at(port: u16) -> Self {
        Self::empty().told_about(port, "san")
    }

    /// A server that keeps this certificate for `sensor-01`, and has none for another name.
    pub(crate) fn holding(held: HeldCredentials) -> Self {
        Self::with(|config| {
            config.strategy = Strategy::PreProvisioned;
            config.pre_provisioned = vec![PreProvisioned::new(NAME).with(held)];
        })
    }

    fn told_about(mut self, port: u16, believed: &str) -> Self {
        self.port = port;
        self.sandbox.write("server.pem", fixture_text(&format!("server/{believed}.pem")));
        for (variable, value) in [
            ("TBPROV_HOST", "localhost"),
            ("TBPROV_PORT", &port.to_string()),
            ("TBPROV_SERVER_CERT", "server.pem"),
            ("TBPROV_PROVISION_KEY", crate::support::KEY),
            ("TBPROV_PROVISION_SECRET", crate::support::SECRET),
            ("TBPROV_DEVICE_NAME", NAME),
        ] {
            self.sandbox.set(variable, value);
        }
        self
    }

    pub(crate) fn set(mut self, variable: &str, value: &str) -> Self {
        self.sandbox.set(variable, value);
        self
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The account of the server's administrator in the environment.
    pub(crate) fn account(mut self) -> Self {
        for (name, value) in self.server.as_ref().unwrap().account() {
            self.sandbox.set(name, &value);
        }
        self
    }

    pub(crate) fn unset(mut self, variable: &str) -> Self {
        self.sandbox.unset(variable);
        self
    }

    /// With a file; a key is its owner's alone.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.sandbox.write(name, content);
        if name.ends_with("key.pem") { self.mode(name, 0o600) } else { self }
    }

    /// Has `name` of `fixtures/files`.
    pub(crate) fn fixture(self, name: &str) -> Self {
        let content = std::fs::read(fixture(&format!("files/{name}"))).unwrap();
        self.file(name, content)
    }

    /// Has a certificate and its key of `fixtures/files`.
    pub(crate) fn pair(self) -> Self {
        self.fixture("device.pem").fixture("device_key.pem")
    }

    /// After `line` was run, which must succeed.
    pub(crate) fn after(self, line: &str) -> Self {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        self
    }

    /// With this in place of what the file has.
    pub(crate) fn replaced(self, name: &str, from: &str, to: &str) -> Self {
        let text = self.sandbox.read(name);
        assert!(text.contains(from), "{text}");
        self.file(name, text.replace(from, to))
    }

    /// With this mode of a file.
    pub(crate) fn mode(self, name: &str, mode: u32) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.sandbox.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// After `line` was run, which must fail.
    pub(crate) fn after_failed(self, line: &str) -> Self {
        let ran = self.run(line);
        assert_ne!(ran.code, Some(0), "{line}: {ran:?}");
        self
    }

    /// With a server at the same port that knows no device.
    pub(crate) fn served_anew(mut self, change: impl Fn(&mut Config)) -> Self {
        self.server = self.server.map(|server| server.replace(change));
        self
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        self.sandbox.run(&line.replace("$PORT", &self.port.to_string()))
    }

    /// Runs `line` until `ready`, and then for as long as SIGINT takes.
    pub(crate) fn run_until(&self, line: &str, ready: impl Fn(&Self) -> bool) -> Ran {
        self.run_meanwhile(line, ready, |process| {
            let sent = Command::new("kill").args(["-s", "INT", &process.to_string()]).status();
            assert!(sent.unwrap().success());
        })
    }

    /// Runs `line` to its end; does `meanwhile` to the process once it is `ready`.
    pub(crate) fn run_meanwhile(
        &self,
        line: &str,
        ready: impl Fn(&Self) -> bool,
        meanwhile: impl FnOnce(u32),
    ) -> Ran {
        let mut command = self.sandbox.bare();
        command
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        until(line, || ready(self));
        meanwhile(child.id());
        Ran::from(child.wait_with_output().unwrap())
    }

    /// Whether the simulator has applied a fault: by then, what came before is told.
    pub(crate) fn has_faulted(&self) -> bool {
        let events = self.server.as_ref().map(Server::events).unwrap_or_default();
        events.iter().any(|event| matches!(event, Event::Fault { .. }))
    }
}

async fn answer_connect(listener: TcpListener, code: u8) {
    let chain = vec![CertificateDer::from_pem_file(fixture("server/san.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("server/san_key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(&[0x20, 2, 0, code]).await;
        let _ = stream.flush().await;
    }
}

impl Snapshot {
    /// A case: `line` in words and as JSON, each in a place of its own, at once: many wait for a time-out.
    pub(crate) fn both(&mut self, title: &str, line: &str, place: impl Fn() -> Place + Sync) {
        self.case(title);
        let lines = [line.to_owned(), format!("--json {line}")];
        let run = |line: &str| {
            let place = place();
            let ran = place.run(line);
            (place, ran)
        };
        let run = &run;
        let ran = std::thread::scope(|scope| {
            lines.each_ref().map(|line| scope.spawn(move || run(line))).map(|running| running.join().unwrap())
        });
        for (line, (place, ran)) in lines.iter().zip(ran) {
            self.add(&place.sandbox, line, &ran);
        }
    }

    /// A case: `line` in words and as JSON in a place that neither changes.
    pub(crate) fn both_in(&mut self, place: &Place, title: &str, line: &str) {
        self.case(title);
        self.ran(place, line);
        self.ran(place, &format!("--json {line}"));
    }

    /// Runs and adds `line`.
    pub(crate) fn ran(&mut self, place: &Place, line: &str) {
        let ran = place.run(line);
        self.add(&place.sandbox, line, &ran);
    }
}
