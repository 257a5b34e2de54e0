//! What to do next, in words: the one place that turns a failure's code and hint into help. The library knows no flag
//! and no command.

use std::borrow::Cow;

use super::conversions::conversion;
use super::desk_advice;
use super::limits;
use super::rest_advice::of_rest;
use super::shell::{Desk, device, device_flag, quoted, stored_device};
use tbprov::error::Hint;
use tbprov::{Error, ErrorCode};

/// The help of a failure: that of its hint, else what helps against what the system says, else the general one of its
/// code.
pub(crate) fn help(error: &Error) -> Cow<'static, str> {
    match &error.hint {
        Some(Hint::Doubtful(doubts)) => {
            format!("is that meant? {}. Otherwise: {}", doubts.join("; "), general(error.code)).into()
        }
        Some(hint) => special(hint, error.code),
        None => of_system(error).unwrap_or_else(|| general(error.code)).into(),
    }
}

/// The help of a failure of which only the code is known, as a ledger keeps it.
#[cfg(feature = "fleet")]
pub(crate) fn of_code(code: &str) -> String {
    let known = ErrorCode::ALL.iter().find(|known| known.as_str() == code);
    known.map_or(OF_ANOTHER_RELEASE, |known| general(*known)).to_owned()
}

/// The code is none of this release.
#[cfg(feature = "fleet")]
const OF_ANOTHER_RELEASE: &str =
    "the run was one of another release of tbprov: its documentation has this code";

/// What helps by what the system says, where a file is what failed.
fn of_system(error: &Error) -> Option<&'static str> {
    let is_of_file = matches!(
        error.code,
        ErrorCode::FileIo | ErrorCode::StoreIo | ErrorCode::LedgerIo | ErrorCode::ConfigInvalid
    );
    let error = limits::system_error(error).filter(|_| is_of_file)?;
    desk_advice::of_system(Desk::HERE, error).or_else(|| limits::advice(error))
}

