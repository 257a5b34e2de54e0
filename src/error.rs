//! One error type for the whole crate: a stable code, the step reached, what happened, what to do next.
//!
//! Nobody needs to parse text: [`ErrorCode`] is what programs match on, [`ErrorKind`] decides the exit
//! code, and the message and the help are for people.

mod fault;
mod file_kind;
mod hint;

use std::fmt;
use std::path::Path;

use serde::Serialize;

pub use fault::{Fault, Faults};
pub use file_kind::FileKind;
pub use hint::Hint;

/// The group an [`ErrorCode`] belongs to; it alone decides the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The server understood and said no. Exit code 1.
    Refused,
    /// Arguments, environment, configuration file or prompts. Exit code 2.
    Usage,
    /// Name resolution, TCP, TLS, MQTT framing, time-outs. Exit code 3.
    Network,
    /// The answer or the identity does not verify. Exit code 4.
    Verification,
    /// The store, or a key or certificate file. Exit code 5.
    Files,
    /// Building, flashing, watching or emulating the firmware. Exit code 7.
    Firmware,
    /// A defect of tbprov itself. Exit code 70 (`EX_SOFTWARE`).
    Bug,
    /// Interrupted by the user, and resumable. Exit code 130.
    Interrupted,
}

/// The process exit code of a run that did all but what was refused, and names that in its result: no failure of the run
/// itself.
pub const EXIT_PARTLY: u8 = 6;

impl ErrorKind {
    /// The process exit code of this kind of failure: a stable contract.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Network => 3,
            Self::Verification => 4,
            Self::Files => 5,
            Self::Firmware => 7,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }
}

/// Declares every code once: its variant, its stable text and its kind.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $kind:ident;)+) => {
        /// The stable name of a failure, such as `server/not-found`. Documented in `docs/protocol.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $variant,)+ }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The text that appears in JSON and after `error`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The group that decides the exit code.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)+ }
            }

        }
    };
}

