//! What can go wrong on purpose: the faults that servers and networks show, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Something that the simulator does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The provision request is acted upon, and its connection closed without an answer.
    AcceptThenClose,
    /// After this many wrong logins from an address without a good one in between, its connections are closed
    /// before TLS, until 60 s after its last login.
    AddressFilter(u64),
    /// The connection is closed right after CONNACK 0.
    CloseAfterConnect,
    /// Each connection is closed, in order, after this many telemetry messages were accepted; the PUBACKs that have
    /// not left by then never do.
    CloseEvery(u64),
    /// The core works on so many provision requests at once, and each takes so long. The others wait for their turn.
    Core {
        /// How many at once; 1 is 4.3's lock for each tenant.
        workers: u64,
        /// How long one takes.
        takes: Duration,
    },
    /// In turn, the core works for a time, and does nothing for a time: no provision answer, and no login of a device.
    CoreStalls {
        /// How long it works.
        works: Duration,
        /// How long it does nothing.
        stalls: Duration,
    },
    /// Each provision answer comes this much later.
    Delay(Duration),
    /// The answer has the shape of ThingsBoard's documentation, which no release ever sent.
    DocShape,
    /// The TCP connection is closed before anything is said, as for an address blocked after wrong
    /// credentials; on the plain port too.
    DropBeforeTls,
    /// The answer is FAILURE, and no device is created.
    Failure,
    /// The device is created, and the answer is FAILURE.
    FailureAfterCreate,
    /// The answer is not JSON.
    Garbage,
    /// The answer to CONNECT is not MQTT.
    GarbageMqtt,
    /// A network as far as this: everything that the server sends arrives so much later, the first byte of a connection
    /// twice, as TCP's own handshake takes one turn.
    Latency(Duration),
    /// The provision request is ignored: neither PUBACK nor answer, and no device.
    NoAnswer,
    /// CONNECT is never answered.
    NoConnack,
    /// This telemetry message, counted over the whole run, is acknowledged and not stored, as by a rule chain that
    /// leaves it out.
    NotStored(u64),
    /// The answer is larger than 64 KiB.
    Oversize,
    /// Each PUBACK of a device leaves this much later; what it acknowledges is stored at once.
    PubackLate(Duration),
    /// The PUBACKs of messages that came together leave in reverse order.
    PubackShuffled,
    /// Each PUBACK of a device leaves twice.
    PubackTwice,
    /// A device's connection is closed, without PUBACK, at more than this many messages within a second; the
    /// PUBACKs that have not left by then never do.
    RateLimit(u64),
    /// The first devices to connect, this many, get CONNACK 5 (not authorized).
    Refuse(u64),
    /// A provision answer is sent again before the next one on its connection.
    RepeatAnswer,
    /// Once: the TCP connection is reset after this many telemetry messages were accepted; the last of
    /// them is not acknowledged.
    Reset(u64),
    /// As [`Fault::Reset`], on every connection.
    ResetAlways(u64),
    /// The first changes over REST, this many, are answered with 409 (version conflict), and not made.
    RestConflict(u64),
    /// The first answers of REST that have a body, this many, break off in the middle.
    RestCut(u64),
    /// The first tokens of REST, this many, are over as soon as they are given.
    RestExpiredToken(u64),
    /// A login wants a second factor to be set up.
    RestFactorSetup,
    /// Every call over REST gets a proxy's page, with 502.
    RestHtml,
    /// The first calls over REST, this many, get 429 with `Retry-After`.
    RestLimited(u64),
    /// As [`Fault::RestLimited`], without `Retry-After`.
    RestLimitedBare(u64),
    /// The first logins, this many, fail with 500.
    RestLoginError(u64),
    /// The first changes over REST, this many, are made, and their connection is closed without an answer.
    RestLost(u64),
    /// Credentials saved over REST are answered as if they were saved, and are not.
    RestNotApplied,
    /// Every call over REST is sent to a login page, with 302.
    RestRedirect,
    /// A login wants a second factor.
    RestSecondFactor,
    /// Each answer of REST comes this much later.
    RestSlow(Duration),
    /// The first calls over REST, logins included, this many, get 503.
    RestUnavailable(u64),
    /// TCP is accepted, and TLS never answered.
    StallTls,
    /// What a device sends is acknowledged at once, and stored this much later.
    StoredLate(Duration),
    /// TLS is refused with the fatal alert handshake_failure (40).
    TlsAlert,
    /// The first devices to connect, this many, get CONNACK 3 (server unavailable).
    Unavailable(u64),
    /// The device is given a token instead of what was asked for, and the answer is SUCCESS.
    WrongType,
    /// The device is given other credentials of the type asked for, and the answer is SUCCESS.
    WrongValue,
}

