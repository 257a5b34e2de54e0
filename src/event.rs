//! What happens during a run, as it happens. The library never prints: it tells an [`Observer`].

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::device::{DeviceId, State};
use crate::error::{Fault, Step};
use crate::keys::KeyType;

/// One thing that happened. Serialized as one NDJSON line with the tag `event`; documented in
/// `docs/protocol.md`. Fields are only ever added.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A file in the current folder is used although no flag or variable names it.
    FileFound {
        /// `config` or `server-cert`.
        purpose: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// Work begins that may take some time (making a key of this type, an answer of the server).
    Started {
        /// The step.
        step: Step,
        /// What the run waits for, in words.
        what: String,
    },
    /// A new key and certificate exist in memory.
    IdentityCreated {
        /// The key's type.
        key_type: KeyType,
    },
    /// An identity of an earlier run was found in the store and is used.
    IdentityFound {
        /// How far the earlier run had come.
        state: State,
    },
    /// The new identity is on disk.
    Saved {
        /// The device's folder.
        directory: PathBuf,
    },
    /// The device reached a state. The record says so already, except for `accepted` when the proving connect follows
    /// at once. That state is written with the outcome of the connect.
    StateReached {
        /// The state.
        state: State,
        /// The device's folder.
        directory: PathBuf,
    },
    /// TCP is connected.
    TcpConnected {
        /// The server's address, or the proxy's.
        address: String,
        /// The proxy that has connected to the server.
        #[serde(skip_serializing_if = "Option::is_none")]
        proxy: Option<String>,
    },
    /// The server is authenticated.
    TlsEstablished {
        /// `TLSv1.2` or `TLSv1.3`.
        version: &'static str,
    },
    /// CONNACK 0 arrived.
    Connected {
        /// Whether a client certificate was presented.
        mutual_tls: bool,
    },
    /// The provision request left.
    RequestSent,
    /// The server answered the provision request.
    AnswerReceived {
        /// `SUCCESS`, `FAILURE`, `NOT_FOUND` or another status of the server.
        status: String,
    },
    /// The outcome is unknown or was refused: the staged identity is tried.
    Settling {
        /// Why.
        reason: String,
    },
    /// The server refused credentials that it cannot know. So it proves something if it accepts the device's own.
    StrangerRefused,
    /// The saved identity was accepted by the server.
    Proved,
    /// A new certificate that somebody shall give the server.
    NewCertificate {
        /// ThingsBoard's id of it.
        credentials_id: String,
        /// The certificate, PEM.
        certificate: String,
    },
    /// The server was told that this certificate is the device's.
    ServerTold {
        /// ThingsBoard's id of it.
        credentials_id: String,
    },
    /// A new identity is the device's from now on.
    Promoted {
        /// ThingsBoard's id of its certificate.
        credentials_id: String,
    },
    /// Something was asked for that the device does not have, and that cannot be changed any more.
    Ignored {
        /// What.
        wish: Ignored,
    },
    /// One telemetry message was acknowledged by its PUBACK.
    Acknowledged {
        /// How many readings so far.
        acknowledged: u64,
        /// What the source gave.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
        /// The times that were added to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        ts: Option<GivenTimes>,
    },
    /// All values of an acknowledged message were read back from the server.
    Confirmed {
        /// How many readings so far.
        confirmed: u64,
        /// How long it took from sending the message, in milliseconds.
        #[serde(rename = "seen_ms", serialize_with = "as_milliseconds")]
        seen: Duration,
        /// The times at which the values are; absent where the server gave the time.
        #[serde(skip_serializing_if = "Option::is_none")]
        ts: Option<GivenTimes>,
    },
    /// A value that the server has, where values are followed.
    ValueSeen {
        /// Its key.
        key: String,
        /// Its time, in milliseconds since 1970, UTC.
        ts: i64,
        /// The value, with its own type and all its digits.
        value: Box<RawValue>,
    },
    /// A reading is left out: it is not what the server takes and stores.
    ReadingRefused {
        /// Its line, or its number, counted from 1.
        line: u64,
        /// Why, with where it stands.
        reason: String,
    },
    /// From now on messages wait for a limit of the server. Each limit is told once a run.
    HeldBack {
        /// Which limit.
        reason: String,
    },
    /// The connection was lost and will be made again.
    Reconnecting {
        /// Counted from 1 since the last PUBACK.
        attempt: u32,
        /// How long until then, in milliseconds.
        #[serde(rename = "delay_ms", serialize_with = "as_milliseconds")]
        delay: Duration,
        /// What ended the connection.
        reason: String,
    },
    /// The bootloader of a board answers.
    BoardConnected {
        /// The serial port.
        port: String,
        /// The chip, such as `esp32c3`.
        chip: &'static str,
        /// The chip's MAC address.
        mac: String,
    },
    /// A part of a board's flash is being written.
    Flashing {
        /// The part, such as `bootloader`.
        part: &'static str,
        /// Bytes that are in the flash.
        written: usize,
        /// Bytes of the part.
        bytes: usize,
    },
    /// A part of a board's flash was written, read back and found equal.
    PartWritten {
        /// The part, such as `bootloader`.
        part: &'static str,
        /// Its first byte's address in the flash.
        offset: u32,
        /// Its bytes.
        bytes: usize,
    },
    /// A line of the log of a board, or of the emulated one.
    Log {
        /// The line, without its end.
        line: String,
    },
    /// What a compiler said before it failed, where its words were not shown as they came.
    CompilerOutput {
        /// Its messages, on many lines.
        text: String,
    },
    /// A line of a manifest cannot be taken.
    ManifestFault(Fault),
    /// Something that deserves attention and does not stop the run.
    Warning {
        /// In words.
        message: String,
    },
    /// A run over many devices begins.
    FleetBegun {
        /// How many are due, those of other runs included.
        due: u64,
    },
    /// A device of a fleet is done.
    DeviceDone {
        /// `provisioned`, `recovered`, `verified` or `pre-provisioned`.
        outcome: &'static str,
    },
    /// A device of a fleet failed by something of its own.
    DeviceFailed {
        /// The error's code.
        code: &'static str,
        /// The step that was reached.
        step: Step,
        /// What happened.
        message: String,
    },
    /// A device of a fleet failed by something that may pass, and is due again.
    DevicePostponed {
        /// The error's code.
        code: &'static str,
        /// The step that was reached.
        step: Step,
        /// What happened.
        message: String,
        /// After which time it is due, in milliseconds.
        #[serde(rename = "delay_ms", serialize_with = "as_milliseconds")]
        delay: Duration,
    },
    /// No device of a fleet is begun for some time.
    FleetPaused {
        /// For how long, in milliseconds.
        #[serde(rename = "delay_ms", serialize_with = "as_milliseconds")]
        delay: Duration,
        /// Why.
        reason: String,
    },
    /// Nothing of a fleet can be done now: the run waits for rows that are due later, or that other runs work on.
    FleetWaiting {
        /// Rows that are due later.
        later: u64,
        /// Rows that other runs work on.
        claimed: u64,
        /// Until the first of them is due, in milliseconds.
        #[serde(rename = "delay_ms", serialize_with = "as_milliseconds")]
        delay: Duration,
    },
    /// No more devices of a fleet are begun, and those that were are finished.
    FleetEnding {
        /// How many those are.
        in_flight: usize,
    },
}

