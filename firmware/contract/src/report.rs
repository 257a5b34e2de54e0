//! The lines of the firmware's log that the tool understands: `tbprov firmware emulate` counts acknowledged
//! readings by them and turns the last trouble into its exit code.
//!
//! A line is `LEVEL (MILLISECONDS) tbprov: TEXT`, as ESP-IDF writes its log.

use core::fmt;

/// The tag of every line of the firmware.
pub const TAG: &str = "tbprov";
/// Begins the text of a reading that was sent; its JSON follows.
pub const SENT: &str = "[Telemetry][Tx] ";
/// Begins the text that says a reading was acknowledged by its PUBACK.
pub const ACKNOWLEDGED: &str = "[Telemetry][Ack] ";
/// Begins the text of a panic, which never happens unless there is a defect.
pub const PANIC: &str = "[Panic] ";

macro_rules! troubles {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)+) => {
        /// What went wrong. The codes are those of the tool's own errors.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Trouble { $($(#[$doc])* $variant,)+ }

        impl Trouble {
            /// Every trouble.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable code, such as `tls/untrusted`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

troubles! {
    /// The identity partition is missing, empty, damaged or holds an unusable value: only a new one helps.
    Identity = "firmware/identity";
    /// No address in the network: no cable, no access point, a wrong password, no DHCP server.
    NoNetwork = "network/link";
    /// The host's name has no address.
    Resolve = "network/resolve";
    /// No TCP connection.
    Connect = "network/connect";
    /// No answer in time.
    Timeout = "network/timeout";
    /// The other side closed or reset the connection.
    Closed = "network/closed";
    /// The other side does not speak MQTT 3.1.1.
    Protocol = "network/protocol";
    /// The TLS handshake failed.
    Handshake = "tls/handshake";
    /// The server's certificate is not the one that the identity believes, nor issued by it.
    Untrusted = "tls/untrusted";
    /// The server's certificate is past its end or before its start.
    Expired = "tls/expired";
    /// The server's certificate is for another name.
    NameMismatch = "tls/name-mismatch";
    /// The server refused the device's certificate during TLS.
    ClientCertificate = "tls/client-certificate-refused";
    /// CONNACK 4 or 5.
    NotAuthorized = "server/not-authorized";
    /// CONNACK 2.
    IdentifierRejected = "server/identifier-rejected";
    /// CONNACK 3.
    Unavailable = "server/unavailable";
    /// CONNACK 1 or an unknown one.
    Refused = "server/refused";
}

impl Trouble {
    /// Whether trying again cannot help.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Identity)
    }
}

/// `[CODE] `, as the text of its line begins.
impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{}] ", self.code())
    }
}

/// What a line of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report<'a> {
    /// A reading was acknowledged.
    Acknowledged,
    /// Something went wrong; the words that the firmware found for it.
    Trouble(Trouble, &'a str),
    /// The firmware panicked; its message.
    Panic(&'a str),
}

impl<'a> Report<'a> {
    /// What `line` says, or `None` where it is merely talk.
    pub fn of(line: &'a str) -> Option<Self> {
        let (_, text) = line.split_once(") ")?;
        let text = text.strip_prefix(TAG)?.strip_prefix(": ")?.trim_end();
        if text.starts_with(ACKNOWLEDGED) {
            return Some(Self::Acknowledged);
        }
        if let Some(message) = text.strip_prefix(PANIC) {
            return Some(Self::Panic(message));
        }
        let (code, words) = text.strip_prefix('[')?.split_once("] ")?;
        let trouble = Trouble::ALL.iter().find(|trouble| trouble.code() == code)?;
        Some(Self::Trouble(*trouble, words))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn lines_are_understood_as_they_are_written() {
        let acknowledged = format!("I (1200) {TAG}: {ACKNOWLEDGED}packet 1\r");
        assert_eq!(Report::of(&acknowledged), Some(Report::Acknowledged));
        for trouble in Trouble::ALL {
            let line = format!("W (7) {TAG}: {trouble}the words");
            assert_eq!(Report::of(&line), Some(Report::Trouble(*trouble, "the words")));
        }
        let panic = format!("E (7) {TAG}: {PANIC}at main.rs:1");
        assert_eq!(Report::of(&panic), Some(Report::Panic("at main.rs:1")));
    }

    #[test]
    fn talk_is_left_alone() {
        for line in [
            "",
            "I (3) tbprov: hello",
            "I (3) other: [tls/expired] x",
            "[tls/expired] x",
            "I (3) tbprov: [x] y",
        ] {
            assert_eq!(Report::of(line), None, "{line}");
        }
    }
}
