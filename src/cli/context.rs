//! What every command is given: where to say things, the configuration, the store, and Ctrl-C.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "fleet")]
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::GlobalArgs;
#[cfg(feature = "fleet")]
use super::arguments::Flags;
use super::config::Config;
use super::limits;
#[cfg(feature = "fleet")]
use super::shell;
use super::terminal;
use crate::output::Output;
use tbprov::event::Progress;
use tbprov::flow::{Prover, Run};
use tbprov::identity::Credentials;
use tbprov::ledger::folder::Folders;
use tbprov::ledger::{Entry, Ledger, Which};
use tbprov::text::{native_path, shown_path};
use tbprov::{Error, ErrorCode, Result};
#[cfg(feature = "fleet")]
use tbprov::{
    Step, blocking,
    ledger::roster::{Roster, Selection},
    ledger::sqlite::{DEFAULT_LEASE, Sqlite},
};

#[derive(Clone)]
pub(super) struct Context {
    pub(super) output: Output,
    pub(super) config: Config,
    /// Where devices are kept, as the user named it.
    pub(super) store: PathBuf,
    /// The ledger of a fleet that is used in place of the store.
    pub(super) ledger_file: Option<PathBuf>,
    /// That ledger, with the rows of its manifest.
    #[cfg(feature = "fleet")]
    fleet: Option<Arc<dyn Roster>>,
    /// What was given by a flag, where a variable may give it too.
    #[cfg(feature = "fleet")]
    pub(super) flags: Flags,
    /// The store that a flag or a variable names.
    #[cfg(feature = "fleet")]
    pub(super) named_store: Option<PathBuf>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) progress: Progress,
    /// Cancelled by the first Ctrl-C, SIGTERM or end of the terminal; the second ends the process at once.
    pub(super) interrupt: CancellationToken,
    /// Whether questions can be asked.
    pub(super) may_ask: bool,
}

impl Context {
    /// Reads the configuration and begins to listen for Ctrl-C.
    pub(super) fn new(global: &GlobalArgs, output: Output) -> Result<Self> {
        let progress = Progress::new(output.observer());
        let config = match &global.config {
            Some(file) => Config::read(file)?,
            None => Config::find(&progress)?,
        };
        let store =
            global.store.clone().or_else(|| config.store.clone()).unwrap_or_else(|| "./devices".into());
        let store = native_path(&store).into_owned();
        #[cfg(feature = "fleet")]
        if global.flags.store {
            shell::name_store(&store);
        }
        let interrupt = CancellationToken::new();
        listen(interrupt.clone())?;
        warn_of_weak_sync(&progress);
        Ok(Self {
            ledger: ledger(&store, &progress),
            store,
            ledger_file: None,
            #[cfg(feature = "fleet")]
            fleet: None,
            #[cfg(feature = "fleet")]
            flags: global.flags,
            #[cfg(feature = "fleet")]
            named_store: global.store.clone(),
            progress,
            output,
            config,
            interrupt,
            may_ask: !global.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        })
    }

    /// The same with another store.
    pub(super) fn with_store(&self, store: &Path) -> Self {
        let store = native_path(store).into_owned();
        Self {
            ledger: ledger(&store, &self.progress),
            store,
            ledger_file: None,
            #[cfg(feature = "fleet")]
            fleet: None,
            ..self.clone()
        }
    }

    /// The same with a ledger in place of the store.
    #[cfg(feature = "fleet")]
    pub(super) fn with_ledger(&self, path: &Path) -> Result<Self> {
        let fleet = self.open(path, DEFAULT_LEASE)?;
        if self.flags.ledger {
            shell::name_ledger(path);
        }
        Ok(Self {
            ledger: fleet.clone(),
            ledger_file: Some(path.to_owned()),
            fleet: Some(fleet),
            ..self.clone()
        })
    }

    /// The wireless network that the device's row in the ledger of a fleet names.
    #[cfg(feature = "fleet")]
    pub(super) async fn wifi_ssid_of(&self, device: &str) -> Result<Option<String>> {
        let Some(fleet) = &self.fleet else { return Ok(None) };
        let named = Selection { names: vec![device.to_owned()], ..Selection::default() };
        let rows = fleet.rows(&named, None, 1).await?;
        Ok(rows.into_iter().find_map(|listed| listed.row.fields.wifi_ssid))
    }