/// Times of readings, in milliseconds since 1970, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum GivenTimes {
    /// That of the only one.
    One(i64),
    /// Those of several, in their order.
    Several(Vec<i64>),
}

impl GivenTimes {
    /// Nothing where there are none.
    pub fn of(times: Vec<i64>) -> Option<Self> {
        match times[..] {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => Some(Self::Several(times)),
        }
    }
}

/// What a run on a device that is registered already does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ignored {
    /// For how long the certificate is valid.
    Days,
    /// Whether the device is a gateway.
    Gateway,
    /// The device profile, by its provision key.
    ProvisionKey,
}

fn as_milliseconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
}

/// Hears what happens. The default does nothing.
pub trait Observer: Send + Sync {
    /// Called for each event, in order, on the thread that runs the work: return soon. `device` is the one that the
    /// run is about, where it is known already.
    fn event(&self, device: Option<&DeviceId>, event: &Event) {
        let _ = (device, event);
    }
}

/// The observer that does nothing.
impl Observer for () {}

/// How far a run is, and who hears of it. Every function that works for a while is given one: it tells its events to
/// it, and says which step begins. When a run fails, the run stamps its error with that step.
#[derive(Clone)]
pub struct Progress {
    observer: Arc<dyn Observer>,
    device: Option<DeviceId>,
    /// Shared by all that belong to one run.
    step: Arc<Mutex<Step>>,
    /// Whether the steps underneath are part of a larger one.
    held: bool,
}

impl Progress {
    /// A run that begins with [`Step::Plan`].
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, device: None, step: Arc::new(Mutex::new(Step::Plan)), held: false }
    }

    /// A run without an observer.
    pub fn silent() -> Self {
        Self::new(Arc::new(()))
    }

    /// The same run, whose events are about `device`.
    #[must_use]
    pub fn about(&self, device: DeviceId) -> Self {
        Self { device: Some(device), ..self.clone() }
    }

    /// Another run, which fails at steps of its own, with the same observer.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { step: Arc::new(Mutex::new(Step::Plan)), held: false, ..self.clone() }
    }

    /// The same run, without an observer for its events.
    #[must_use]
    pub fn unheard(&self) -> Self {
        Self { observer: Arc::new(()), ..self.clone() }
    }

    /// The same run, heard by what `change` makes of its observer.
    #[must_use]
    pub fn heard_by(&self, change: impl FnOnce(Arc<dyn Observer>) -> Arc<dyn Observer>) -> Self {
        Self { observer: change(Arc::clone(&self.observer)), ..self.clone() }
    }

    /// Tells what happened.
    pub fn event(&self, event: &Event) {
        self.observer.event(self.device.as_ref(), event);
    }

    /// Something that deserves attention and does not stop the run.
    pub fn warn(&self, message: impl Into<String>) {
        self.event(&Event::Warning { message: message.into() });
    }

    /// A step begins.
    pub fn begin(&self, step: Step) {
        if !self.held {
            *self.lock() = step;
        }
    }

    /// A step begins of which the steps underneath, such as dialling, are parts.
    #[must_use]
    pub fn within(&self, step: Step) -> Self {
        self.begin(step);
        Self { held: true, ..self.clone() }
    }

    /// The step that was begun last.
    pub fn step(&self) -> Step {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Progress({}, {:?})", self.step(), self.device)
    }
}
