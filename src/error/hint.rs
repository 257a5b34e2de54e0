//! What helps in a special case, as values without words.

use std::path::PathBuf;

use super::FileKind;

/// What helps in a special case, where the general advice for the code does not. The command line turns it into
/// words; the library knows no flag and no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The answer did not come; a rerun finds out what the server did.
    AnswerLost,
    /// The application is for another chip, or for none.
    ApplicationOfChip,
    /// A host's name outside ASCII has to be given in its ASCII form.
    AsciiHost,
    /// The text may be a server's name: it is given with its port; the text is `host:port`.
    AsServer(String),
    /// Attributes are one JSON object.
    AttributesExample,
    /// The firmware needs the certificate that issued the server's.
    AuthorityForFirmware,
    /// A report's format is told by its file's ending, or apart.
    ReportFormat,
    /// A host is a bare name or address.
    BareHost,
    /// The proxy was reached, and the server behind it was not.
    BeyondProxy,
    /// The names of the device profiles can be listed.
    ListProfiles,
    /// Key and secret of a device profile can be read from the server.
    ShowProfile,
    /// Another configuration file, for another device profile.
    OtherConfigFile,
    /// No account at the REST API was named.
    GiveAccount,
    /// The URL of a REST API and its secret come from different sources.
    ApiSameSource,
    /// What is secret would go over plain HTTP.
    InsecureHttp,
    /// How the URL of a REST API is written.
    ApiUrlForm,
    /// The serial port went away.
    BoardGone,
    /// Flashing was interrupted.
    BoardHalfWritten,
    /// The device changed while the board was written, so that its record does not say what the board has.
    DeviceChanged,
    /// The board has the identity, and only the record does not say so.
    BoardIsAhead,
    /// A reading that was acknowledged is not where the REST API looks for it.
    ReadingNotStored,
    /// A reading can be sent, and not be read back.
    WithoutConfirming,
    /// To read back what a device sends, its name at the server has to be known.
    ConfirmedDevice,
    /// The connection breaks each time at the same message.
    BreaksAtSameMessage,
    /// What stands before the server failed, and not the server.
    BalancerFailed,
    /// The application for the emulated board is missing.
    BuildForEmulator,
    /// The emulated board is built and run by commands of its own.
    BuildVirt,
    /// No bootloader is there for this chip.
    ChipsWithBootloader,
    /// A server gives these credentials once, and they could not be saved.
    GivenOnce,
    /// Several boards are connected.
    ChoosePort,
    /// A device that was proved is not known any more.
    DeletedAtServer,
    /// The saved device differs from what was asked for.
    DifferingOption,
    /// The saved device differs from what was asked for, and the server never heard of it.
    DifferingStaged(String),
    /// The store has no device.
    EmptyStore,
    /// A ledger has to be under its name, with the files beside it.
    LedgerInItsPlace,
    /// Only its owner may read a ledger.
    PrivateLedger,
    /// The rows of a ledger can be listed.
    ListFleet,
    /// The row of a ledger has no identity yet.
    RunFleet,
    /// The emulated board did not do in time what was awaited.
    EmulatorGaveUp,
    /// The firmware takes only some key types.
    FirmwareKeyTypes,
    /// The board has no firmware that takes an identity.
    FlashFirmwareFirst,
    /// The rotation of this device has to be finished.
    FinishRotation(String),
    /// The server has another certificate for this device than the store.
    RegisterAgain(String),
    /// This device has no certificate that could be rotated.
    OnlyCertificates(String),
    /// A device that registers at connect needs its authority.
    GiveAuthority,
    /// The new certificate has to be pasted in the server's web form; then the same command goes on.
    PasteCertificate(String),
    /// A board has the old certificate, with which it would take the device back.
    BoardTakesBack,
    /// The device has no identity of before.
    NoWayBack,
    /// Only an identity that was proved can be a device's again.
    OnlyProvedBefore,
    /// The device has to be proved before its identity is replaced.
    ProveBefore(String),
    /// No device name was given.
    GiveDeviceName,
    /// No server was named.
    GiveHost,
    /// The file is no image of ours.
    ImageFile,
    /// The private key is not on this machine.
    KeyElsewhere,
    /// The certificate may not sign others.
    MakeAuthority,
    /// The folder of a file is not there.
    MakeFolder,
    /// A file that nobody named has to be named, or to be this user's own.
    NameConfig,
    /// A certificate has to name its hosts in another way.
    NamesOfHosts,
    /// The server does not know the name of the host.
    NameUnknownToServer,
    /// A release of the server has no API keys, or has another one.
    RestApiKey,
    /// The REST API's answer did not come, or not all of it: the change may have been made.
    RestAnswerLost,
    /// A part of the REST API's answer is missing.
    RestCutOff,
    /// Another device at the server has the certificate.
    CertificateElsewhere,
    /// A device has a candidate, whose change has to be finished first.
    FinishCandidate,
    /// The REST API may be another server's than the one that the device connects to.
    OtherServerThanApi,
    /// The store's device of this name cannot be registered; without it, a new identity can.
    RegisterAnew(String),
    /// An account can give the server's device of this name the store's certificate.
    RegisterAtServer(String),
    /// A proxy in front of the REST API answers in its place.
    RestGateway,
    /// The REST API is at another URL.
    RestRedirect,
    /// The server demands a client certificate where none is given.
    CertificateDemanded,
    /// Server and client have no way to encrypt in common.
    NothingInCommon,
    /// The server's versions of TLS are too old.
    TlsVersions,
    /// An IPv4 address is four decimal numbers.
    Ipv4Form,
    /// The chip that an image is for has to be named.
    NameChip,
    /// The store has several devices.
    NameDevice,
    /// The store has devices of several servers.
    NameServer,
    /// The server does not present a certificate that was given to be believed.
    NotPresentedYet,
    /// No certificate of a file is believed that could be taken away.
    NothingToRemove,
    /// What replaces the system's authorities has to be proved.
    ProveFirst,
    /// A file with a certificate is needed.
    NeedCertificate,
    /// No board is connected.
    NoPort,
    /// Something that is no folder is in the way.
    NotAFolder,
    /// A WiFi network without a password has to be said to be one.
    OpenNetwork,
    /// The address cannot be listened on.
    OtherAddress,
    /// The connected board has another chip than was named.
    OtherChip,
    /// The folder holds something that is not replaced.
    OtherDirectory,
    /// The device's name cannot be used.
    OtherName,
    /// The simulator's state file cannot be used.
    OtherStateFile,
    /// The record was written by another version.
    OtherVersion,
    /// Others may write to the folder of the store, or have put something there.
    OthersInStore,
    /// The output file is there already.
    OutputExists,
    /// The partition table cannot be used.
    PartitionTable,
    /// The server does not speak TLS.
    PlainPort,
    /// The server closed the connection before TLS was set up.
    PlainPortOrBlocked,
    /// The file is in an encoding that is not read.
    PlainText,
    /// The serial port is used by something else.
    PortBusy,
    /// There is no such serial port.
    PortMissing,
    /// The serial port is not for this user.
    PortPermission,
    /// The board is written and was not restarted.
    PressReset,
    /// The URL of a proxy has one of two forms.
    ProxyForm,
    /// A proxy is of one of two kinds.
    ProxyKind,
    /// The proxy wants a user and a password, or others.
    ProxyLogin,
    /// The proxy does not connect to this server.
    ProxyRefuses,
    /// The proxy itself was not reached.
    ProxyUnreached,
    /// QEMU ended at once.
    QemuArguments,
    /// The system gave no random numbers.
    RandomSource,
    /// The folder is a copy of another device's.
    RemoveCopy,
    /// The chip takes signed firmware only.
    SecureBoot,
    /// The emulated board cannot reach that address.
    ServerForEmulator,
    /// A certificate from files needs a server named with it.
    ServerOfFiles,
    /// Nothing came from the board at all.
    SilentBoard,
    /// The identity does not fit its partition.
    SmallerIdentity,
    /// The folder for the firmware's sources is there already.
    SourcesExist,
    /// A message is too large.
    SplitMessage,
    /// The user wanted to wait no longer.
    StartAgainLater,
    /// Standard output could not be written.
    StdoutFull,
    /// This system has no authorities to believe.
    SystemRoots,
    /// The authorities to believe are named by this variable.
    SystemRootsOf(String),
    /// A reading has one of three forms.
    TelemetryForm,
    /// This variable names a proxy to other programs, and was not used.
    UnusedProxy(&'static str),
    /// It was the REST API that was dialled, and not MQTT.
    OfRest,
    /// Two values were to come from standard input.
    TwoReadersOfStdin,
    /// The firmware's sources could not be written.
    WriteSources,
    /// The file that says which device is unfinished is damaged.
    DamagedSlot,
    /// The common name cannot be used, and can be another one than the device's.
    GiveCommonName,
    /// The connect was to register the device, and the server refused it.
    NotRegistered,
    /// The device is not registered yet, and what was asked for is not to do it.
    Unregistered,
    /// The device was never sent to the server, and its certificate cannot be used any more.
    ReplaceStaged(String),
    /// The name of a file is wanted, and not what is in it.
    NameTheFile,
    /// The file that holds a secret is named, and not the secret.
    SecretFile,
    /// The limit of open files and connections is too low.
    MoreDescriptors,
    /// The system lets this program have no thread.
    MoreThreads,
    /// A reading was given after a blank, where an equals sign is needed.
    TelemetryAfterEquals,
    /// What was given holds what is rarely meant; each text names a value and says what is odd about it.
    Doubtful(Vec<String>),
    /// The value was not given, and can be given in one of these ways.
    GiveBy(&'static str),
    /// A file of this name exists, and its content was meant.
    FileMeant(String),
    /// Something of the system is missing; the text is what installs it.
    Install(String),
    /// The file is something else than PEM of the kind that is needed: what, and its path where that is known.
    FileIs(FileKind, Option<PathBuf>),
    /// The encryption of the private key asks for too much memory or work.
    CostlyEncryption,
    /// The private key is encrypted, and its password was not given.
    KeyPassword,
    /// The device's own certificate has to be the first of the file.
    LeafFirst,
    /// The public key of the certificate is in an encoding that ThingsBoard does not read.
    PlainPublicKey,
    /// Rows differ from those of the ledger, and may replace them.
    RowsDiffer,
    /// One of these is expected.
    OneOf(Vec<String>),
    /// The server's certificate has to be saved first; the text is `host:port`.
    SaveServer(String),
}