error_codes! {
    /// The server knows no device profile with this provision key and secret (`NOT_FOUND`).
    ServerNotFound = "server/not-found", Refused;
    /// The server refused to provision (`FAILURE`); it never says why.
    ServerFailure = "server/failure", Refused;
    /// CONNACK 5 (or 4): the server does not accept this identity.
    ServerNotAuthorized = "server/not-authorized", Refused;
    /// CONNACK 2: ThingsBoard's answer when no client certificate and no user name arrived.
    ServerIdentifierRejected = "server/identifier-rejected", Refused;
    /// CONNACK 3: overload, rate limit, or a device profile with another transport type.
    ServerUnavailable = "server/unavailable", Refused;
    /// A CONNACK code that ThingsBoard never sends.
    ServerRefused = "server/refused", Refused;

    /// A value given by flag, environment, file or prompt is not valid.
    UsageInvalid = "usage/invalid-value", Usage;
    /// A value is needed and nobody can be asked for it.
    UsageMissing = "usage/missing-value", Usage;
    /// Two things were asked for that exclude each other.
    UsageConflict = "usage/conflict", Usage;
    /// The configuration file cannot be read or holds something it may not.
    ConfigInvalid = "config/invalid", Usage;

    /// A manifest has lines that cannot be taken.
    ManifestInvalid = "manifest/invalid", Usage;

    /// The system gives no thread or no descriptor, so that nothing can be done.
    SystemLimit = "system/limit", Usage;
    /// A board carries the identity that was to be replaced.
    RotateOnABoard = "rotate/on-a-board", Usage;
    /// This machine's clock cannot be right, so no certificate is made.
    IdentityClock = "identity/clock", Usage;

    /// The host's name has no address.
    NetworkResolve = "network/resolve", Network;
    /// No TCP connection.
    NetworkConnect = "network/connect", Network;
    /// The server or the network did not answer in time.
    NetworkTimeout = "network/timeout", Network;
    /// The connection was closed by the other side.
    NetworkClosed = "network/closed", Network;
    /// The firmware got no address in its network.
    NetworkLink = "network/link", Network;
    /// The proxy refuses, or is none.
    NetworkProxy = "network/proxy", Network;
    /// The other side does not speak MQTT 3.1.1.
    NetworkProtocol = "network/protocol", Network;

    /// The TLS handshake failed.
    TlsHandshake = "tls/handshake", Network;
    /// The server presented neither a certificate in the given file nor one that chains to it.
    TlsUntrusted = "tls/untrusted", Network;
    /// The server's certificate is past its end date or before its start date.
    TlsExpired = "tls/expired", Network;
    /// The server's certificate is for another name.
    TlsName = "tls/name-mismatch", Network;
    /// The server refused the client certificate during TLS: how ThingsBoard up to 3.4 answers an unknown one.
    TlsClientCertificate = "tls/client-certificate-refused", Network;

    /// The server's REST API does not know the account (401): a wrong user, password or API key.
    RestUnauthorized = "rest/unauthorized", Refused;
    /// The account needs a second factor to log in.
    RestSecondFactor = "rest/second-factor", Refused;
    /// The account may not do that (403).
    RestForbidden = "rest/forbidden", Refused;
    /// The server has no such device, device profile or call (404).
    RestNotFound = "rest/not-found", Refused;
    /// Somebody else changed it meanwhile (409).
    RestConflict = "rest/conflict", Refused;
    /// The server takes no more requests for now (429), and did not when it was asked again.
    RestLimited = "rest/limited", Refused;
    /// The server says no (another 4xx), and why.
    RestRefused = "rest/refused", Refused;
    /// The server failed (5xx).
    RestServerError = "rest/server-error", Refused;

    /// What answers is not ThingsBoard's REST API, or a part of its answer is missing.
    RestNotThingsBoard = "rest/not-thingsboard", Verification;
    /// The answer is not JSON, is too large, or lacks a field.
    AnswerMalformed = "answer/malformed", Verification;
    /// The answer speaks of another type of credentials than was sent.
    AnswerOtherType = "answer/other-type", Verification;
    /// The answer holds another certificate than was sent.
    AnswerOtherCertificate = "answer/other-certificate", Verification;
    /// The answer holds other credentials of the right type.
    AnswerOtherCredentials = "answer/other-credentials", Verification;
    /// The answer said SUCCESS, and the identity was refused at connect all the same.
    VerifyRefused = "verify/refused", Verification;
    /// The server let the device in without asking for its certificate, so it does not know who it is.
    VerifyNotAsked = "verify/not-asked", Verification;
    /// The server lets everybody in, so that a connect proves nothing.
    VerifyAnonymous = "verify/anonymous", Verification;
    /// The certificate that was given is a device's on this server already.
    VerifyTaken = "verify/already-registered", Verification;

    /// What was sent is not what the server holds.
    VerifyNotStored = "verify/not-stored", Verification;

    /// The store has no such device.
    StoreNotFound = "store/not-found", Files;
    /// The device's folder belongs to something else already.
    StoreExists = "store/exists", Files;
    /// Another tbprov works on this device.
    StoreLocked = "store/locked", Files;
    /// The device is not as it was read: another program has changed it meanwhile.
    StoreChanged = "store/changed", Files;
    /// The lock under which the device was changed is gone.
    StoreLeaseLost = "store/lease-lost", Files;
    /// A key of the store can be read by others, or is another user's.
    StoreReadableKey = "store/readable-key", Files;
    /// The device's identity was never proved by a connect.
    StoreNotProved = "store/not-proved", Files;
    /// The server may have the device's new identity already, and must not be shown the old one.
    RotateUnfinished = "rotate/unfinished", Files;
    /// A file of the store is damaged or missing.
    StoreCorrupt = "store/corrupt", Files;
    /// The store cannot be read or written.
    StoreIo = "store/io", Files;

    /// There is no such ledger.
    LedgerNotFound = "ledger/not-found", Files;
    /// The file is no ledger of tbprov.
    LedgerNotALedger = "ledger/not-a-ledger", Files;
    /// A later release of tbprov has made or upgraded the ledger.
    LedgerNewer = "ledger/newer", Files;
    /// The ledger is damaged.
    LedgerCorrupt = "ledger/corrupt", Files;
    /// The ledger cannot be written.
    LedgerReadOnly = "ledger/read-only", Files;
    /// The ledger lies on a network file system, where its locks do not hold.
    LedgerNetwork = "ledger/network-drive", Files;
    /// Another program has held the ledger for too long.
    LedgerBusy = "ledger/busy", Files;
    /// The history of a device is not as it was written.
    LedgerTampered = "ledger/tampered", Files;
    /// The ledger cannot be read or written.
    LedgerIo = "ledger/io", Files;

    /// No such file.
    FileNotFound = "file/not-found", Files;
    /// A key or certificate file cannot be read or written.
    FileIo = "file/io", Files;
    /// The output file exists already.
    FileExists = "file/exists", Files;
    /// The file holds no PEM of the expected kind.
    FileNotPem = "file/not-pem", Files;
    /// The private key is encrypted.
    FileEncrypted = "file/encrypted-key", Files;
    /// The password is not that of the private key.
    FilePassword = "file/wrong-password", Files;
    /// The key is of a kind that cannot be used.
    FileKeyType = "file/unsupported-key", Files;
    /// The certificate cannot be read.
    FileCertificate = "file/bad-certificate", Files;
    /// The certificate is not for this key.
    FileMismatch = "file/key-mismatch", Files;
    /// The certificate's validity has ended, or has not begun.
    FileExpired = "file/expired-certificate", Files;

    /// The firmware's sources are not where they were looked for.
    FirmwareSources = "firmware/sources", Firmware;
    /// No compiler for the chip.
    FirmwareToolchain = "firmware/toolchain", Firmware;
    /// The compiler refused the firmware.
    FirmwareBuild = "firmware/build", Firmware;
    /// The application makes no image for this chip.
    FirmwareImage = "firmware/image", Firmware;
    /// The device's identity cannot be used by the firmware, or the identity on the chip is missing or damaged.
    FirmwareIdentity = "firmware/identity", Firmware;
    /// No serial port, several of them, or one that cannot be opened.
    FirmwarePort = "firmware/port", Firmware;
    /// The chip does not answer as its bootloader should, or is another one.
    FirmwareChip = "firmware/chip", Firmware;
    /// Writing to the flash failed or was cut off.
    FirmwareFlash = "firmware/flash", Firmware;
    /// What was read back from the flash is not what was written.
    FirmwareReadBack = "firmware/read-back", Firmware;
    /// The awaited text did not appear in the log, or the port went away.
    FirmwareMonitor = "firmware/monitor", Firmware;
    /// The emulator is missing or failed.
    FirmwareEmulator = "firmware/emulator", Firmware;
    /// The firmware panicked.
    FirmwarePanic = "firmware/panic", Firmware;

    /// A defect of tbprov.
    Bug = "internal/bug", Bug;
    /// The user stopped the run.
    Interrupted = "interrupted", Interrupted;
}