fn special(hint: &Hint, code: ErrorCode) -> Cow<'static, str> {
    if let Some(text) = desk_advice::of_hint(Desk::HERE, hint) {
        return text.into();
    }
    let text = match hint {
        Hint::ListProfiles => "'tbprov server profile list' shows the names",
        Hint::ShowProfile => {
            "'tbprov server profile show NAME --write tbprov.toml' reads its key and secret from the server, and writes them"
        }
        Hint::OtherConfigFile => "name another file; 'tbprov provision --config FILE' takes it",
        Hint::OfRest => of_rest(code),
        Hint::GiveAccount => {
            "give --api-url with --api-user (and --api-password-file, or the password when asked) or with --api-key-file; or TBPROV_API_URL with TBPROV_API_USER and TBPROV_API_PASSWORD, or with TBPROV_API_KEY; or the lines api-url, api-user, api-password-file, api-key-file of a file that --config names"
        }
        Hint::ReadingNotStored => {
            "ThingsBoard's queue took the message and its rule chain did not store it as it was sent: look at the rule chain of the device profile (message type filter, Save Timeseries), at the profile's telemetry topic (--telemetry-topic), and whether --api-url is the same server; =DURATION at --confirm gives a slow one more time"
        }
        Hint::WithoutConfirming => "rename the key, or leave --confirm away",
        Hint::ConfirmedDevice => {
            "give the name that ThingsBoard's web pages show for the device: --confirm-device NAME"
        }
        Hint::ApiSameSource => {
            "give both by flags (--api-url, --api-key-file or --api-password-file), both by variables (TBPROV_API_URL, TBPROV_API_KEY or TBPROV_API_PASSWORD), or both in the file of --config"
        }
        Hint::InsecureHttp => {
            "use https://; where the network in between is your own, --insecure-http sends it all the same"
        }
        Hint::ApiUrlForm => {
            "give the address that the browser shows for ThingsBoard's web pages, up to the host and the port, such as https://thingsboard.example.com or http://localhost:8080"
        }
        Hint::ReportFormat => "name it with --format csv, json or html, or end the file's name with it",
        Hint::RestApiKey => {
            "ThingsBoard has API keys from 4.3 on (account > Security > API keys): check the key, and that it is neither disabled nor expired; earlier releases take a user and a password (--api-user, --api-password-file)"
        }
        Hint::RestAnswerLost => {
            "the server may have done it all the same: run the same command again, it looks first"
        }
        Hint::RestCutOff => {
            "run the same command again; when it happens each time, a proxy in front of the server bounds the size or the time of an answer"
        }
        Hint::RestGateway => {
            "the proxy in front of ThingsBoard has no answer of it: ThingsBoard starts, is overloaded, or is down; try again in a minute"
        }
        Hint::RestRedirect => {
            "give the URL that the browser ends at; a page that asks for another login stands before ThingsBoard: the API has to be reachable without it"
        }
        Hint::AnswerLost => {
            "run the same command again: if the server did create the device, that run finds out; ThingsBoard itself gives up after 10 s"
        }
        Hint::ApplicationOfChip => {
            "'tbprov firmware build --chip CHIP' makes the application, for one chip each; --elf takes that file only"
        }
        Hint::RowsDiffer => {
            "nothing was imported: correct these lines, or add --update, which replaces the rows of devices for which nothing was done yet"
        }
        Hint::AttributesExample => r#"for example --attributes '{"firmware":"1.2.0"}'"#,
        Hint::AuthorityForFirmware => "give the authority's certificate, PEM, with --server-cert",
        Hint::AsciiHost => {
            "give each part of the name with such characters in its ASCII form, which begins with xn-- (IDNA), such as xn--bcher-kva.example for bücher.example; Python knows it: python3 -c 'import sys; print(sys.argv[1].encode(\"idna\").decode())' NAME"
        }
        Hint::BalancerFailed => {
            "a balancer or proxy in front of the server ends a connection so where it has no backend for this port or name, or where it expects another protocol, such as HTTP (ALPN); its log says which"
        }
        Hint::BareHost => {
            "give the bare host, such as mqtt.example.com: no scheme, no port, no path; a port is given apart"
        }
        Hint::BeyondProxy => {
            "the proxy was reached; check host and port of the server, that the proxy's network can resolve and reach them, and that its rules let it"
        }
        Hint::CertificateDemanded => {
            "the server demands a client certificate of every client; ThingsBoard asks for one and takes clients without one too: a balancer in front of it, or another broker, answers there"
        }
        Hint::BoardGone => {
            "the board was unplugged, or another program took the port; plug it in and run the same command again"
        }
        Hint::BoardHalfWritten => {
            "the board is only partly written, and the store is unchanged: run the same command again; it starts from the beginning"
        }
        Hint::BoardIsAhead => {
            "the board has the identity, only the record does not say so; check the folder's permissions and the free space of the disk"
        }
        Hint::DeviceChanged => {
            "the board has the identity that the device had before: run the same command again"
        }
        Hint::BreaksAtSameMessage => {
            "the server accepts everything before that line. Possible causes: the content of the line, a device profile with another payload type (Protobuf) or transport type, a rate limit that leaves room for nothing, or the same identity connected elsewhere; --skip-refused goes on without it"
        }
        Hint::BuildForEmulator => "'tbprov firmware build --board virt' makes it; without --elf it is built",
        Hint::BuildVirt => {
            "'tbprov firmware build --board virt' builds it, 'tbprov firmware emulate' runs it"
        }
        Hint::ChipsWithBootloader => "'tbprov firmware build --help' lists the chips that have one",
        Hint::ChoosePort => "choose one with --port or TBPROV_SERIAL_PORT",
        Hint::CertificateElsewhere => {
            "look for the credentialsId in ThingsBoard; delete that device or give it other credentials, or make a new identity: 'tbprov devices remove NAME', then this command again"
        }
        Hint::FinishCandidate => {
            "finish what made the candidate: run the same 'tbprov rotate' or 'tbprov provision' again"
        }
        Hint::OtherServerThanApi => {
            "is --host the MQTT server of this --api-url? In a cluster the change may take a moment: run the same command again"
        }
        Hint::DeletedAtServer => {
            "was the device deleted in ThingsBoard, or its credentials changed? To provision it anew, move its folder out of the store ('tbprov devices remove NAME') and run the same command again"
        }
        Hint::DifferingOption => {
            "remove the differing option to continue with the saved identity, or choose another --device-name or --store"
        }
        Hint::LedgerInItsPlace => {
            "put the ledger back under its name, together with the files beside it (-wal and -shm), and run the same command again"
        }
        Hint::PrivateLedger => {
            "users who could read it can act as its devices. If you trust them: chmod 600 (and chown) the file; otherwise replace the keys too: tbprov rotate --all --ledger FILE"
        }
        Hint::ListFleet => "'tbprov fleet list' shows the rows of the ledger",
        Hint::RunFleet => "'tbprov fleet run' gives every row its identity",
        Hint::EmptyStore => "make one with 'tbprov provision', or adopt one with 'tbprov devices add'",
        Hint::EmulatorGaveUp => "read the log above; a longer --give-up-after helps with a slow machine",
        Hint::FirmwareKeyTypes => "provision the device with --key-type ec-p256 (the default) or rsa-2048",
        Hint::FlashFirmwareFirst => "put the firmware on it first: tbprov firmware flash --device NAME",
        Hint::GiveDeviceName => {
            "give it with --device-name NAME, TBPROV_DEVICE_NAME, or device-name = \"…\" in tbprov.toml; --device-name= lets the server make one up"
        }
        Hint::GiveHost => "give it with --host HOST, TBPROV_HOST, or host = \"…\" in tbprov.toml",
        Hint::ImageFile => "'tbprov firmware image' writes such files",
        Hint::Ipv4Form => {
            "give an IPv4 address as four decimal numbers without zeros before them, such as 127.0.0.1"
        }
        Hint::KeyElsewhere => {
            "let the device itself connect, or use a device whose key is a file of the store"
        }
        Hint::MakeFolder => "make the folder, or check the path",
        Hint::MakeAuthority => "make an authority with 'tbprov certs ca'",
        Hint::NameConfig => {
            "tbprov found this file itself, so it may not do that. Read it. If you trust it, add --config tbprov.toml"
        }
        Hint::NameChip => {
            "name the chip that the image is for, or build one: tbprov firmware image --chip CHIP"
        }
        Hint::NameDevice => {
            "'tbprov devices list' shows them; give the name as the first argument, or with --device where that is a flag"
        }
        Hint::NameServer => {
            "name the one whose devices are meant with --host, and with --port where that differs too"
        }
        Hint::NotPresentedYet => {
            "compare its SHA-256 with the administrator's; where the server gets it later, --untried keeps it beside the old one"
        }
        Hint::GivenOnce => {
            "free some space, or correct the folder's permissions; newer releases give the credentials once: read them in ThingsBoard (Devices > the device > Manage credentials)"
        }
        Hint::NothingToRemove => "give the certificate that shall be believed instead with --add FILE",
        Hint::ProveFirst => "leave --untried out, once the server presents the new certificate",
        Hint::NamesOfHosts => {
            "make the certificate anew with the host in subjectAltName ('tbprov certs server --host HOST' does), or believe this very certificate: 'tbprov certs inspect HOST:PORT --save server.pem', compare its SHA-256, and give it with --server-cert"
        }
        Hint::NameUnknownToServer => {
            "the server, or a balancer in front of it, chooses the certificate by the host's name (SNI) and has none for this one: connect by a name that it serves; an IP address sends no name"
        }
        Hint::NeedCertificate => "give the file whose text begins with -----BEGIN CERTIFICATE-----",
        Hint::NoPort => {
            "connect the board with a cable that carries data, not power alone; name its port with --port or TBPROV_SERIAL_PORT"
        }
        Hint::NotAFolder => "name another folder, or move what is there away",
        Hint::NothingInCommon => {
            "the server has to offer TLS 1.3, or TLS 1.2 with an ECDHE cipher suite (RSA key exchange alone is not safe any more), and a certificate with an EC, Ed25519 or RSA key; one that demands a client certificate may answer so too where there is none"
        }
        Hint::OpenNetwork => "an open network is --wifi-password=",
        Hint::OtherAddress => "choose another address or port; port 0 takes any free one",
        Hint::OtherChip => {
            "connect the other board, or name another port; without --chip the firmware is built for the chip that is there"
        }
        Hint::OtherDirectory => "name another folder with --dir",
        Hint::OtherName => "choose another name",
        Hint::OtherStateFile => "name another file, or remove this one",
        Hint::OtherVersion => "it was written by another version of tbprov: use that one",
        Hint::OthersInStore => {
            "only you may be able to write to the store's folder: 'chmod go-w DIR', or take another with --store; a lock file holds nothing, and may be removed while no tbprov runs"
        }
        Hint::OutputExists => "name another file, or move it away; tbprov never overwrites a file",
        Hint::PartitionTable => {
            "see partitions.csv in the firmware's sources; 'tbprov firmware init DIR' gives an unchanged one"
        }
        Hint::PlainPort => {
            "ThingsBoard speaks TLS on 8883 when MQTT_SSL_ENABLED=true; 1883 is its plain port"
        }
        Hint::PlainPortOrBlocked => {
            "the usual causes: it is the plain port (ThingsBoard's is 1883, or what is mapped to it), which closes when it hears TLS, and MQTT over TLS is on another (8883 by default); ThingsBoard has blocked this address after wrong credentials (60 s by default); or a firewall cuts the connection"
        }
        Hint::PlainText => "save the file as plain text (UTF-8 or ASCII)",
        Hint::PortBusy => "close other monitors and terminals on this port, and plug the board in again",
        Hint::PortMissing => "check the cable and the name; without --port tbprov looks for the board itself",
        Hint::PortPermission => {
            "on Linux: sudo usermod -aG dialout $USER (Arch: uucp), then log in again; 'ls -l' shows the port's group"
        }
        Hint::PressReset => "what was written is whole: press RESET on the board",
        Hint::ProxyForm => {
            "give it as http://[user:password@]host:port (HTTP CONNECT) or socks5h://[user:password@]host:port (SOCKS5); in user and password write %40 for @, %3A for :, %2F for /, %25 for %"
        }
        Hint::ProxyKind => {
            "check the proxy's host, port and kind: http:// is one of HTTP (CONNECT), socks5h:// one of SOCKS5"
        }
        Hint::ProxyLogin => {
            "give user and password in the proxy's URL, as in http://user:password@host:port, best in TBPROV_PROXY: other users of this machine see an argument"
        }
        Hint::ProxyRefuses => {
            "many proxies connect to port 443 alone; ask who runs it to allow this host and port, or take another proxy"
        }
        Hint::ProxyUnreached => "check the proxy's host and port; an empty --proxy= connects without one",
        Hint::QemuArguments => "read what it says; arguments after -- have to be QEMU's own",
        Hint::RandomSource => "check that the system's random number source works",
        Hint::RemoveCopy => {
            "remove a copy, and give a folder that was renamed its old name: each device has an identity of its own"
        }
        Hint::SecureBoot => "such a chip takes no other firmware; use a board without secure boot",
        Hint::ServerForEmulator => "let the server listen on 127.0.0.1 or on an address of the network",
        Hint::ServerOfFiles => "give it with --host HOST, or host = \"…\" in tbprov.toml",
        Hint::SilentBoard => "nothing came at all: check --baud, and press RESET on the board",
        Hint::SmallerIdentity => {
            "fewer or smaller certificates: an EC key, only the authority of the server's certificate"
        }
        Hint::SourcesExist => {
            "name a folder that does not exist yet; tbprov never changes sources that are there"
        }
        Hint::SplitMessage => "split it into several messages",
        Hint::StartAgainLater => {
            "the acknowledged readings are done; send the others when the server accepts readings again, or wait longer with --give-up-after"
        }
        Hint::StdoutFull => {
            "check the free space where it is redirected to; what was done is done, and the same command can be run again"
        }
        Hint::SystemRoots => {
            "install the system's package of CA certificates, or give the server's certificate with --server-cert (for the REST API: --api-cert)"
        }
        Hint::TlsVersions => {
            "the server offers TLS 1.0 or 1.1 alone, which are not safe any more: have it, or the balancer in front of it, offer TLS 1.2 or 1.3"
        }
        Hint::TelemetryForm => {
            r#"expected one JSON object a message, such as {"temperature":25.5}, {"ts":1700000000000,"values":{"temperature":25.5}} or an array of those"#
        }
        Hint::TwoReadersOfStdin => {
            "give each in a file or a variable of its own: TBPROV_PROVISION_SECRET, TBPROV_KEY_PASSWORD, --send-telemetry=@FILE"
        }
        Hint::WriteSources => {
            "check the folder's permissions and the free space of the disk, and run the same command again"
        }
        Hint::DamagedSlot => {
            "'tbprov devices list' shows the devices that are not proved; finish yours with 'tbprov connect NAME', then remove that file"
        }
        Hint::GiveCommonName => {
            "give another with --common-name NAME; the profile's pattern has to find the device's name in it"
        }
        Hint::Unregistered => "register it with 'tbprov provision', with the flags of its first run",
        Hint::NotRegistered => {
            "the usual causes: the profile's certificate is another authority's (its provision key has to be the credentialsId of --ca-cert), its pattern does not find the common name, creating devices is off, or a device of that name has other credentials or another profile"
        }
        Hint::GiveAuthority => {
            "give the authority of its device profile with --ca-cert and --ca-key: it issues the new certificate, and the connect registers it"
        }
        Hint::BoardTakesBack => {
            "add --flashed, and give the board its new identity at once: tbprov firmware flash --identity-only. Until then the board takes the device back at its next connect: the server uses the certificate that connected last"
        }
        Hint::NoWayBack => {
            "the device has one identity alone: nothing was changed; 'tbprov rotate' gives it a new one"
        }
        Hint::OnlyProvedBefore => {
            "this identity never was the device's; make a new one with 'tbprov rotate NAME', or delete it with 'tbprov rotate --discard NAME'"
        }
        Hint::FinishRotation(name) => return to_finish_rotation(name),
        Hint::RegisterAgain(name) => {
            return format!(
                "somebody changed the device's credentials at the server; to make the store's certificate the device's again: tbprov server register {}",
                stored_device(name)
            )
            .into();
        }
        Hint::OnlyCertificates(name) => {
            return format!(
                "only certificates are rotated; to give the device one: tbprov devices remove {0}; then, with an account: tbprov server register {0}",
                stored_device(name)
            )
            .into();
        }
        Hint::ProveBefore(name) => {
            return format!("prove it first: tbprov connect {}", device(name)).into();
        }
        Hint::PasteCertificate(name) => {
            return format!(
                "paste the new certificate in ThingsBoard (Devices > the device > Manage credentials > X.509), and run again: tbprov rotate {}",
                device(name)
            )
            .into();
        }
        Hint::DifferingStaged(name) => {
            return format!(
                "remove the differing option to continue with the saved identity, or choose another --device-name or --store. The server does not know the saved one, so you lose nothing if you remove it and provision again: tbprov devices remove {}",
                stored_device(name)
            )
            .into();
        }
        Hint::RegisterAnew(name) => {
            return format!(
                "move it out of the store, and run the same command again: a new key and certificate are made and registered. tbprov devices remove {}; where that cannot read it either, restore its folder from a backup or move it away",
                stored_device(name)
            )
            .into();
        }
        Hint::RegisterAtServer(name) => {
            return format!(
                "an account can give the server's device this store's certificate, and makes the device where there is none (what uses its credentials now is cut off): tbprov server register {}",
                stored_device(name)
            )
            .into();
        }
        Hint::ReplaceStaged(name) => {
            return format!(
                "check this machine's clock first. If it is right: the server does not know this identity, so you lose nothing if you remove it and provision again: tbprov devices remove {}",
                stored_device(name)
            )
            .into();
        }
        Hint::AsServer(server) => {
            return format!("check the path; a server is given with its port, such as {server}").into();
        }
        Hint::FileIs(kind, path) => return conversion(Desk::HERE, *kind, path.as_deref()).into(),
        Hint::CostlyEncryption => {
            "encrypt it again at a usual cost, with the program that made it or with OpenSSL: openssl pkcs8 -topk8 -in key.pem -out usual_key.pem"
        }
        Hint::KeyPassword => {
            "give its password with --key-password-file FILE (- is stdin), TBPROV_KEY_PASSWORD, or at a terminal"
        }
        Hint::LeafFirst => {
            "put the device's own certificate first in the file, then those above it, each after the one that it signed"
        }
        Hint::PlainPublicKey => {
            "ThingsBoard's Java reads only named curves and uncompressed points: write the key so ('openssl pkey -in key.pem -ec_param_enc named_curve -ec_conv_form uncompressed -out plain_key.pem'), and have the certificate made anew with that"
        }
        Hint::NameTheFile => "put it in a file that only you can read, and give the file's name instead",
        Hint::SecretFile => {
            "check the path; the flag takes the name of the file that holds the secret, and not the secret"
        }
        Hint::MoreDescriptors => {
            "raise the limit: 'ulimit -n' shows that of a process, and 'ulimit -n 1024' sets it; in a container --ulimit nofile=1024"
        }
        Hint::MoreThreads => {
            "the limit of processes is reached ('ulimit -u' shows it; in a container --pids-limit), or an old container engine forbids clone3: update it, or run the container with --security-opt seccomp=unconfined"
        }
        Hint::TelemetryAfterEquals => {
            r#"write it without a blank: --send-telemetry='{"temperature":25.5}', --send-telemetry=@FILE or --send-telemetry=-"#
        }
        Hint::Doubtful(doubts) => return format!("is that meant? {}", doubts.join("; ")).into(),
        Hint::GiveBy(ways) => return format!("give it with {ways}").into(),
        Hint::FileMeant(file) => {
            return format!("did you mean --send-telemetry={} ?", quoted(&format!("@{file}"))).into();
        }
        Hint::Install(command) => return command.clone().into(),
        Hint::SystemRootsOf(variable) => {
            return format!(
                "correct {variable} or unset it, so that the system's own authorities are believed, or give the server's certificate with --server-cert (for the REST API: --api-cert)"
            )
            .into();
        }
        Hint::UnusedProxy(variable) => {
            return format!(
                "{}; {variable} names a proxy, which was not used: tbprov takes one from --proxy, TBPROV_PROXY or tbprov.toml, such as --proxy http://host:port",
                general(code)
            )
            .into();
        }
        Hint::OneOf(names) => return format!("one of {}", names.join(", ")).into(),
        Hint::SaveServer(server) => {
            return format!(
                "a chip has no system roots: save the server's certificate, compare its fingerprint, and give it, or its authority's, with --server-cert. This saves it: tbprov certs inspect {} --save server.pem",
                quoted(server)
            )
            .into();
        }
    };
    text.into()
}

