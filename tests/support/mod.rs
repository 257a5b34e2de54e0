//! What the tests from outside share: a folder of their own, the `tbprov` command, a simulator to talk to.

#![allow(dead_code, clippy::print_stdout, reason = "each test crate uses a part; a skipped test says so")]

#[cfg(unix)]
pub(crate) mod board;
pub(crate) mod peers;
#[cfg(unix)]
pub(crate) mod terminal;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tbprov::Secret;
use tbprov::identity::{Certificate, X509Identity, read_certificates};
use tbprov::keys::{SoftwareKey, pem};
use tbprov::sim::{Config, DeviceSummary, Event, Observer, Release, ServerIdentity, Simulator, StoredValue};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const TBPROV: &str = env!("CARGO_BIN_EXE_tbprov");

pub(crate) const KEY: &str = "provision-key";
pub(crate) const SECRET: &str = "the-Provision-Secret-0123456789";
pub(crate) const NAME: &str = "sensor-01";

/// The releases whose differences matter to a client.
pub(crate) const RELEASES: [Release; 4] = [Release::V3_4, Release::V3_6, Release::V3_8, Release::V4_3];

/// Ends what would hang; no test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `done`, which a broken program would never be.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

pub(crate) fn fixture_text(path: &str) -> String {
    std::fs::read_to_string(fixture(path)).unwrap()
}

/// A folder that is the working directory and the home of every command run in it.
pub(crate) struct Sandbox {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: BTreeMap::new() }
    }

    /// A folder with the fixture `server/<certificate>.pem` as `server.pem`.
    pub(crate) fn trusting(certificate: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write("server.pem", fixture_text(&format!("server/{certificate}.pem")));
        sandbox
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) -> &mut Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn unset(&mut self, variable: &str) -> &mut Self {
        self.variables.remove(variable);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The parsed record of the device `sensor-01`.
    pub(crate) fn record(&self) -> Value {
        serde_json::from_str(&self.read(&format!("devices/{NAME}/device.json"))).unwrap()
    }

    /// Every file below the folder, with its path in it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// The server `name.pem` with `name_key.pem` of this folder.
    pub(crate) fn server_identity(&self, name: &str) -> ServerIdentity {
        identity_from(name, |file| self.read(file))
    }

    pub(crate) fn identity(&self, folder: &str) -> X509Identity {
        let file = |name| self.path("devices").join(folder).join(name);
        X509Identity::read(&file("cert.pem"), &file("key.pem")).unwrap()
    }

    /// Any program, with nothing of the caller's environment that could change what `tbprov` does.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("HOME", self.folder.path()).stdin(Stdio::null());
        let ours = |name: &str| name.starts_with("TBPROV_") || name.starts_with("TB_") || name == "NO_COLOR";
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
            command.env_remove(name);
        }
        command.envs(&self.variables);
        command
    }

    pub(crate) fn tbprov(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(TBPROV);
        command.args(arguments);
        command
    }

    /// `tbprov` with nothing in its environment, not even a PATH, but what was [set](Self::set).
    pub(crate) fn bare(&self) -> Command {
        let mut command = Command::new(TBPROV);
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        // Windows finds its sockets by it.
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        command.envs(&self.variables);
        command
    }

    /// [`Self::bare`], ended where it hangs.
    pub(crate) fn bare_in_time(&self) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.bare());
        command.timeout(PATIENCE);
        command
    }

    /// Runs `line`, split at blanks, with nothing in its environment.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_all(line.split_whitespace())
    }

    pub(crate) fn run_all<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::from(self.bare_in_time().args(arguments).output().unwrap())
    }

    pub(crate) fn run_with_stdin(&self, line: &str, stdin: impl Into<Vec<u8>>) -> Ran {
        Ran::from(self.bare_in_time().args(line.split_whitespace()).write_stdin(stdin).output().unwrap())
    }

    /// `tbprov`, told by its environment all about `server`.
    pub(crate) fn tbprov_for(&self, server: &Server, arguments: &[&str]) -> Command {
        let pin = self.path("pinned.pem");
        if !pin.exists() {
            self.write("pinned.pem", server.certificate().to_pem());
        }
        let mut command = self.tbprov(arguments);
        command.envs(server.environment()).env("TBPROV_HOST", "127.0.0.1").env("TBPROV_SERVER_CERT", pin);
        command
    }

    /// `tbprov provision` of the device `name`, with a result in JSON.
    pub(crate) fn provision(&self, server: &Server, name: &str) -> Command {
        self.tbprov_for(server, &["provision", "--json", "--device-name", name])
    }

    /// Provisions the device `name`, which must succeed.
    pub(crate) fn provisioned(&self, server: &Server, name: &str) {
        run(&mut self.provision(server, name)).done();
    }

    /// `tbprov connect` with a result in JSON.
    pub(crate) fn connect(&self, arguments: &[&str]) -> Command {
        let mut command = self.tbprov(&["connect", "--json"]);
        command.args(arguments);
        command
    }
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// Its result, after exit code 0.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.json()
    }

    /// The one JSON object, or the last of the events.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("nothing on stdout: {self:?}"));
        let value: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        assert_eq!(value["schema"], "tbprov/1", "{self:?}");
        value
    }

    #[track_caller]
    pub(crate) fn outcome(&self) -> String {
        self.done()["outcome"].as_str().unwrap_or_default().to_owned()
    }

    /// Exit code, error code, step; the failure's parts are there and agree with each other.
    #[track_caller]
    pub(crate) fn failure(&self) -> (i32, String, String) {
        let value = self.json();
        let error = &value["error"];
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        assert!(!text("message").is_empty() && !text("help").is_empty(), "{self:?}");
        assert_eq!(value["exit_code"].as_i64(), self.code.map(i64::from), "{self:?}");
        (self.code.unwrap(), text("code"), text("step"))
    }

    /// In one line: the outcome, or exit code, error code and step.
    #[track_caller]
    pub(crate) fn brief(&self) -> String {
        match self.code {
            Some(0) => self.outcome(),
            _ => {
                let (exit, code, step) = self.failure();
                format!("{exit} {code} {step}")
            }
        }
    }

    /// The failure of a command that must have ended with this exit code and error code.
    #[track_caller]
    pub(crate) fn failed(&self, exit_code: i32, error_code: &str) -> Value {
        assert_eq!(self.code, Some(exit_code), "{self:?}");
        let json = self.json();
        assert_eq!(json["error"]["code"], error_code, "{self:?}");
        json["error"].clone()
    }

    #[track_caller]
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn help(&self) -> String {
        self.json()["error"]["help"].as_str().unwrap().to_owned()
    }
}