/// A fault as help and documentation show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultHelp {
    /// How it is written, such as `reset=N`.
    pub syntax: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
}

const fn help(syntax: &'static str, description: &'static str) -> FaultHelp {
    FaultHelp { syntax, description }
}

impl Fault {
    /// Every fault with its syntax and description, in alphabetical order.
    pub const ALL: &[FaultHelp] = &[
        help("accept-then-close", "create the device, then close the connection without an answer"),
        help("address-filter=N", "after N wrong logins in a row, drop the address before TLS for 60 s"),
        help("close-after-connect", "close the connection right after CONNACK 0"),
        help("close-every=N", "close a connection at its Nth telemetry message; PUBACKs not sent never are"),
        help("core=NxTIME", "work on N provision requests at once, each this long (4x35ms)"),
        help("core-stalls=TIME/TIME", "in turn: work, and do nothing, for so long (8s/2s)"),
        help("delay=DURATION", "send each provision answer this much later (500ms, 2s)"),
        help(
            "doc-shape",
            "answer in the shape of ThingsBoard's documentation (provisionDeviceStatus, credentialsId)",
        ),
        help("drop-before-tls", "accept TCP, then close at once"),
        help("failure", "answer FAILURE, create nothing"),
        help("failure-after-create", "create the device, then answer FAILURE"),
        help("garbage", "answer with something that is not JSON"),
        help("garbage-mqtt", "answer CONNECT with bytes that are not MQTT"),
        help("latency=DURATION", "send everything this much later, as over a far network"),
        help("no-answer", "ignore provision requests: no PUBACK, no answer, no device"),
        help("no-connack", "never answer CONNECT"),
        help("not-stored=N", "acknowledge the Nth telemetry message, and do not store it"),
        help("oversize", "send an answer larger than 64 KiB"),
        help(
            "puback-late=DURATION",
            "send each PUBACK of a device this much later, what it acknowledges is stored",
        ),
        help("puback-shuffled", "send the PUBACKs of messages that came together in reverse order"),
        help("puback-twice", "send each PUBACK of a device twice"),
        help(
            "rate-limit=N",
            "close a device's connection at more than N messages within a second, without PUBACK",
        ),
        help("refuse=N", "answer the first N device connections with CONNACK 5 (not authorized)"),
        help("repeat-answer", "send each provision answer again before the next one on its connection"),
        help("reset=N", "once: reset TCP when the Nth telemetry message was accepted, without its PUBACK"),
        help("reset-always=N", "as reset=N, on every connection"),
        help("rest-conflict=N", "answer the first N changes over REST with 409 (version conflict)"),
        help("rest-cut=N", "break off the first N answers of REST in the middle"),
        help("rest-expired-token=N", "give N tokens for REST that have expired already"),
        help("rest-factor-setup", "let a login over REST want a second factor to be set up"),
        help("rest-html", "answer every call over REST with a proxy's page (502, HTML)"),
        help("rest-limited=N", "answer the first N calls over REST with 429 and Retry-After: 1"),
        help("rest-limited-bare=N", "as rest-limited=N, without Retry-After"),
        help("rest-login-error=N", "answer the first N logins with 500"),
        help("rest-lost=N", "make the first N changes over REST, then close without an answer"),
        help("rest-not-applied", "answer as if credentials were saved over REST, and save none"),
        help("rest-redirect", "send every call over REST to /login (302)"),
        help("rest-second-factor", "let a login over REST want a second factor"),
        help("rest-slow=DURATION", "answer each call over REST this much later"),
        help("rest-unavailable=N", "answer the first N calls over REST with 503"),
        help("stall-tls", "accept TCP, then never answer"),
        help("stored-late=DURATION", "acknowledge telemetry at once, and store it this much later"),
        help("tls-alert", "refuse TLS with the fatal alert handshake_failure"),
        help("unavailable=N", "answer the first N device connections with CONNACK 3 (server unavailable)"),
        help("wrong-type", "give the device a token, whatever was asked for, and answer SUCCESS"),
        help("wrong-value", "give the device another certificate than was sent, and answer SUCCESS"),
    ];