/// The ways out of a rotation that was cut short.
pub(super) fn to_finish_rotation(name: &str) -> Cow<'static, str> {
    let (forth, back) = (device(name), device_flag("--roll-back", name));
    format!("finish it: tbprov rotate {forth}; or give the new certificate up: tbprov rotate {back}").into()
}

/// What helps in general, here.
pub(crate) fn general(code: ErrorCode) -> &'static str {
    general_at(Desk::HERE, code)
}

/// What helps in general at a machine of this kind.
pub(super) fn general_at(desk: Desk, code: ErrorCode) -> &'static str {
    desk_advice::of_code(desk, code).unwrap_or_else(|| usual(code))
}

const fn usual(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ServerNotFound => {
            "check the provision key and secret against the device profile (Device profiles > your profile > Device provisioning), and that its strategy is not 'Disabled'"
        }
        ErrorCode::ServerFailure => {
            "the usual causes: the device name is taken, the name is not allowed, the certificate is already used by a device, the tenant's device limit, or a pre-provisioned device whose name is unknown or that was provisioned before (its credentials stand in ThingsBoard under Manage credentials)"
        }
        ErrorCode::ServerNotAuthorized => {
            "the server does not know this certificate, or its validity dates do not hold on the server's clock; compare the credentialsId with the device's in ThingsBoard (Manage credentials)"
        }
        ErrorCode::ServerIdentifierRejected => {
            "the client certificate did not reach ThingsBoard: a load balancer or proxy in front of it terminates TLS; connect to ThingsBoard's own port, or let the balancer pass TCP through"
        }
        ErrorCode::ServerUnavailable => {
            "a rate limit of the tenant, a disabled API usage state, a core that does not answer, or a device profile whose transport type is neither DEFAULT nor MQTT"
        }
        ErrorCode::ServerRefused => "this does not look like ThingsBoard's MQTT port; check host and port",
        ErrorCode::UsageInvalid => "correct the value; 'tbprov COMMAND --help' lists what is accepted",
        ErrorCode::UsageMissing => "give the value by its flag, its environment variable or in tbprov.toml",
        ErrorCode::UsageConflict => "drop one of the two",
        ErrorCode::ManifestInvalid => "correct these lines; nothing was imported",
        ErrorCode::ConfigInvalid => "correct the file, or name another with --config",
        ErrorCode::SystemLimit => {
            "raise the limits of this shell ('ulimit -a' shows them) or container, and run the same command again"
        }
        ErrorCode::IdentityClock => {
            "set the clock ('date' shows it, 'timedatectl set-ntp true' lets the network set it), and run the same command again"
        }
        ErrorCode::NetworkResolve => unresolved(cfg!(target_env = "musl")),
        ErrorCode::NetworkConnect => {
            "check host and port; ThingsBoard's MQTT over TLS listens on 8883 only when MQTT_SSL_ENABLED=true, and a firewall may stand between"
        }
        ErrorCode::NetworkTimeout => "try again, with a longer --timeout if the link is slow",
        ErrorCode::NetworkClosed => {
            "run the same command again: nothing is lost; if it closes before TLS each time, ThingsBoard may have blocked this address after wrong credentials (60 s by default)"
        }
        ErrorCode::NetworkLink => {
            "check the name and password of the wireless network, or the cable, and that a DHCP server answers there"
        }
        ErrorCode::NetworkProxy => {
            "check the proxy's host, port and kind: http:// is one of HTTP (CONNECT), socks5h:// one of SOCKS5"
        }
        ErrorCode::NetworkProtocol => "check that the port is ThingsBoard's MQTT over TLS port",
        ErrorCode::TlsHandshake => {
            "check that host and port are those of ThingsBoard's MQTT over TLS; the log of the server, or of a balancer in front of it, says why the handshake ended"
        }
        ErrorCode::TlsUntrusted => {
            "get the server's certificate with 'tbprov certs inspect HOST:PORT --save server.pem', compare its fingerprint with the server's administrator, and give it with --server-cert; where the server of a saved device was renewed, 'tbprov devices trust NAME --add server.pem' keeps the new one"
        }
        ErrorCode::TlsExpired => {
            "renew the server's certificate ('tbprov certs server'), and check this machine's clock"
        }
        ErrorCode::TlsName => {
            "connect with a name that the certificate holds, or add --skip-name-check (the certificate itself is still checked)"
        }
        ErrorCode::TlsClientCertificate => {
            "up to ThingsBoard 3.4 this is how an unknown certificate is refused; compare the credentialsId with the device's in ThingsBoard (Manage credentials)"
        }
        ErrorCode::RestUnauthorized => {
            "check the user's name and password with the login page of ThingsBoard; after several wrong passwords the account may be locked for a time"
        }
        ErrorCode::RestSecondFactor => {
            "tbprov asks for no second factor: use an API key (--api-key-file; ThingsBoard 4.3 and later), or a user without one"
        }
        ErrorCode::RestForbidden => {
            "use an account of a tenant administrator; 'tbprov server check' shows what an account may do"
        }
        ErrorCode::RestNotFound => {
            "check the name; 'tbprov server check' shows which account and which server are asked"
        }
        ErrorCode::RestConflict => "somebody else changed it at the same moment: run the same command again",
        ErrorCode::RestLimited => {
            "wait for some minutes, or raise the tenant's limit of REST requests (tenant profile)"
        }
        ErrorCode::RestRefused => "correct what the server names",
        ErrorCode::RestServerError => "the server's log says why; try again in a minute",
        ErrorCode::RestNotThingsBoard => {
            "check --api-url: it is the address of ThingsBoard's web pages, with https:// where these are served over TLS, and not that of MQTT; where a login page or a proxy stands in front of it, that has to let the API through"
        }
        ErrorCode::VerifyNotStored => {
            "look at it with 'tbprov server device NAME' and 'tbprov server telemetry NAME', and at the server's log"
        }
        ErrorCode::RotateOnABoard => {
            "add --flashed, and give the board its new identity at once: tbprov firmware flash --identity-only"
        }
        ErrorCode::AnswerMalformed => {
            "the server is not ThingsBoard, or something between changes its messages; run 'tbprov doctor'"
        }
        ErrorCode::AnswerOtherType => {
            "the device is pre-provisioned with credentials of another type, and ThingsBoard ignores what a pre-provisioned device sends; set the certificate in the web form instead (Manage credentials > X.509 Certificate)"
        }
        ErrorCode::AnswerOtherCertificate => {
            "the device is pre-provisioned with another certificate; paste this one in the web form (Manage credentials > X.509 Certificate), or choose another device name"
        }
        ErrorCode::AnswerOtherCredentials => {
            "the device is pre-provisioned with other credentials; set these in the web form (Manage credentials), or choose another device name"
        }
        ErrorCode::VerifyRefused => {
            "compare the credentialsId with the device's in ThingsBoard; a device profile whose transport type is neither DEFAULT nor MQTT, a load balancer that terminates TLS, or a clock that is off has the same effect; then run the same command again"
        }
        ErrorCode::VerifyNotAsked => {
            "the server does not ask for client certificates: a load balancer or proxy in front of ThingsBoard terminates TLS, or it is another broker; connect to ThingsBoard's own port, or let the balancer pass TCP through"
        }
        ErrorCode::VerifyAnonymous => {
            "this broker accepts any client, so it is not ThingsBoard's own port, or a proxy stands in front of it; 'tbprov doctor' shows what answers there"
        }
        ErrorCode::VerifyTaken => {
            "if the certificate is this device's, remove the device from the store ('tbprov devices remove NAME') and add it again with 'tbprov devices add NAME --cert FILE --key FILE'; otherwise give each device a key and a certificate of its own"
        }
        ErrorCode::StoreNotFound => "'tbprov devices list' shows what the store holds; --store names another",
        ErrorCode::StoreExists => {
            "choose another device name or another --store; tbprov never overwrites an identity"
        }
        ErrorCode::StoreLocked => "wait for the other tbprov to end",
        ErrorCode::StoreChanged => "run the same command again: it goes on from what is there now",
        ErrorCode::StoreLeaseLost => {
            "somebody removed the store's folder .locks: leave it alone, and run the same command again"
        }
        ErrorCode::StoreReadableKey => {
            "users who could read the key can act as the device. If you trust them: chmod 600 (and chown) the file; otherwise remove the device ('tbprov devices remove NAME') and provision it again"
        }
        ErrorCode::StoreNotProved => {
            "finish it with 'tbprov provision', or prove it with 'tbprov connect'; --force uses it as it is"
        }
        ErrorCode::RotateUnfinished => "finish it: tbprov rotate NAME",
        ErrorCode::StoreCorrupt => "restore the folder from a backup; tbprov does not touch it",
        ErrorCode::StoreIo => "check the folder's permissions and the free space of the disk",
        ErrorCode::LedgerNotFound => {
            "--ledger names the file; 'tbprov fleet import MANIFEST' makes one where there is none"
        }
        ErrorCode::LedgerNotALedger => "name another file with --ledger; this one was not changed",
        ErrorCode::LedgerNewer => "use the tbprov that made it, or a later one; the file was not changed",
        ErrorCode::LedgerCorrupt => {
            "copy the file away with its -wal file before anything else, then restore both from a backup; 'sqlite3 FILE .recover' saves what can be read"
        }
        ErrorCode::LedgerReadOnly => "check the owner and the mode of the file and of its folder",
        ErrorCode::LedgerNetwork => "put the ledger on a disk of this machine",
        ErrorCode::LedgerBusy => "end the program that holds the ledger, and run the same command again",
        ErrorCode::LedgerTampered => {
            "compare the ledger with a backup: somebody changed it without tbprov, or the disk did"
        }
        ErrorCode::LedgerIo => {
            "check the file's permissions, the free space of the disk, and in the system's log whether the disk fails"
        }
        ErrorCode::FileNotFound => "check the path",
        ErrorCode::FileIo => "check the path and its permissions",
        ErrorCode::FileExists => {
            "tbprov never overwrites a key or a certificate: name another folder, or move the old files away"
        }
        ErrorCode::FileNotPem => {
            "give a PEM file: its text begins with -----BEGIN CERTIFICATE-----, or with -----BEGIN PRIVATE KEY----- for a key"
        }
        ErrorCode::FileEncrypted => "decrypt it first: openssl pkey -in key.pem -out plain.pem",
        ErrorCode::FilePassword => {
            "give the password that the key was encrypted with: by --key-password-file FILE, TBPROV_KEY_PASSWORD, or at a terminal"
        }
        ErrorCode::FileKeyType => "use one of ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072, rsa-4096",
        ErrorCode::FileCertificate => "check the file with 'openssl x509 -in FILE -text'",
        ErrorCode::FileMismatch => {
            "the certificate belongs to another private key; give the pair that was made together"
        }
        ErrorCode::FileExpired => {
            "check this machine's clock first; if it is right, make a new certificate: ThingsBoard refuses one outside its validity dates"
        }
        ErrorCode::FirmwareSources => {
            "'tbprov firmware init DIR' writes them out; --firmware-dir or TBPROV_FIRMWARE_DIR names the folder"
        }
        ErrorCode::FirmwareToolchain => {
            "docs/firmware.md says how to install the compiler for each chip; 'tbprov doctor' shows which are found"
        }
        ErrorCode::FirmwareBuild => {
            "the compiler's own messages above say where; 'tbprov firmware init DIR' gives unchanged sources"
        }
        ErrorCode::FirmwareImage => {
            "see partitions.csv in the firmware's sources: the application has to fit its partition, and the partitions the flash"
        }
        ErrorCode::FirmwareIdentity => {
            "write the identity again: tbprov firmware flash --identity-only --device NAME"
        }
        ErrorCode::FirmwarePort => {
            "check the cable and name the port with --port; on Linux its group (dialout, uucp) has to be yours"
        }
        ErrorCode::FirmwareChip => {
            "hold BOOT, press RESET, release BOOT, and try again; close other programs that use the port"
        }
        ErrorCode::FirmwareFlash => {
            "run the same command again: it begins anew and nothing is lost; a lower --baud helps with long cables"
        }
        ErrorCode::FirmwareReadBack => {
            "run the same command again; if it happens again, the flash of this board is worn or larger than it says"
        }
        ErrorCode::FirmwareMonitor => "read the log above; press RESET on the board to see it from the start",
        ErrorCode::FirmwareEmulator => {
            "install QEMU for RISC-V (Debian: apt install qemu-system-misc; macOS: brew install qemu), or name it with --qemu"
        }
        ErrorCode::FirmwarePanic => {
            "please report it with the log above: the firmware never panics by intention"
        }
        ErrorCode::Bug => "please report it with the command that led here (without its secrets)",
        ErrorCode::Interrupted => "run the same command again: it continues where this one stopped",
        _ => "",
    }
}