impl ErrorCode {
    /// Whether the server said no to an identity: by CONNACK 5 (or 4), or up to ThingsBoard 3.4 by a TLS alert after the
    /// certificate was presented.
    pub const fn refuses_identity(self) -> bool {
        matches!(self, Self::ServerNotAuthorized | Self::TlsClientCertificate)
    }
}

/// How far a run had come: the last step begun when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Arguments, environment, configuration and prompts become a plan.
    Plan,
    /// The key and the certificate are made or read.
    Identity,
    /// The identity is written to the store.
    Stage,
    /// The host's name becomes addresses.
    Resolve,
    /// TCP connects.
    Tcp,
    /// TLS: the server is authenticated, the client certificate presented.
    Tls,
    /// MQTT CONNECT and its CONNACK.
    Connect,
    /// The provision request and its answer.
    Exchange,
    /// The answer equals the request, and the identity connects.
    Verify,
    /// The identity is marked as proved.
    Promote,
    /// A call of the server's REST API.
    Rest,
    /// An identity is replaced by its successor.
    Rotate,
    /// A ledger of many devices is opened, read or written.
    Ledger,
    /// Telemetry and its PUBACKs.
    Telemetry,
    /// A server is started (`sim`, `demo`).
    Serve,
    /// The firmware is compiled.
    Build,
    /// The firmware becomes an image for a chip.
    Image,
    /// The flash of a board is written and read back.
    Flash,
    /// The log of a board is watched.
    Monitor,
    /// The firmware runs in an emulator.
    Emulate,
}

impl Step {
    /// The name used in JSON and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Identity => "identity",
            Self::Stage => "stage",
            Self::Resolve => "resolve",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Connect => "connect",
            Self::Exchange => "exchange",
            Self::Verify => "verify",
            Self::Promote => "promote",
            Self::Rest => "rest",
            Self::Rotate => "rotate",
            Self::Ledger => "ledger",
            Self::Telemetry => "telemetry",
            Self::Serve => "serve",
            Self::Build => "build",
            Self::Image => "image",
            Self::Flash => "flash",
            Self::Monitor => "monitor",
            Self::Emulate => "emulate",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What went wrong, for people and for programs.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable name of the failure.
    pub code: ErrorCode,
    /// What happened, with the path or the host; no secrets.
    pub message: String,
    /// What helps in this case, where the general advice for the code does not.
    pub hint: Option<Hint>,
    /// The lines of a file that the failure is about.
    pub faults: Option<Box<Faults>>,
    step: Option<Step>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure. The step is not known where it is made: the run stamps it.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, faults: None, step: None, source: None }
    }

    /// Says what helps, where the general advice for the code does not.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Names the lines of the file that the failure is about.
    #[must_use]
    pub fn of_lines(mut self, faults: Faults) -> Self {
        self.faults = Some(Box::new(faults));
        self
    }

    /// Gives the hint the path of the file, where the text of a file was read and the hint is about that file: a message
    /// has the path as it is shown, which may be cut.
    #[must_use]
    pub fn about_file(mut self, path: &Path) -> Self {
        if let Some(Hint::FileIs(_, file)) = &mut self.hint {
            file.get_or_insert_with(|| path.to_owned());
        }
        self
    }

    /// Keeps the error underneath, shown with `-v`.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says which step the run had reached, once: a step that is known already stays.
    #[must_use]
    pub fn stamped(mut self, step: Step) -> Self {
        self.step.get_or_insert(step);
        self
    }

    /// The step that was reached; [`Step::Plan`] where no run has begun.
    pub fn step(&self) -> Step {
        self.step.unwrap_or(Step::Plan)
    }

    /// The process exit code.
    pub const fn exit_code(&self) -> u8 {
        self.code.kind().exit_code()
    }

    /// The user ended the run.
    pub fn interrupted() -> Self {
        Self::new(ErrorCode::Interrupted, "interrupted")
    }

    pub(crate) fn no_randomness() -> Self {
        Self::new(ErrorCode::Bug, "the operating system gave no random numbers").hint(Hint::RandomSource)
    }
}
