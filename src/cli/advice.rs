//! What to do next, in words: the one place that turns a failure's code and hint into help. The library knows no flag
//! and no command.

use std::borrow::Cow;

use tbprov::error::Hint;
use tbprov::{Error, ErrorCode};

/// The help of a failure: that of its hint, else the general one of its code.
pub(crate) fn help(error: &Error) -> Cow<'static, str> {
    match &error.hint {
        Some(hint) => special(hint),
        None => general(error.code).into(),
    }
}

fn special(hint: &Hint) -> Cow<'static, str> {
    let text = match hint {
        Hint::AnswerLost => {
            "run the same command again: if the server did create the device, that run finds out; ThingsBoard itself gives up after 10 s"
        }
        Hint::ApplicationOfChip => {
            "'tbprov firmware build --chip CHIP' makes the application, for one chip each; --elf takes that file only"
        }
        Hint::AttributesExample => r#"for example --attributes '{"firmware":"1.2.0"}'"#,
        Hint::AuthorityForFirmware => "give the authority's certificate, PEM, with --server-cert",
        Hint::AsciiHost => {
            "give each part of the name with such characters in its ASCII form, which begins with xn-- (IDNA), as name servers have it"
        }
        Hint::BareHost => "give the bare host, such as mqtt.example.com: no scheme, no port, no path",
        Hint::BlockedOrNotTls => {
            "ThingsBoard closes at once when it has blocked this address after wrong credentials (60 s by default); otherwise the port is not MQTT over TLS, or a firewall cuts it"
        }
        Hint::BoardGone => {
            "the board was unplugged, or another program took the port; plug it in and run the same command again"
        }
        Hint::BoardHalfWritten => {
            "the board is half written, the store is as it was: run the same command again, which begins anew"
        }
        Hint::BoardIsAhead => {
            "the board has the identity, only the record does not say so; check the folder's permissions and the free space of the disk"
        }
        Hint::DeviceChanged => {
            "the board has the identity that the device had before: run the same command again"
        }
        Hint::BreaksAtSameMessage => {
            "the server takes all that comes before it: what is on that line, a device profile with another payload type (Protobuf) or transport type, a rate limit that leaves room for nothing, or the same identity connected elsewhere; --skip-refused goes on without it"
        }
        Hint::BuildForEmulator => "'tbprov firmware build --board virt' makes it; without --elf it is built",
        Hint::BuildVirt => {
            "'tbprov firmware build --board virt' builds it, 'tbprov firmware emulate' runs it"
        }
        Hint::ChipsWithBootloader => "'tbprov firmware build --help' lists the chips that have one",
        Hint::ChoosePort => "choose one with --port or TBPROV_SERIAL_PORT",
        Hint::DeletedAtServer => {
            "was the device deleted in ThingsBoard, or its credentials changed? To provision it anew, move its folder out of the store ('tbprov devices remove NAME') and run the same command again"
        }
        Hint::DifferingOption => {
            "drop the differing option to go on with the saved identity, or choose another --device-name or --store"
        }
        Hint::EmptyStore => "make one with 'tbprov provision', or adopt one with 'tbprov devices add'",
        Hint::EmulatorGaveUp => "read the log above; a longer --give-up-after helps with a slow machine",
        Hint::FirmwareKeyTypes => "provision the device with --key-type ec-p256 (the default) or rsa-2048",
        Hint::FlashFirmwareFirst => "put the firmware on it first: tbprov firmware flash --device NAME",
        Hint::GiveDeviceName => {
            "give it with --device-name NAME, TBPROV_DEVICE_NAME, or device-name = \"…\" in tbprov.toml; --device-name '' lets the server make one up"
        }
        Hint::GiveHost => "give it with --host HOST, TBPROV_HOST, or host = \"…\" in tbprov.toml",
        Hint::ImageFile => "'tbprov firmware image' writes such files",
        Hint::KeyElsewhere => {
            "let the device itself connect, or use a device whose key is a file of the store"
        }
        Hint::MakeAuthority => "make an authority with 'tbprov certs ca'",
        Hint::NameConfig => {
            "nobody named this file, so it may not do that; read it, and if you trust it say so with --config tbprov.toml"
        }
        Hint::NameChip => {
            "name the chip that the image is for, or build one: tbprov firmware image --chip CHIP"
        }
        Hint::NameDevice => {
            "'tbprov devices list' shows them; give the name as the first argument, or with --device where that is a flag"
        }
        Hint::NeedCertificate => "give the file whose text begins with -----BEGIN CERTIFICATE-----",
        Hint::NoPort => {
            "connect the board with a cable that carries data, not power alone; name its port with --port or TBPROV_SERIAL_PORT"
        }
        Hint::NotAFolder => "name another folder, or move what is there away",
        Hint::OpenNetwork => "an open network is --wifi-password ''",
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
        Hint::PlainText => "save the file as plain text (UTF-8 or ASCII)",
        Hint::PortBusy => "close other monitors and terminals on this port, and plug the board in again",
        Hint::PortMissing => "check the cable and the name; without --port tbprov looks for the board itself",
        Hint::PortPermission => {
            "on Linux: sudo usermod -aG dialout $USER (Arch: uucp), then log in again; 'ls -l' shows the port's group"
        }
        Hint::PressReset => "what was written is whole: press RESET on the board",
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
            "what was acknowledged is done; send the rest once the server takes readings again, or wait longer with --give-up-after"
        }
        Hint::StdoutFull => {
            "check the free space where it is redirected to; what was done is done, and the same command can be run again"
        }
        Hint::SystemRoots => {
            "install the system's package of CA certificates, or give the server's certificate with --server-cert"
        }
        Hint::TelemetryForm => {
            r#"expected one JSON object a message, such as {"temperature":25.5}, {"ts":1700000000000,"values":{"temperature":25.5}} or an array of those"#
        }
        Hint::TwoReadersOfStdin => "put the secret in a file or in TBPROV_PROVISION_SECRET",
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
        Hint::DifferingStaged(name) => {
            return format!(
                "drop the differing option to go on with the saved identity, or choose another --device-name or --store. The server does not know the saved one: 'tbprov devices remove {name}' and provisioning anew loses nothing"
            )
            .into();
        }
        Hint::ReplaceStaged(name) => {
            return format!(
                "check this machine's clock first. If it is right: the server never heard of this identity, so 'tbprov devices remove {name}' and provisioning anew loses nothing"
            )
            .into();
        }
        Hint::GiveBy(ways) => return format!("give it with {ways}").into(),
        Hint::FileMeant(file) => return format!("did you mean --send-telemetry=@{file} ?").into(),
        Hint::Install(command) => return command.clone().into(),
        Hint::OneOf(names) => return format!("one of {}", names.join(", ")).into(),
        Hint::SaveServer(server) => {
            return format!(
                "a chip has no system roots; save the server's certificate ('tbprov certs inspect {server} --save server.pem'), \
                 compare its fingerprint, and give it, or its authority's, with --server-cert"
            )
            .into();
        }
    };
    text.into()
}

