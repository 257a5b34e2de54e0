//! What the tests from outside share: a folder of their own, the `tbprov` command, a simulator to talk to.

#![allow(dead_code, clippy::print_stdout, reason = "each test crate uses a part; a skipped test says so")]

#[cfg(unix)]
pub(crate) mod board;
pub(crate) mod peers;
#[cfg(unix)]
pub(crate) mod terminal;

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tbprov::Secret;
use tbprov::identity::{Certificate, X509Identity};
use tbprov::sim::{Config, DeviceSummary, Event, Observer, Release, Simulator};

pub(crate) const KEY: &str = "provision-key";
pub(crate) const SECRET: &str = "provision-secret-nobody-sees";

/// The releases whose differences matter to a client.
pub(crate) const RELEASES: [Release; 4] = [Release::V3_4, Release::V3_6, Release::V3_8, Release::V4_3];

/// Ends a test that would hang; no test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`, which a broken program would never be.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder that is the working directory and the home of every command run in it.
pub(crate) struct Sandbox(tempfile::TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Any program, with nothing of the caller's environment that could change what it does.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env("HOME", self.0.path()).stdin(Stdio::null());
        let ours = |name: &str| name.starts_with("TBPROV_") || name == "NO_COLOR";
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn tbprov(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_tbprov"));
        command.args(arguments);
        command
    }

    /// `tbprov`, told by its environment all about `server`.
    pub(crate) fn tbprov_for(&self, server: &Server, arguments: &[&str]) -> Command {
        let pin = self.path("pinned.pem");
        if !pin.exists() {
            self.write("pinned.pem", &server.certificate.to_pem());
        }
        let mut command = self.tbprov(arguments);
        command
            .env("TBPROV_HOST", "127.0.0.1")
            .env("TBPROV_PORT", server.address.port().to_string())
            .env("TBPROV_PROVISION_KEY", KEY)
            .env("TBPROV_PROVISION_SECRET", SECRET)
            .env("TBPROV_SERVER_CERT", pin);
        command
    }

    /// `tbprov provision` of the device `name`, with a result in JSON.
    pub(crate) fn provision(&self, server: &Server, name: &str) -> Command {
        self.tbprov_for(server, &["provision", "--json", "--device-name", name])
    }

    /// Provisions the device `name`, which must succeed.
    pub(crate) fn provisioned(&self, server: &Server, name: &str) {
        run(&mut self.provision(server, name)).succeeded();
    }

    /// `tbprov connect` with a result in JSON.
    pub(crate) fn connect(&self, arguments: &[&str]) -> Command {
        let mut command = self.tbprov(&["connect", "--json"]);
        command.args(arguments);
        command
    }

    pub(crate) fn identity(&self, folder: &str) -> X509Identity {
        let file = |name| self.path("devices").join(folder).join(name);
        X509Identity::read(&file("cert.pem"), &file("key.pem")).unwrap()
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The last line of stdout: the result, or the failure.
    pub(crate) fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The result of a command that must have ended well.
    #[track_caller]
    pub(crate) fn succeeded(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.json()
    }

    /// The failure of a command that must have ended with this exit code and error code.
    #[track_caller]
    pub(crate) fn failed(&self, exit_code: i32, error_code: &str) -> Value {
        assert_eq!(self.code, Some(exit_code), "{self:?}");
        let json = self.json();
        assert_eq!(json["error"]["code"], error_code, "{self:?}");
        json["error"].clone()
    }
}

pub(crate) fn run(command: &mut Command) -> Ended {
    ended(command.output().unwrap())
}

pub(crate) fn ended(output: std::process::Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running command whose lines of stdout are read one by one. Killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, seen: String::new() }
    }

    /// The next line, or nothing when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        self.seen.push_str(&line);
        (read > 0).then_some(line)
    }

    /// Reads on until a line holds `text`.
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            match self.line() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("ended without {text}: {}", self.seen),
            }
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal such as `INT`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn end(mut self) -> Ended {
        while self.line().is_some() {}
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout: std::mem::take(&mut self.seen), stderr: String::new() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps every event of the simulator.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A simulator in this process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Certificate,
    pub(crate) events: Arc<Recorder>,
    runtime: tokio::runtime::Runtime,
    simulator: Option<Simulator>,
}

impl Server {
    /// Starts a simulator whose configuration `change` has changed.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(KEY, Secret::new(SECRET));
        change(&mut config);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let events = Arc::new(Recorder::default());
        let simulator = runtime.block_on(Simulator::start(config, events.clone())).unwrap();
        Self {
            address: simulator.address(),
            certificate: simulator.certificate().clone(),
            events,
            runtime,
            simulator: Some(simulator),
        }
    }

    pub(crate) fn of(release: Release) -> Self {
        Self::start(|config| config.release = release)
    }

    pub(crate) fn devices(&self) -> Vec<DeviceSummary> {
        self.simulator.as_ref().map(Simulator::devices).unwrap_or_default()
    }

    /// The only device called `name`.
    pub(crate) fn device(&self, name: &str) -> DeviceSummary {
        let mut devices: Vec<_> = self.devices().into_iter().filter(|device| device.name == name).collect();
        assert_eq!(devices.len(), 1, "{name}");
        devices.remove(0)
    }

    /// Every telemetry payload that the device sent, in order.
    pub(crate) fn telemetry(&self, name: &str) -> Vec<String> {
        let events = self.events.0.lock().unwrap();
        let of_device = events.iter().filter_map(|event| match event {
            Event::Telemetry { device, payload, .. } if device == name => Some(payload.clone()),
            _ => None,
        });
        of_device.collect()
    }

    /// Runs `work` on the server's runtime.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Closes every connection and the socket.
    pub(crate) fn stop(mut self) {
        if let Some(simulator) = self.simulator.take() {
            self.runtime.block_on(simulator.stop());
        }
    }
}

/// What must hold of a device that is done: one on the server, whose certificate is the saved one, whose key
/// fits; nothing unfinished beside it.
#[track_caller]
pub(crate) fn assert_whole(sandbox: &Sandbox, server: &Server, name: &str) {
    let identity = sandbox.identity(name);
    assert_eq!(server.device(name).credentials_id, Some(identity.leaf.credentials_id()), "{name}");
    assert_eq!(record_state(sandbox, name).as_deref(), Some("proved"), "{name}");
    let folder = sandbox.path("devices").join(name);
    assert_eq!(
        entries(&folder),
        ["cert.pem", "device.json", "key.pem", "server.pem"],
        "nothing unfinished stays in {name}"
    );
    let unfinished = format!(".new-{name}");
    assert!(!entries(&sandbox.path("devices")).contains(&unfinished), "{unfinished} is still there");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("key.pem"))), (0o700, 0o600));
    }
}

/// The names in a folder, in order.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// The state in a device's record, if the device is in the store.
pub(crate) fn record_state(sandbox: &Sandbox, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(sandbox.path("devices").join(name).join("device.json")).ok()?;
    let record: Value = serde_json::from_str(&text).unwrap();
    record["state"].as_str().map(str::to_owned)
}