/// The C library musl asks DNS and the file of hosts, and loads no module that knows other names, whether the program is
/// static or not.
const fn unresolved(has_musl: bool) -> &'static str {
    if has_musl {
        "check the spelling of the host and this machine's DNS; this tbprov has the C library musl, as each static one has, which asks DNS and /etc/hosts alone: a name that mDNS (.local), LDAP or another module of /etc/nsswitch.conf knows needs a line in /etc/hosts, or a tbprov with glibc, as in the .deb and the .rpm"
    } else {
        "check the spelling of the host and this machine's DNS"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_advice() {
        for code in ErrorCode::ALL {
            assert!(!usual(*code).is_empty(), "{}", code.as_str());
        }
    }

    /// The release script runs a program with musl as well, and looks for this help.
    #[test]
    fn only_a_program_with_musl_says_which_names_it_does_not_find() {
        assert!(unresolved(true).contains("/etc/nsswitch.conf"));
        assert!(!unresolved(true).contains("is a static"), "musl can be a library of its own");
        assert!(!unresolved(false).contains("nsswitch"));
        assert_eq!(general(ErrorCode::NetworkResolve), unresolved(cfg!(target_env = "musl")));
    }

    /// `doctor` never sends anybody to `doctor`: what does so is said where it cannot be met by `doctor`, which neither
    /// asks for provisioning, nor proves, nor builds.
    #[test]
    fn doctor_sends_nobody_to_doctor() {
        let elsewhere =
            [ErrorCode::AnswerMalformed, ErrorCode::VerifyAnonymous, ErrorCode::FirmwareToolchain];
        for code in ErrorCode::ALL.iter().filter(|code| !elsewhere.contains(code)) {
            assert!(!general(*code).contains("tbprov doctor"), "{}", code.as_str());
        }
    }
}