    /// The fault's name, without its value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptThenClose => "accept-then-close",
            Self::AddressFilter(_) => "address-filter",
            Self::CloseAfterConnect => "close-after-connect",
            Self::CloseEvery(_) => "close-every",
            Self::Core { .. } => "core",
            Self::CoreStalls { .. } => "core-stalls",
            Self::Delay(_) => "delay",
            Self::DocShape => "doc-shape",
            Self::DropBeforeTls => "drop-before-tls",
            Self::Failure => "failure",
            Self::FailureAfterCreate => "failure-after-create",
            Self::Garbage => "garbage",
            Self::GarbageMqtt => "garbage-mqtt",
            Self::Latency(_) => "latency",
            Self::NoAnswer => "no-answer",
            Self::NoConnack => "no-connack",
            Self::NotStored(_) => "not-stored",
            Self::Oversize => "oversize",
            Self::PubackLate(_) => "puback-late",
            Self::PubackShuffled => "puback-shuffled",
            Self::PubackTwice => "puback-twice",
            Self::RateLimit(_) => "rate-limit",
            Self::Refuse(_) => "refuse",
            Self::RepeatAnswer => "repeat-answer",
            Self::Reset(_) => "reset",
            Self::ResetAlways(_) => "reset-always",
            Self::RestConflict(_) => "rest-conflict",
            Self::RestCut(_) => "rest-cut",
            Self::RestExpiredToken(_) => "rest-expired-token",
            Self::RestFactorSetup => "rest-factor-setup",
            Self::RestHtml => "rest-html",
            Self::RestLimited(_) => "rest-limited",
            Self::RestLimitedBare(_) => "rest-limited-bare",
            Self::RestLoginError(_) => "rest-login-error",
            Self::RestLost(_) => "rest-lost",
            Self::RestNotApplied => "rest-not-applied",
            Self::RestRedirect => "rest-redirect",
            Self::RestSecondFactor => "rest-second-factor",
            Self::RestSlow(_) => "rest-slow",
            Self::RestUnavailable(_) => "rest-unavailable",
            Self::StallTls => "stall-tls",
            Self::StoredLate(_) => "stored-late",
            Self::TlsAlert => "tls-alert",
            Self::Unavailable(_) => "unavailable",
            Self::WrongType => "wrong-type",
            Self::WrongValue => "wrong-value",
        }
    }

    /// The number of a fault that has one.
    pub(super) const fn count(self) -> Option<u64> {
        match self {
            Self::AddressFilter(count)
            | Self::CloseEvery(count)
            | Self::NotStored(count)
            | Self::RateLimit(count)
            | Self::Refuse(count)
            | Self::Reset(count)
            | Self::ResetAlways(count)
            | Self::RestConflict(count)
            | Self::RestCut(count)
            | Self::RestExpiredToken(count)
            | Self::RestLimited(count)
            | Self::RestLimitedBare(count)
            | Self::RestLoginError(count)
            | Self::RestLost(count)
            | Self::RestUnavailable(count)
            | Self::Unavailable(count) => Some(count),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match (*self, self.count()) {
            (
                Self::Delay(delay)
                | Self::Latency(delay)
                | Self::PubackLate(delay)
                | Self::RestSlow(delay)
                | Self::StoredLate(delay),
                _,
            ) => {
                write!(formatter, "{name}={}ms", delay.as_millis())
            }
            (Self::Core { workers, takes }, _) => {
                write!(formatter, "{name}={workers}x{}ms", takes.as_millis())
            }
            (Self::CoreStalls { works, stalls }, _) => {
                write!(formatter, "{name}={}ms/{}ms", works.as_millis(), stalls.as_millis())
            }
            (_, Some(count)) => write!(formatter, "{name}={count}"),
            (_, None) => formatter.write_str(name),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) => with_value(name, value),
            None => plain(text),
        }
    }
}

fn with_value(name: &str, value: &str) -> Result<Fault, String> {
    match name {
        "address-filter" => count(value).map(Fault::AddressFilter),
        "close-every" => count(value).map(Fault::CloseEvery),
        "core" => core(value),
        "core-stalls" => core_stalls(value),
        "delay" => duration(value).map(Fault::Delay),
        "latency" => duration(value).map(Fault::Latency),
        "not-stored" => count(value).map(Fault::NotStored),
        "puback-late" => duration(value).map(Fault::PubackLate),
        "rate-limit" => count(value).map(Fault::RateLimit),
        "refuse" => count(value).map(Fault::Refuse),
        "reset" => count(value).map(Fault::Reset),
        "reset-always" => count(value).map(Fault::ResetAlways),
        "rest-conflict" => count(value).map(Fault::RestConflict),
        "rest-cut" => count(value).map(Fault::RestCut),
        "rest-expired-token" => count(value).map(Fault::RestExpiredToken),
        "rest-limited" => count(value).map(Fault::RestLimited),
        "rest-limited-bare" => count(value).map(Fault::RestLimitedBare),
        "rest-login-error" => count(value).map(Fault::RestLoginError),
        "rest-lost" => count(value).map(Fault::RestLost),
        "rest-unavailable" => count(value).map(Fault::RestUnavailable),
        "rest-slow" => duration(value).map(Fault::RestSlow),
        "stored-late" => duration(value).map(Fault::StoredLate),
        "unavailable" => count(value).map(Fault::Unavailable),
        _ if plain(name).is_ok() => Err(format!("the fault '{name}' takes no value")),
        _ => Err(unknown(name)),
    }
}