/// So many different readings, one a line.
pub(crate) fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{{\"number\":{number}}}\n")).collect()
}

/// Runs `command` with `input` on stdin.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that fails early does not read all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let ended = Ran::from(child.wait_with_output().unwrap());
    writer.join().unwrap();
    ended
}

/// Runs any program to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    if command.get_program() == TBPROV {
        return Ran::from(output);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
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

    pub(crate) fn end(mut self) -> Ran {
        while self.line().is_some() {}
        let code = self.child.wait().unwrap().code();
        Ran { code, stdout: std::mem::take(&mut self.seen), stderr: String::new() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps every event, and when it was told.
#[derive(Default)]
struct Recorder(Mutex<Vec<(SystemTime, Event)>>);

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push((SystemTime::now(), event.clone()));
    }
}

/// A simulator in this process.
pub(crate) struct Server {
    simulator: Option<Simulator>,
    events: Arc<Recorder>,
    /// What it presents of the fixtures; else it has made a certificate of its own.
    presented: Option<String>,
}

impl Server {
    /// Starts a simulator whose configuration `change` has changed.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(None, change)
    }

    pub(crate) fn of(release: Release) -> Self {
        Self::start(|config| config.release = release)
    }

    /// As [`Self::start`], with the certificate `server/<certificate>.pem` of the fixtures.
    pub(crate) fn presenting(certificate: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(Some(certificate.to_owned()), change)
    }

    fn start_as(presented: Option<String>, change: impl FnOnce(&mut Config)) -> Self {
        let events = Arc::new(Recorder::default());
        let mut config = Config::new(KEY, Secret::new(SECRET));
        config.server = presented.as_deref().map(server_identity);
        change(&mut config);
        let simulator = runtime().block_on(Simulator::start(config, events.clone())).unwrap();
        Self { simulator: Some(simulator), events, presented }
    }

    /// Ends this one and starts another at the same port, with the same certificate of the fixtures.
    pub(crate) fn replace(self, change: impl Fn(&mut Config)) -> Self {
        self.replace_after(|| {}, change)
    }

    /// As [`replace`](Self::replace), with nobody at the port before `meanwhile` returns.
    pub(crate) fn replace_after(mut self, meanwhile: impl FnOnce(), change: impl Fn(&mut Config)) -> Self {
        let address = self.address();
        runtime().block_on(self.simulator.take().unwrap().stop());
        meanwhile();
        // Meanwhile the port may be lent to an outgoing connection of another test.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut config = Config::new(KEY, Secret::new(SECRET));
            config.server = self.presented.as_deref().map(server_identity);
            config.bind = address;
            change(&mut config);
            match runtime().block_on(Simulator::start(config, self.events.clone())) {
                Ok(simulator) => {
                    self.simulator = Some(simulator);
                    return self;
                }
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Closes every connection and the socket.
    pub(crate) fn stop(mut self) {
        if let Some(simulator) = self.simulator.take() {
            runtime().block_on(simulator.stop());
        }
    }

    pub(crate) fn certificate(&self) -> Certificate {
        self.simulator.as_ref().unwrap().certificate().clone()
    }

    /// The only device called `name`.
    pub(crate) fn device(&self, name: &str) -> DeviceSummary {
        let mut devices: Vec<_> = self.devices().into_iter().filter(|device| device.name == name).collect();
        assert_eq!(devices.len(), 1, "{name}");
        devices.remove(0)
    }

    /// Every telemetry payload that the device sent, in order.
    pub(crate) fn telemetry(&self, name: &str) -> Vec<String> {
        let events = self.events();
        let of_device = events.iter().filter_map(|event| match event {
            Event::Telemetry { device, payload, .. } if device == name => Some(payload.clone()),
            _ => None,
        });
        of_device.collect()
    }

    /// The values that the store has of the device, in order of time.
    pub(crate) fn values(&self, name: &str) -> Vec<StoredValue> {
        self.simulator.as_ref().unwrap().values(name)
    }

    /// Runs `work` where the server runs.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        runtime().block_on(work)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.simulator.as_ref().unwrap().address()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    /// What names the administrator's account at the REST API, which has to be on.
    pub(crate) fn account(&self) -> [(&'static str, String); 4] {
        let simulator = self.simulator.as_ref().unwrap();
        let port = simulator.rest_address().unwrap().port();
        [
            ("TBPROV_API_URL", format!("https://localhost:{port}")),
            ("TBPROV_API_USER", simulator.api_user().unwrap().to_owned()),
            ("TBPROV_API_PASSWORD", simulator.api_password().unwrap().expose().to_owned()),
            ("TBPROV_API_CERT", "server.pem".to_owned()),
        ]
    }

    /// An API key of the administrator, where the release has them.
    pub(crate) fn api_key(&self) -> Option<String> {
        self.simulator.as_ref().unwrap().api_key().map(|key| key.expose().to_owned())
    }

    pub(crate) fn devices(&self) -> Vec<DeviceSummary> {
        self.simulator.as_ref().unwrap().devices()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events_in_time().into_iter().map(|(_, event)| event).collect()
    }

    /// How many connections there were: who asks the server opens one. The end of an earlier one may be told at any time.
    pub(crate) fn connections(&self) -> usize {
        let opened = |event: &&Event| matches!(event, Event::ConnectionOpened { .. });
        self.events().iter().filter(opened).count()
    }

    /// Every event, and when it was told.
    pub(crate) fn events_in_time(&self) -> Vec<(SystemTime, Event)> {
        self.events.0.lock().unwrap().clone()
    }

    /// `--host … --port … --server-cert server.pem`.
    pub(crate) fn flags(&self) -> String {
        format!("--host localhost --port {} --server-cert server.pem", self.port())
    }

    /// Provisions `sensor-01` with everything needed in the environment, and `flags` before it.
    pub(crate) fn provision(&self, sandbox: &Sandbox, flags: &str) -> Ran {
        self.provision_as(sandbox, NAME, flags)
    }

    pub(crate) fn provision_as(&self, sandbox: &Sandbox, name: &str, flags: &str) -> Ran {
        let mut command = sandbox.bare_in_time();
        command.envs(self.environment()).env("TBPROV_DEVICE_NAME", name);
        command.args(["provision", "--json"]).args(flags.split_whitespace());
        Ran::from(command.output().unwrap())
    }

    /// What `provision` needs, but for the name.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("TBPROV_HOST", "localhost".to_owned()),
            ("TBPROV_PORT", self.port().to_string()),
            ("TBPROV_SERVER_CERT", "server.pem".to_owned()),
            ("TBPROV_PROVISION_KEY", KEY.to_owned()),
            ("TBPROV_PROVISION_SECRET", SECRET.to_owned()),
        ]
    }
}

