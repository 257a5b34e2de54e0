//! What people read: step lines, a spinner while something takes long, warnings and failures.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Format, Mark, Output};
use tbprov::event::{Event, Ignored, Observer};
use tbprov::text::{escaped, escaped_lines, shown_path};
use tbprov::{DeviceId, Error};

const BOLD_RED: &str = "\x1b[1;31m";
const BOLD_YELLOW: &str = "\x1b[1;33m";
const BOLD_CYAN: &str = "\x1b[1;36m";
const RESET: &str = "\x1b[0m";

/// Nothing that took less is worth a spinner.
const PATIENCE: Duration = Duration::from_millis(700);
const TICK: Duration = Duration::from_millis(100);

fn painted(text: &str, style: &str, color: bool) -> String {
    if color { format!("{style}{text}{RESET}") } else { text.to_owned() }
}

/// `error[code]: what happened`, the step, the help; with `verbose` the causes underneath.
pub(super) fn error(error: &Error, help: &str, color: bool, verbose: bool) -> String {
    let label = painted(&format!("error[{}]", error.code.as_str()), BOLD_RED, color);
    let mut text = format!("{label}: {}\n  step: {}\n", escaped(&error.message), error.step());
    if verbose {
        let mut cause = error.source();
        while let Some(under) = cause {
            let _ = writeln!(text, "  cause: {}", escaped(&under.to_string()));
            cause = under.source();
        }
    }
    let _ = write!(text, "  {}: {}", painted("help", BOLD_CYAN, color), escaped(help));
    text
}

pub(super) fn warning(text: &str, color: bool) -> String {
    format!("{}: {}", painted("warning", BOLD_YELLOW, color), escaped(text))
}

pub(super) const fn mark(mark: Mark, color: bool) -> &'static str {
    match (mark, color) {
        (Mark::Passed, true) => "\x1b[1;32m✓\x1b[0m",
        (Mark::Passed, false) => "✓",
        (Mark::Failed, true) => "\x1b[1;31m✗\x1b[0m",
        (Mark::Failed, false) => "✗",
        (Mark::Warning, true) => "\x1b[1;33m!\x1b[0m",
        (Mark::Warning, false) => "!",
        (Mark::Skipped, _) => "-",
    }
}

/// Shows what the run waits for, if it takes some time.
struct Spinner {
    enabled: bool,
    current: Mutex<Option<Waiting>>,
}

/// Dropping the sender ends the thread that draws.
struct Waiting {
    _stop: std::sync::mpsc::Sender<()>,
    bar: ProgressBar,
}

impl Spinner {
    const fn new(enabled: bool) -> Self {
        Self { enabled, current: Mutex::new(None) }
    }

    fn clear(&self) {
        if let Some(waiting) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waiting.bar.finish_and_clear();
        }
    }

    /// Changes what is said while it turns.
    fn say(&self, what: String) {
        if let Some(waiting) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            waiting.bar.set_message(what);
        }
    }

    fn wait_for(&self, what: &str) {
        self.clear();
        if !self.enabled {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_style(ProgressStyle::default_spinner())
            .with_message(what.to_owned());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let drawn = bar.clone();
        // Without a thread to draw it there is no spinner, and no harm.
        let _ = std::thread::Builder::new().spawn(move || {
            let has_to_wait = |pause| stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout);
            if has_to_wait(PATIENCE) {
                drawn.set_draw_target(ProgressDrawTarget::stderr());
                drawn.tick();
            }
            while has_to_wait(TICK) {
                drawn.tick();
            }
        });
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Waiting { _stop: stop, bar });
    }
}

impl Observer for Spinner {
    fn event(&self, _device: Option<&DeviceId>, event: &Event) {
        match event {
            Event::Started { what, .. } => self.wait_for(what),
            Event::Flashing { part, written, bytes } => {
                self.say(format!("writing the {part}: {} %", written * 100 / (*bytes).max(1)));
            }
            _ => self.clear(),
        }
    }
}

/// Nothing but what deserves attention, for a quiet run or one whose stdout a program reads.
pub(super) struct Warnings {
    output: Output,
    spinner: Spinner,
}

impl Warnings {
    pub(super) const fn new(output: Output, progress: bool) -> Self {
        Self { output, spinner: Spinner::new(progress) }
    }
}

impl Observer for Warnings {
    fn event(&self, device: Option<&DeviceId>, event: &Event) {
        self.spinner.event(device, event);
        match event {
            Event::FileFound { file, .. } => self.output.found(file),
            Event::CompilerOutput { text } => self.output.talk(&escaped_lines(text)),
            Event::Ignored { wish } => self.output.warn(ignored(*wish)),
            Event::ReadingRefused { reason, .. } => self.output.warn(&refused(reason)),
            // With --json the failure has them.
            Event::ManifestFault(fault) if self.output.format == Format::Human => self.output.fault(fault),
            Event::Warning { message } => self.output.warn(message),
            Event::NewCertificate { certificate, .. } if self.output.format == Format::Human => {
                self.output.data(&escaped_lines(certificate));
            }
            // A program may wait for the result until somebody has pasted it.
            Event::NewCertificate { certificate, .. } => self.output.talk(&escaped_lines(certificate)),
            _ => {}
        }
    }
}