fn plain(name: &str) -> Result<Fault, String> {
    Ok(match name {
        "accept-then-close" => Fault::AcceptThenClose,
        "close-after-connect" => Fault::CloseAfterConnect,
        "doc-shape" => Fault::DocShape,
        "drop-before-tls" => Fault::DropBeforeTls,
        "failure" => Fault::Failure,
        "failure-after-create" => Fault::FailureAfterCreate,
        "garbage" => Fault::Garbage,
        "garbage-mqtt" => Fault::GarbageMqtt,
        "no-answer" => Fault::NoAnswer,
        "no-connack" => Fault::NoConnack,
        "oversize" => Fault::Oversize,
        "puback-shuffled" => Fault::PubackShuffled,
        "puback-twice" => Fault::PubackTwice,
        "repeat-answer" => Fault::RepeatAnswer,
        "rest-factor-setup" => Fault::RestFactorSetup,
        "rest-html" => Fault::RestHtml,
        "rest-not-applied" => Fault::RestNotApplied,
        "rest-redirect" => Fault::RestRedirect,
        "rest-second-factor" => Fault::RestSecondFactor,
        "stall-tls" => Fault::StallTls,
        "tls-alert" => Fault::TlsAlert,
        "wrong-type" => Fault::WrongType,
        "wrong-value" => Fault::WrongValue,
        "core" => return Err(NO_CORE.to_owned()),
        "core-stalls" => return Err(NO_STALLS.to_owned()),
        "delay" | "latency" | "puback-late" | "rest-slow" | "stored-late" => {
            return Err(format!("the fault '{name}' takes a duration, such as {name}=500ms"));
        }
        "address-filter" | "close-every" | "not-stored" | "rate-limit" | "refuse" | "reset"
        | "reset-always" | "rest-conflict" | "rest-cut" | "rest-expired-token" | "rest-limited"
        | "rest-limited-bare" | "rest-login-error" | "rest-lost" | "rest-unavailable" | "unavailable" => {
            return Err(format!("the fault '{name}' takes a number, such as {name}=3"));
        }
        _ => return Err(unknown(name)),
    })
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = Fault::ALL.iter().map(|fault| fault.syntax).collect();
    format!("unknown fault '{name}': one of {}", known.join(", "))
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("'{text}' is no number from 1 on")),
    }
}

const NO_CORE: &str = "the fault 'core' takes a number and a duration, such as core=4x35ms";
const NO_STALLS: &str = "the fault 'core-stalls' takes two durations, such as core-stalls=8s/2s";

fn core(text: &str) -> Result<Fault, String> {
    let (workers, takes) = text.split_once('x').ok_or(NO_CORE)?;
    Ok(Fault::Core { workers: count(workers)?, takes: duration(takes)? })
}

fn core_stalls(text: &str) -> Result<Fault, String> {
    let (works, stalls) = text.split_once('/').ok_or(NO_STALLS)?;
    Ok(Fault::CoreStalls { works: duration(works)?, stalls: duration(stalls)? })
}

/// Reads whole milliseconds (`500ms`) or seconds (`2s`).
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no duration such as 500ms or 2s");
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return milliseconds.parse().map(Duration::from_millis).map_err(|_| bad());
    }
    let seconds = text.strip_suffix('s').ok_or_else(bad)?;
    seconds.parse().map(Duration::from_secs).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_fault_parses_and_shows_as_it_was_written() {
        for fault in Fault::ALL {
            let text = fault.syntax.replace("DURATION", "500ms").replace("TIME", "500ms").replace("=N", "=3");
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn durations_are_milliseconds_or_seconds() {
        assert_eq!("delay=2s".parse(), Ok(Fault::Delay(Duration::from_secs(2))));
        assert_eq!("delay=250ms".parse(), Ok(Fault::Delay(Duration::from_millis(250))));
        assert!("delay=2".parse::<Fault>().is_err());
        assert!("delay=1m".parse::<Fault>().is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Fault>().unwrap_err();
        assert!(error("reset").contains("reset=3"));
        assert!(error("reset=0").contains("from 1 on"));
        assert!(error("core=4").contains("core=4x35ms"));
        assert!(error("core=0x1s").contains("from 1 on"));
        assert!(error("core-stalls=8s").contains("core-stalls=8s/2s"));
        assert!(error("core-stalls=8s/2").contains("no duration"));
        assert!(error("garbage=1").contains("takes no value"));
        assert!(error("explode").contains("accept-then-close"));
    }
}
