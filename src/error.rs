//! One error type for the whole crate: a stable code, the step reached, what happened, what to do next.
//!
//! Nobody needs to parse text: [`ErrorCode`] is what programs match on, [`ErrorKind`] decides the exit
//! code, and the message and the help are for people.

use std::fmt;

use serde::Serialize;

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

/// Declares every code once: its variant, its stable text, its kind, and the help shown when the place
/// that raised it had nothing more specific to say.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $kind:ident, $help:literal;)+) => {
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

            /// What to do next, in general.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

error_codes! {
    /// The server knows no device profile with this provision key and secret (`NOT_FOUND`).
    ServerNotFound = "server/not-found", Refused,
        "check the provision key and secret against the device profile (Device profiles > your profile > Device provisioning), and that its strategy is not 'Disabled'";
    /// The server refused to provision (`FAILURE`); it never says why.
    ServerFailure = "server/failure", Refused,
        "the usual causes: the device name is taken, the name is not allowed, the certificate is already used by a device, the tenant's device limit, or a pre-provisioned device whose name is unknown or that was provisioned before";
    /// CONNACK 5 (or 4): the server does not accept this identity.
    ServerNotAuthorized = "server/not-authorized", Refused,
        "the server does not know this certificate, or its validity dates do not hold on the server's clock; compare the credentialsId with the device's in ThingsBoard (Manage credentials)";
    /// CONNACK 2: ThingsBoard's answer when no client certificate and no user name arrived.
    ServerIdentifierRejected = "server/identifier-rejected", Refused,
        "the client certificate did not reach ThingsBoard: a load balancer or proxy in front of it terminates TLS; connect to ThingsBoard's own port, or let the balancer pass TCP through";
    /// CONNACK 3: overload, rate limit, or a device profile with another transport type.
    ServerUnavailable = "server/unavailable", Refused,
        "a rate limit of the tenant, a disabled API usage state, a core that does not answer, or a device profile whose transport type is neither DEFAULT nor MQTT";
    /// A CONNACK code that ThingsBoard never sends.
    ServerRefused = "server/refused", Refused,
        "this does not look like ThingsBoard's MQTT port; check host and port with 'tbprov doctor'";

    /// A value given by flag, environment, file or prompt is not valid.
    UsageInvalid = "usage/invalid-value", Usage, "correct the value; 'tbprov COMMAND --help' lists what is accepted";
    /// A value is needed and nobody can be asked for it.
    UsageMissing = "usage/missing-value", Usage, "give the value by its flag, its environment variable or in tbprov.toml";
    /// Two things were asked for that exclude each other.
    UsageConflict = "usage/conflict", Usage, "drop one of the two";
    /// The configuration file cannot be read or holds something it may not.
    ConfigInvalid = "config/invalid", Usage, "correct the file, or name another with --config";

    /// The host's name has no address.
    NetworkResolve = "network/resolve", Network, "check the spelling of the host and this machine's DNS";
    /// No TCP connection.
    NetworkConnect = "network/connect", Network,
        "check host and port; ThingsBoard's MQTT over TLS listens on 8883 only when MQTT_SSL_ENABLED=true, and a firewall may stand between";
    /// The server or the network did not answer in time.
    NetworkTimeout = "network/timeout", Network, "try again, with a longer --timeout if the link is slow";
    /// The connection was closed by the other side.
    NetworkClosed = "network/closed", Network,
        "run the same command again: nothing is lost; if it closes before TLS each time, ThingsBoard may have blocked this address after wrong credentials (60 s by default)";
    /// The firmware got no address in its network.
    NetworkLink = "network/link", Network, "check the name and password of the wireless network, or the cable, and that a DHCP server answers there";
    /// The other side does not speak MQTT 3.1.1.
    NetworkProtocol = "network/protocol", Network, "check that the port is ThingsBoard's MQTT over TLS port";

    /// The TLS handshake failed.
    TlsHandshake = "tls/handshake", Network, "run 'tbprov doctor' for the step that fails; a plain MQTT port (1883) does not speak TLS";
    /// The server presented neither a certificate in the given file nor one that chains to it.
    TlsUntrusted = "tls/untrusted", Network,
        "get the server's certificate with 'tbprov certs inspect HOST:PORT --save server.pem', compare its fingerprint with the server's administrator, and give it with --server-cert";
    /// The server's certificate is past its end date or before its start date.
    TlsExpired = "tls/expired", Network, "renew the server's certificate ('tbprov certs server'), and check this machine's clock";
    /// The server's certificate is for another name.
    TlsName = "tls/name-mismatch", Network,
        "connect with a name that the certificate holds, or add --skip-name-check (the certificate itself is still checked)";
    /// The server refused the client certificate during TLS: how ThingsBoard up to 3.4 answers an unknown one.
    TlsClientCertificate = "tls/client-certificate-refused", Network,
        "up to ThingsBoard 3.4 this is how an unknown certificate is refused; compare the credentialsId with the device's in ThingsBoard (Manage credentials)";

    /// The answer is not JSON, is too large, or lacks a field.
    AnswerMalformed = "answer/malformed", Verification, "the server is not ThingsBoard, or something between changes its messages; run 'tbprov doctor'";
    /// The answer speaks of another type of credentials than was sent.
    AnswerOtherType = "answer/other-type", Verification,
        "the device is pre-provisioned with credentials of another type, and ThingsBoard ignores what a pre-provisioned device sends; set the certificate in the web form instead (Manage credentials > X.509 Certificate)";
    /// The answer holds another certificate than was sent.
    AnswerOtherCertificate = "answer/other-certificate", Verification,
        "the device is pre-provisioned with another certificate; paste this one in the web form (Manage credentials > X.509 Certificate), or choose another device name";
    /// The answer holds other credentials of the right type.
    AnswerOtherCredentials = "answer/other-credentials", Verification,
        "the device is pre-provisioned with other credentials; set these in the web form (Manage credentials), or choose another device name";
    /// The answer said SUCCESS, and the identity was refused at connect all the same.
    VerifyRefused = "verify/refused", Verification,
        "compare the credentialsId with the device's in ThingsBoard; a load balancer that terminates TLS or a clock that is off has the same effect; then run the same command again";

    /// The store has no such device.
    StoreNotFound = "store/not-found", Files, "'tbprov devices list' shows what the store holds; --store names another";
    /// The device's folder belongs to something else already.
    StoreExists = "store/exists", Files, "choose another device name or another --store; tbprov never overwrites an identity";
    /// Another tbprov works on this device.
    StoreLocked = "store/locked", Files, "wait for the other tbprov to end";
    /// The device's identity was never proved by a connect.
    StoreNotProved = "store/not-proved", Files, "finish it with 'tbprov provision', or prove it with 'tbprov connect'; --force uses it as it is";
    /// A file of the store is damaged or missing.
    StoreCorrupt = "store/corrupt", Files, "restore the folder from a backup; tbprov does not touch it";
    /// The store cannot be read or written.
    StoreIo = "store/io", Files, "check the folder's permissions and the free space of the disk";

    /// No such file.
    FileNotFound = "file/not-found", Files, "check the path";
    /// A key or certificate file cannot be read or written.
    FileIo = "file/io", Files, "check the path and its permissions";
    /// The output file exists already.
    FileExists = "file/exists", Files, "tbprov never overwrites a key or a certificate: name another folder, or move the old files away";
    /// The file holds no PEM of the expected kind.
    FileNotPem = "file/not-pem", Files, "expected text that begins with -----BEGIN; convert DER with 'openssl x509 -inform der' or 'openssl pkey -inform der'";
    /// The private key is encrypted.
    FileEncrypted = "file/encrypted-key", Files, "decrypt it first: openssl pkey -in key.pem -out plain.pem";
    /// The key is of a kind that cannot be used.
    FileKeyType = "file/unsupported-key", Files, "use one of ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072, rsa-4096";
    /// The certificate cannot be read.
    FileCertificate = "file/bad-certificate", Files, "check the file with 'openssl x509 -in FILE -text'";
    /// The certificate is not for this key.
    FileMismatch = "file/key-mismatch", Files, "the certificate belongs to another private key; give the pair that was made together";
    /// The certificate's validity has ended, or has not begun.
    FileExpired = "file/expired-certificate", Files, "make a new one; ThingsBoard refuses a certificate outside its validity dates";

    /// The firmware's sources are not where they were looked for.
    FirmwareSources = "firmware/sources", Firmware, "'tbprov firmware init DIR' writes them out; --firmware-dir or TBPROV_FIRMWARE_DIR names the folder";
    /// No compiler for the chip.
    FirmwareToolchain = "firmware/toolchain", Firmware, "docs/firmware.md says how to install the compiler for each chip; 'tbprov doctor' shows which are found";
    /// The compiler refused the firmware.
    FirmwareBuild = "firmware/build", Firmware, "the compiler's own messages above say where; 'tbprov firmware init DIR' gives unchanged sources";
    /// The application makes no image for this chip.
    FirmwareImage = "firmware/image", Firmware, "see partitions.csv in the firmware's sources: the application has to fit its partition, and the partitions the flash";
    /// The device's identity cannot be used by the firmware, or the identity on the chip is missing or damaged.
    FirmwareIdentity = "firmware/identity", Firmware, "write the identity again: tbprov firmware flash --identity-only --device NAME";
    /// No serial port, several of them, or one that cannot be opened.
    FirmwarePort = "firmware/port", Firmware, "check the cable and name the port with --port; on Linux its group (dialout, uucp) has to be yours";
    /// The chip does not answer as its bootloader should, or is another one.
    FirmwareChip = "firmware/chip", Firmware, "hold BOOT, press RESET, release BOOT, and try again; close other programs that use the port";
    /// Writing to the flash failed or was cut off.
    FirmwareFlash = "firmware/flash", Firmware, "run the same command again: it begins anew and nothing is lost; a lower --baud helps with long cables";
    /// What was read back from the flash is not what was written.
    FirmwareReadBack = "firmware/read-back", Firmware, "run the same command again; if it happens again, the flash of this board is worn or larger than it says";
    /// The awaited text did not appear in the log, or the port went away.
    FirmwareMonitor = "firmware/monitor", Firmware, "read the log above; press RESET on the board to see it from the start";
    /// The emulator is missing or failed.
    FirmwareEmulator = "firmware/emulator", Firmware, "install QEMU for RISC-V (Debian: apt install qemu-system-misc; macOS: brew install qemu), or name it with --qemu";
    /// The firmware panicked.
    FirmwarePanic = "firmware/panic", Firmware, "please report it with the log above: the firmware never panics by intention";

    /// A defect of tbprov.
    Bug = "internal/bug", Bug, "please report it with the command that led here (without its secrets)";
    /// The user stopped the run.
    Interrupted = "interrupted", Interrupted, "run the same command again: it continues where this one stopped";
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
    /// The step that was reached.
    pub step: Step,
    /// What happened, with the path or the host; no secrets.
    pub message: String,
    /// What to do next.
    pub help: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure at `step`, with the general help of its `code`.
    pub fn new(code: ErrorCode, step: Step, message: impl Into<String>) -> Self {
        Self { code, step, message: message.into(), help: code.help().to_owned(), source: None }
    }

    /// Replaces the help by something that fits this case better.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Keeps the error underneath, shown with `-v`.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure seen from a step further out, such as a refused CONNECT during the verification.
    #[must_use]
    pub fn at(mut self, step: Step) -> Self {
        self.step = step;
        self
    }

    /// The process exit code.
    pub const fn exit_code(&self) -> u8 {
        self.code.kind().exit_code()
    }

    /// The user ended the run.
    pub fn interrupted() -> Self {
        Self::new(ErrorCode::Interrupted, Step::Plan, "interrupted")
    }

    pub(crate) fn no_randomness() -> Self {
        Self::new(ErrorCode::Bug, Step::Identity, "the operating system gave no random numbers")
            .help("check that the system's random number source works")
    }
}
