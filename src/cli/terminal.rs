//! The terminal itself: its state before any prompt, the log, and what a panic shows.

#[cfg(unix)]
use std::sync::OnceLock;

use tbprov::firmware::leftovers;
use tbprov::{Error, ErrorCode};

/// The modes of the terminal at the start, so that an interrupted password prompt does not leave it mute.
#[cfg(unix)]
static MODES: OnceLock<Option<rustix::termios::Termios>> = OnceLock::new();

/// Remembers the modes of the terminal.
pub(super) fn save() {
    #[cfg(unix)]
    MODES.get_or_init(|| rustix::termios::tcgetattr(std::io::stdin()).ok());
}

/// Gives the terminal its modes back.
pub(super) fn restore() {
    #[cfg(unix)]
    if let Some(Some(modes)) = MODES.get() {
        let now = rustix::termios::OptionalActions::Now;
        let _ = rustix::termios::tcsetattr(std::io::stdin(), now, modes);
    }
}

/// Hands each key over as it is typed, unseen, to whoever reads stdin; Ctrl-C stays what it is.
pub(super) fn unbuffer_keys() {
    #[cfg(unix)]
    if let Some(Some(modes)) = MODES.get() {
        use rustix::termios::{InputModes, LocalModes, OptionalActions, tcsetattr};
        let mut modes = modes.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        modes.input_modes.remove(InputModes::ICRNL);
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &modes);
    }
}

/// Ends the process at once: for a second Ctrl-C, when the first one's clean end takes too long.
#[allow(clippy::disallowed_methods, reason = "the user has asked twice")]
pub(super) fn leave(exit_code: u8) -> ! {
    restore();
    leftovers::end_all();
    std::process::exit(i32::from(exit_code))
}

/// Sends the log of the libraries underneath to stderr, with `-vv` and more. They log no payloads at these
/// levels.
pub(super) fn log(verbose: u8) {
    let level = match verbose {
        0 | 1 => return,
        2 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .try_init();
}

/// A panic is a bug of ours: `report` says so, with its place, and the process ends with exit code 70. Its message is
/// left out, because it may hold values.
#[allow(clippy::disallowed_methods, reason = "a panic has no way back to main")]
pub(super) fn on_panic(report: fn(Error)) {
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        let place = panic
            .location()
            .map(|place| format!(" at {}:{}", place.file(), place.line()))
            .unwrap_or_default();
        let error = Error::new(ErrorCode::Bug, format!("tbprov has stopped{place}"));
        let exit_code = error.exit_code();
        report(error);
        leftovers::end_all();
        std::process::exit(i32::from(exit_code));
    }));
}