pub(crate) fn server_identity(name: &str) -> ServerIdentity {
    identity_from(&format!("server/{name}"), fixture_text)
}

fn identity_from(name: &str, read: impl Fn(&str) -> String) -> ServerIdentity {
    ServerIdentity {
        chain: read_certificates(&read(&format!("{name}.pem")), name).unwrap(),
        key: Arc::new(SoftwareKey::from_pem(&read(&format!("{name}_key.pem")), name).unwrap()),
    }
}

pub(crate) fn certificate_of(path: &str) -> Certificate {
    read_certificates(&pem::read_file(&fixture(path)).unwrap(), path).unwrap().remove(0)
}

/// One runtime for every simulator of the process.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

/// Calls `check` for each row on a thread of its own, and tells every row that failed, not only the first.
pub(crate) fn for_each_row<R: Sync>(rows: &[R], check: impl Fn(&R) -> Result<(), String> + Sync) {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = rows.iter().map(|row| scope.spawn(|| check(row))).collect();
        running
            .into_iter()
            .filter_map(|row| row.join().unwrap_or_else(|why| Err(text_of(&*why))).err())
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What a panic said.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a row has panicked".to_owned())
}

/// The difference between what was said and what was promised, if there is one.
pub(crate) fn same(what: &str, said: &str, promised: &str) -> Result<(), String> {
    if said == promised { Ok(()) } else { Err(format!("{what}: {said:?}, promised {promised:?}")) }
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