/// What helps in general.
pub(crate) const fn general(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ServerNotFound => {
            "check the provision key and secret against the device profile (Device profiles > your profile > Device provisioning), and that its strategy is not 'Disabled'"
        }
        ErrorCode::ServerFailure => {
            "the usual causes: the device name is taken, the name is not allowed, the certificate is already used by a device, the tenant's device limit, or a pre-provisioned device whose name is unknown or that was provisioned before"
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
        ErrorCode::ServerRefused => {
            "this does not look like ThingsBoard's MQTT port; check host and port with 'tbprov doctor'"
        }
        ErrorCode::UsageInvalid => "correct the value; 'tbprov COMMAND --help' lists what is accepted",
        ErrorCode::UsageMissing => "give the value by its flag, its environment variable or in tbprov.toml",
        ErrorCode::UsageConflict => "drop one of the two",
        ErrorCode::ConfigInvalid => "correct the file, or name another with --config",
        ErrorCode::IdentityClock => {
            "set the clock ('date' shows it, 'timedatectl set-ntp true' lets the network set it), and run the same command again"
        }
        ErrorCode::NetworkResolve => "check the spelling of the host and this machine's DNS",
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
        ErrorCode::NetworkProtocol => "check that the port is ThingsBoard's MQTT over TLS port",
        ErrorCode::TlsHandshake => {
            "run 'tbprov doctor' for the step that fails; a plain MQTT port (1883) does not speak TLS"
        }
        ErrorCode::TlsUntrusted => {
            "get the server's certificate with 'tbprov certs inspect HOST:PORT --save server.pem', compare its fingerprint with the server's administrator, and give it with --server-cert"
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
            "compare the credentialsId with the device's in ThingsBoard; a load balancer that terminates TLS or a clock that is off has the same effect; then run the same command again"
        }
        ErrorCode::VerifyNotAsked => {
            "the server does not ask for client certificates: a load balancer or proxy in front of ThingsBoard terminates TLS, or it is another broker; connect to ThingsBoard's own port, or let the balancer pass TCP through"
        }
        ErrorCode::VerifyAnonymous => {
            "this broker accepts any client, so it is not ThingsBoard's own port, or a proxy stands in front of it; 'tbprov doctor' shows what answers there"
        }
        ErrorCode::VerifyTaken => {
            "if it is this device's, take its folder out of the store ('tbprov devices remove NAME') and take it in with 'tbprov devices add NAME --cert FILE --key FILE'; else give each device a key and a certificate of its own"
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
            "whoever could read the key can be the device. If you trust them: chmod 600 (and chown) the file; else remove the device ('tbprov devices remove NAME') and provision it anew"
        }
        ErrorCode::StoreNotProved => {
            "finish it with 'tbprov provision', or prove it with 'tbprov connect'; --force uses it as it is"
        }
        ErrorCode::StoreCorrupt => "restore the folder from a backup; tbprov does not touch it",
        ErrorCode::StoreIo => "check the folder's permissions and the free space of the disk",
        ErrorCode::FileNotFound => "check the path",
        ErrorCode::FileIo => "check the path and its permissions",
        ErrorCode::FileExists => {
            "tbprov never overwrites a key or a certificate: name another folder, or move the old files away"
        }
        ErrorCode::FileNotPem => {
            "expected text that begins with -----BEGIN; convert DER with 'openssl x509 -inform der' or 'openssl pkey -inform der'"
        }
        ErrorCode::FileEncrypted => "decrypt it first: openssl pkey -in key.pem -out plain.pem",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_advice() {
        for code in ErrorCode::ALL {
            assert!(!general(*code).is_empty(), "{}", code.as_str());
        }
    }
}
