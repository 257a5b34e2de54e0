//! A folder of one's own to run the command in, and a simulator to run it against.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tbprov::Secret;
use tbprov::identity::{Certificate, read_certificates};
use tbprov::keys::{SoftwareKey, pem};
use tbprov::sim::{Config, DeviceSummary, Event, Observer, ServerIdentity, Simulator};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const KEY: &str = "provision-key";
pub(crate) const SECRET: &str = "the-Provision-Secret-0123456789";
pub(crate) const NAME: &str = "sensor-01";

/// Ends what would hang; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

pub(crate) fn fixture_text(path: &str) -> String {
    std::fs::read_to_string(fixture(path)).unwrap()
}

/// An empty folder, which is also HOME, and the command in it with nothing in its environment.
pub(crate) struct World {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: BTreeMap::new() }
    }

    /// A folder with the fixture `server/<certificate>.pem` as `server.pem`.
    pub(crate) fn trusting(certificate: &str) -> Self {
        let world = Self::new();
        world.write("server.pem", fixture_text(&format!("server/{certificate}.pem")));
        world
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) -> &mut Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
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

    pub(crate) fn command(&self) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.process());
        command.timeout(PATIENCE);
        command
    }

    /// The same, to be started and not waited for.
    pub(crate) fn process(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tbprov"));
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        // Windows finds its sockets by it.
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        command.envs(&self.variables);
        command
    }

    /// Runs `line`, split at blanks, to its end.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_all(line.split_whitespace())
    }

    pub(crate) fn run_all<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::from(self.command().args(arguments).output().unwrap())
    }

    pub(crate) fn run_with_stdin(&self, line: &str, stdin: impl Into<Vec<u8>>) -> Ran {
        Ran::from(self.command().args(line.split_whitespace()).write_stdin(stdin).output().unwrap())
    }
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("only UTF-8 is printed");
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

    #[track_caller]
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn help(&self) -> String {
        self.json()["error"]["help"].as_str().unwrap().to_owned()
    }
}

/// Keeps every event.
#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A simulator with a certificate of the fixtures.
pub(crate) struct Server {
    simulator: Option<Simulator>,
    events: Arc<Recorder>,
    certificate: String,
}

impl Server {
    /// With the certificate `san` and what `change` has changed.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_certificate("san", change)
    }

    pub(crate) fn with_certificate(certificate: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(KEY, Secret::new(SECRET));
        config.server = Some(server_identity(certificate));
        change(&mut config);
        let events = Arc::new(Recorder::default());
        let simulator = runtime().block_on(Simulator::start(config, events.clone())).unwrap();
        Self { simulator: Some(simulator), events, certificate: certificate.to_owned() }
    }

    /// Ends this one and starts another at the same port, with the same certificate.
    pub(crate) fn replace(mut self, change: impl Fn(&mut Config)) -> Self {
        let address = self.address();
        runtime().block_on(self.simulator.take().unwrap().stop());
        // Meanwhile the port may be lent to an outgoing connection of another test.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut config = Config::new(KEY, Secret::new(SECRET));
            config.server = Some(server_identity(&self.certificate));
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

    pub(crate) fn address(&self) -> SocketAddr {
        self.simulator.as_ref().unwrap().address()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    pub(crate) fn devices(&self) -> Vec<DeviceSummary> {
        self.simulator.as_ref().unwrap().devices()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }

    /// `--host … --port … --server-cert server.pem`.
    pub(crate) fn flags(&self) -> String {
        format!("--host localhost --port {} --server-cert server.pem", self.port())
    }

    /// Provisions `sensor-01` with everything needed in the environment, and `flags` before it.
    pub(crate) fn provision(&self, world: &World, flags: &str) -> Ran {
        self.provision_as(world, NAME, flags)
    }

    pub(crate) fn provision_as(&self, world: &World, name: &str, flags: &str) -> Ran {
        let mut command = world.command();
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

fn server_identity(name: &str) -> ServerIdentity {
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