    /// Only the row of a fleet names one.
    #[cfg(not(feature = "fleet"))]
    #[expect(clippy::unused_async, reason = "as with the feature fleet")]
    pub(super) async fn wifi_ssid_of(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// The ledger of a fleet, which must be there.
    #[cfg(feature = "fleet")]
    pub(super) async fn roster(&self, path: &Path) -> Result<Arc<dyn Roster>> {
        self.leased_roster(path, DEFAULT_LEASE).await
    }

    /// The same for a run, whose rows stay its own for so long when it does not answer.
    #[cfg(feature = "fleet")]
    pub(super) async fn leased_roster(&self, path: &Path, lease: Duration) -> Result<Arc<dyn Roster>> {
        let (context, path) = (self.clone(), path.to_owned());
        blocking(move || context.open(&path, lease)).await
    }

    #[cfg(feature = "fleet")]
    fn open(&self, path: &Path, lease: Duration) -> Result<Arc<dyn Roster>> {
        self.progress.begin(Step::Ledger);
        Ok(Arc::new(Sqlite::open(path, lease, self.progress.clone())?))
    }

    /// The ledger of a fleet that rows come into: made where there is none, unless it has to be there.
    #[cfg(feature = "fleet")]
    pub(super) async fn roster_to_fill(&self, path: &Path, must_be_there: bool) -> Result<Arc<dyn Roster>> {
        if must_be_there {
            return self.roster(path).await;
        }
        self.progress.begin(Step::Ledger);
        let (path, progress) = (path.to_owned(), self.progress.clone());
        blocking(move || Ok(Arc::new(Sqlite::create(path, DEFAULT_LEASE, progress)?) as Arc<dyn Roster>))
            .await
    }

    /// What a run of the library works with.
    pub(super) fn run<'a>(&'a self, prover: &'a Prover) -> Run<'a> {
        let interrupt = &self.interrupt;
        Run { ledger: &*self.ledger, prover, interrupt, stop_telemetry: interrupt, progress: &self.progress }
    }

    /// The device called `name`, or in the folder of that name; else the store's only one.
    pub(super) async fn device(&self, name: Option<&str>) -> Result<Entry> {
        let Some(name) = name else { return self.ledger.only().await };
        match self.ledger.open(name).await {
            Err(error) if error.code == ErrorCode::StoreNotFound && self.ledger_file.is_none() => {
                self.in_folder(name).await?.ok_or(error)
            }
            opened => opened,
        }
    }

    /// The device whose folder has this name, as `devices list` shows one that cannot be read.
    async fn in_folder(&self, folder: &str) -> Result<Option<Entry>> {
        let mut devices = self.ledger.list().await?.into_iter();
        devices.find(|(id, _)| id.as_str() == folder).map(|(_, device)| device).transpose()
    }

    /// The credentials of a device of the store.
    pub(super) async fn credentials(&self, entry: &Entry) -> Result<Credentials> {
        self.ledger.key(entry, Which::Current).await?.open(&entry.place())
    }

    /// Cancelled when the user interrupts, or when nobody reads stdout any more: for what goes on for ever.
    pub(super) fn interrupt_or_unread(&self) -> CancellationToken {
        let stop = self.interrupt.child_token();
        let (gone, stopped) = (self.output.reader_gone().clone(), stop.clone());
        tokio::spawn(async move {
            gone.cancelled().await;
            stopped.cancel();
        });
        stop
    }

    /// Runs `work` until it ends or the user interrupts it.
    pub(super) async fn interruptible<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.interrupt.cancelled() => Err(Error::interrupted()),
            done = work => done,
        }
    }
}

/// macOS has file systems that cannot do all that `tbprov` asks for.
fn warn_of_weak_sync(progress: &Progress) {
    let progress = progress.clone();
    tbprov::files::on_weak_sync(move |path| {
        progress.warn(format!(
            "the file system of {} cannot empty the disk's own cache: a power cut may cost what was written last",
            shown_path(path)
        ));
    });
}

/// The one place that says which kind of ledger a store is.
fn ledger(store: &Path, progress: &Progress) -> Arc<dyn Ledger> {
    Arc::new(Folders::told_to(store, progress.clone()))
}

/// Hears SIGINT, SIGTERM and SIGHUP from now on; on Windows Ctrl-C, Ctrl-Break and a closed window. The first asks for a
/// clean end, the second ends the process at once. On a thread of its own, for the other one may wait for a pipe that
/// nobody writes to.
fn listen(interrupt: CancellationToken) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(limits::no_runtime)?;
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(limits::no_runtime)?;
    limits::spawn("signals", move || {
        runtime.block_on(async {
            signals.next().await;
            interrupt.cancel();
            signals.next().await;
        });
        terminal::leave(ErrorCode::Interrupted.kind().exit_code())
    })
    .map(drop)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// The terminal was closed: what runs under this program would stay, with nobody to end it.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if may_hang_up() { Some(signal(SignalKind::hangup())?) } else { None };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { self.hangup.as_mut()?.recv().await } => {}
        }
    }
}

/// Whether a closed terminal shall end this program. `nohup` says no by ignoring the signal.
#[cfg(unix)]
fn may_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").ok();
    let shown = std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
    hears_hangup(status.as_deref(), shown)
}

/// Linux tells which signals are ignored. Elsewhere only unsafe code could ask; but `nohup` leaves neither stdout nor
/// stderr on a terminal, so where one of them is, it was not there. Where none is, the signal keeps what it does: it
/// ends this program at once, or is ignored.
#[cfg(unix)]
fn hears_hangup(status: Option<&str>, on_terminal: bool) -> bool {
    let ignored = status.and_then(|status| status.lines().find_map(|line| line.strip_prefix("SigIgn:")));
    let ignored = ignored.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
    // SIGHUP is the first signal.
    ignored.map_or(on_terminal, |signals| signals & 1 == 0)
}

/// After the last three Windows ends the process in a few seconds. It may use them: tokio's handler does not return. A
/// logoff and a shutdown are told to services alone (Microsoft's page of `HandlerRoutine`): Windows ends interactive
/// programs before.
#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    ctrl_break: tokio::signal::windows::CtrlBreak,
    /// The window was closed.
    close: tokio::signal::windows::CtrlClose,
    logoff: tokio::signal::windows::CtrlLogoff,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::windows;
        Ok(Self {
            interrupt: windows::ctrl_c()?,
            ctrl_break: windows::ctrl_break()?,
            close: windows::ctrl_close()?,
            logoff: windows::ctrl_logoff()?,
            shutdown: windows::ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.ctrl_break.recv() => {}
            _ = self.close.recv() => {}
            _ = self.logoff.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::hears_hangup;

    #[test]
    fn a_closed_terminal_is_heard_unless_nohup_says_no() {
        let linux = |signals: &str| format!("Name:\ttbprov\nSigIgn:\t{signals}\n");
        for terminal in [true, false] {
            assert!(hears_hangup(Some(&linux("0000000000001000")), terminal));
            assert!(!hears_hangup(Some(&linux("0000000000000001")), terminal));
            assert_eq!(hears_hangup(None, terminal), terminal);
        }
    }
}