fn refused(reason: &str) -> String {
    format!("refused: {reason}")
}

/// One line for each step that was done.
pub(super) struct Steps {
    output: Output,
    spinner: Spinner,
}

impl Steps {
    pub(super) const fn new(output: Output, progress: bool) -> Self {
        Self { output, spinner: Spinner::new(progress) }
    }

    fn done(&self, text: &str) {
        self.output.marked(Mark::Passed, text);
    }

    fn attention(&self, text: &str) {
        self.output.marked(Mark::Warning, text);
    }

    fn detail(&self, text: &str) {
        if self.output.verbose > 0 {
            self.output.talk(&format!("  {}", escaped(text)));
        }
    }
}

impl Observer for Steps {
    fn event(&self, device: Option<&DeviceId>, event: &Event) {
        self.spinner.event(device, event);
        match event {
            Event::FileFound { file, .. } => self.output.found(file),
            Event::Started { step, what } => self.detail(&format!("{step}: {what}")),
            Event::IdentityCreated { key_type } => {
                self.done(&format!("made a new {key_type} key and its certificate"))
            }
            Event::IdentityFound { state } => {
                self.done(&format!("found the identity of an earlier run ({})", state.as_str()))
            }
            Event::Saved { directory } => self.done(&format!("saved it in {}", shown_path(directory))),
            Event::StateReached { state, .. } => self.detail(&format!("state: {}", state.as_str())),
            Event::TcpConnected { address, proxy: None } => {
                self.detail(&format!("TCP connected to {address}"))
            }
            Event::TcpConnected { address, proxy: Some(proxy) } => {
                self.detail(&format!("TCP connected through the proxy {proxy} ({address})"));
            }
            Event::TlsEstablished { version } => {
                self.detail(&format!("{version}, the server is authenticated"))
            }
            Event::Connected { mutual_tls } => {
                let how = if *mutual_tls {
                    "with the device's certificate"
                } else {
                    "without a client certificate"
                };
                self.detail(&format!("MQTT connected {how}"));
            }
            Event::RequestSent => self.detail("the provision request was sent"),
            Event::AnswerReceived { status } if status == "SUCCESS" => {
                self.done("the server answered SUCCESS")
            }
            Event::AnswerReceived { status } => self.attention(&format!("the server answered {status}")),
            Event::Settling { reason } => {
                self.attention(&format!(
                    "{reason}; trying the saved identity to find out whether the server has it"
                ));
            }
            Event::StrangerRefused => self.detail("the server refuses throw-away credentials"),
            Event::Proved => self.done("the server accepts the saved identity"),
            Event::NewCertificate { certificate, .. } => self.output.data(&escaped_lines(certificate)),
            Event::ServerTold { credentials_id } => {
                self.detail(&format!("the server was told of {credentials_id}"))
            }
            Event::Promoted { credentials_id } => {
                self.done(&format!("{credentials_id} is the device's certificate now"))
            }
            Event::Acknowledged { acknowledged, payload: Some(payload), .. } => {
                self.done(&format!("telemetry {acknowledged} acknowledged: {payload}"));
            }
            Event::Confirmed { confirmed, seen, .. } => {
                let milliseconds = seen.as_millis();
                self.detail(&format!(
                    "{confirmed} confirmed: on the server {milliseconds} ms after it was sent"
                ));
            }
            Event::ReadingRefused { reason, .. } => self.output.warn(&refused(reason)),
            Event::HeldBack { reason } => self.attention(reason),
            Event::Reconnecting { attempt, delay, reason } => {
                self.attention(&format!(
                    "{reason}; connecting again in {:.1} s (attempt {attempt})",
                    delay.as_secs_f64()
                ));
            }
            Event::Log { line } => self.output.data(&escaped(line)),
            Event::BoardConnected { port, chip, mac } => self.done(&format!("{chip} {mac} at {port}")),
            Event::PartWritten { part, offset, bytes } => {
                self.done(&format!("{part} written and read back ({bytes} bytes at {offset:#x})"));
            }
            Event::CompilerOutput { text } => self.output.talk(&escaped_lines(text)),
            Event::Ignored { wish } => self.output.warn(ignored(*wish)),
            Event::ManifestFault(fault) => self.output.fault(fault),
            Event::Warning { message } => self.output.warn(message),
            _ => {}
        }
    }
}

pub(super) const fn ignored(wish: Ignored) -> &'static str {
    match wish {
        Ignored::Days => {
            "the device keeps its certificate, whose validity has another length than was asked for"
        }
        Ignored::Gateway => "the device is registered already: whether it is a gateway stays as it is",
        Ignored::ProvisionKey => {
            "the device was registered with another provision key, so it may be of another device profile"
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.clear();
    }
}
