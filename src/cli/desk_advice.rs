//! What helps on Windows and on macOS, where it is not what helps on Linux: other programs, another shell.

use std::io;

use super::shell::Desk;
use tbprov::ErrorCode;
use tbprov::error::Hint;

/// The help of a hint.
pub(super) const fn of_hint(desk: Desk, hint: &Hint) -> Option<&'static str> {
    match desk {
        Desk::Linux => None,
        Desk::MacOs => on_macos(hint),
        Desk::Windows => on_windows(hint),
    }
}

const fn on_macos(hint: &Hint) -> Option<&'static str> {
    Some(match hint {
        Hint::PortPermission => {
            "'ls -l /dev/cu.*' shows who may open it: macOS gives everybody the ports of USB devices, so a driver, or who runs this machine, has said otherwise"
        }
        Hint::MoreThreads => "the limit of processes is reached: 'ulimit -u' shows it",
        Hint::MoreDescriptors => {
            "raise the limit: 'ulimit -n' shows that of a process, and 'ulimit -n 1024' sets it"
        }
        _ => return None,
    })
}

const fn on_windows(hint: &Hint) -> Option<&'static str> {
    Some(match hint {
        Hint::PortPermission => {
            "close other monitors and terminals on this port; the Device Manager shows it under Ports, with what is wrong with its driver"
        }
        Hint::MoreThreads | Hint::MoreDescriptors => CLOSE_PROGRAMS,
        Hint::OthersInStore => {
            "take another folder with --store, or remove the link; a lock file holds nothing, and may be removed while no tbprov runs"
        }
        Hint::PrivateLedger => {
            "users who could read it can act as its devices: replace the keys: tbprov rotate --all --ledger FILE"
        }
        Hint::SystemRoots => {
            "Windows's store of root certificates is empty or cannot be read: give the server's certificate with --server-cert (for the REST API: --api-cert)"
        }
        Hint::AttributesExample => {
            r#"for example --attributes '{"firmware":"1.2.0"}' in PowerShell from 7.3 on, and --attributes '{\"firmware\":\"1.2.0\"}' in an earlier one"#
        }
        Hint::TelemetryAfterEquals => {
            "write it without a blank: --send-telemetry=@FILE or --send-telemetry=- ('@' begins the name of a file; '-' is stdin)"
        }
        Hint::AsciiHost => {
            "give each part of the name with such characters in its ASCII form, which begins with xn-- (IDNA), such as xn--bcher-kva.example for bücher.example; PowerShell knows it: [Globalization.IdnMapping]::new().GetAscii('NAME')"
        }
        _ => return None,
    })
}

const CLOSE_PROGRAMS: &str = "close other programs, and run the same command again";

/// The general help of a code.
pub(super) const fn of_code(desk: Desk, code: ErrorCode) -> Option<&'static str> {
    Some(match (desk, code) {
        (Desk::MacOs, ErrorCode::IdentityClock) => {
            "set the clock ('date' shows it; System Settings > General > Date & Time lets the network set it), and run the same command again"
        }
        (Desk::MacOs, ErrorCode::FirmwarePort) => {
            "check the cable and name the port with --port: 'ls /dev/cu.*' shows the ports"
        }
        (Desk::MacOs, ErrorCode::FirmwareEmulator) => {
            "install QEMU for RISC-V (brew install qemu), or name it with --qemu"
        }
        (Desk::Windows, ErrorCode::SystemLimit) => CLOSE_PROGRAMS,
        (Desk::Windows, ErrorCode::IdentityClock) => {
            "set the clock ('Get-Date' shows it; 'w32tm /resync' as administrator lets the network set it), and run the same command again"
        }
        (Desk::Windows, ErrorCode::StoreReadableKey) => {
            "users who could read the key can act as the device: remove the device ('tbprov devices remove NAME') and provision it again"
        }
        (Desk::Windows, ErrorCode::LedgerReadOnly) => {
            "check who may change the file and its folder: 'icacls FILE' shows it"
        }
        (Desk::Windows, ErrorCode::FirmwarePort) => {
            "check the cable and name the port with --port: the Device Manager shows the ports, such as COM3"
        }
        (Desk::Windows, ErrorCode::FirmwareEmulator) => {
            "install QEMU (https://www.qemu.org/download/#windows), and name its qemu-system-riscv32.exe with --qemu"
        }
        _ => return None,
    })
}

/// Another program has the file open, and lets nobody else: Rust has no kind for this error of Windows.
const SHARING_VIOLATION: i32 = 32;

/// What helps against what the system says about a file.
pub(super) fn of_system(desk: Desk, error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    if desk != Desk::Windows {
        return None;
    }
    Some(match error.kind() {
        Kind::StorageFull => {
            "the disk is full: free some space ('Get-PSDrive' shows it), and run the same command again"
        }
        Kind::QuotaExceeded => {
            "your share of the disk is used up: free some space, and run the same command again"
        }
        Kind::PermissionDenied => {
            "another program, such as a virus scanner, has the file open, or you are not allowed to do that ('icacls FILE' shows who is): run the same command again, or name another folder"
        }
        Kind::ReadOnlyFilesystem => "the disk is write-protected: name a folder on another one",
        _ if error.raw_os_error() == Some(SHARING_VIOLATION) => {
            "another program, such as a virus scanner, has the file open: close it, and run the same command again"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use io::ErrorKind as Kind;

    use super::super::advice;
    use super::*;

    /// Every hint whose usual text has words of Unix, and the others that have another text somewhere.
    const HINTS: &[Hint] = &[
        Hint::PortPermission,
        Hint::MoreThreads,
        Hint::MoreDescriptors,
        Hint::OthersInStore,
        Hint::PrivateLedger,
        Hint::SystemRoots,
        Hint::AttributesExample,
        Hint::TelemetryAfterEquals,
        Hint::AsciiHost,
    ];

    /// The same of what a system says about a file.
    const KINDS: &[Kind] =
        &[Kind::ReadOnlyFilesystem, Kind::StorageFull, Kind::QuotaExceeded, Kind::PermissionDenied];

    /// Programs, files and notations that only Unix has.
    const OF_UNIX: &[&str] = &[
        "chmod",
        "chown",
        "sudo",
        "usermod",
        "dialout",
        "apt ",
        "apt-get",
        "ulimit",
        "umask",
        "ls -l",
        "'df'",
        "'quota'",
        "'date'",
        "mount ",
        "printf",
        "export ",
        "systemctl",
        "timedatectl",
        "python3 ",
        "/dev/",
        "$USER",
        "$(",
        " && ",
        "='{",
    ];

    /// Of these, and of other words, what macOS has not.
    const OF_LINUX: &[&str] = &["apt ", "apt-get", "usermod", "dialout", "uucp", "systemctl", "timedatectl"];

    fn has_one_of(words: &[&str], text: &str) -> bool {
        words.iter().any(|word| text.contains(word))
    }

    /// What texts with one of `words` help against, in one function of a source: the last name after `prefix` before each.
    fn beside(words: &[&str], source: &str, function: &str, prefix: &str) -> Vec<String> {
        let body = &source[source.find(function).unwrap()..];
        let (mut name, mut found) = (String::new(), Vec::new());
        for line in body[..body.find("\n}").unwrap()].lines() {
            if let Some((_, after)) = line.split_once(prefix) {
                name = after.chars().take_while(|character| character.is_alphanumeric()).collect();
            }
            if line.find('"').is_some_and(|start| has_one_of(words, &line[start..])) {
                found.push(name.clone());
            }
        }
        found
    }

    /// The name of a variant.
    fn named(variant: &impl std::fmt::Debug) -> String {
        format!("{variant:?}").chars().take_while(|character| character.is_alphanumeric()).collect()
    }

    #[test]
    fn what_has_words_of_one_system_has_others_elsewhere() {
        let advice = include_str!("advice.rs");
        let hints = |words| beside(words, advice, "fn special(", "Hint::");
        let (of_unix, of_linux) = (hints(OF_UNIX), hints(OF_LINUX));
        for known in ["PortPermission", "PrivateLedger", "AsciiHost"] {
            assert!(of_unix.iter().any(|name| name == known), "{known} is not seen");
        }
        for name in of_unix {
            assert!(HINTS.iter().any(|hint| named(hint) == name), "on_windows and HINTS need {name}");
        }
        for name in of_linux {
            let hint = HINTS.iter().find(|hint| named(*hint) == name);
            assert!(
                hint.is_some_and(|hint| of_hint(Desk::MacOs, hint).is_some()),
                "on_macos and HINTS need {name}"
            );
        }
        let kinds = beside(OF_UNIX, include_str!("limits.rs"), "fn advice(", "Kind::");
        assert!(kinds.iter().any(|name| name == "PermissionDenied"), "{kinds:?}");
        for name in kinds {
            assert!(KINDS.iter().any(|kind| named(kind) == name), "of_system and KINDS need {name}");
        }
    }

    #[test]
    fn nobody_on_windows_is_told_of_programs_of_unix() {
        for hint in HINTS {
            let text = of_hint(Desk::Windows, hint).unwrap();
            assert!(!has_one_of(OF_UNIX, text), "{hint:?}: {text}");
        }
        for kind in KINDS {
            let text = of_system(Desk::Windows, &(*kind).into()).unwrap();
            assert!(!has_one_of(OF_UNIX, text), "{kind:?}: {text}");
        }
        for code in ErrorCode::ALL {
            let text = advice::general_at(Desk::Windows, *code);
            assert!(!has_one_of(OF_UNIX, text), "{}: {text}", code.as_str());
        }
    }

    #[test]
    fn nobody_on_macos_is_told_of_programs_of_linux() {
        for code in ErrorCode::ALL {
            let text = advice::general_at(Desk::MacOs, *code);
            assert!(!has_one_of(OF_LINUX, text), "{}: {text}", code.as_str());
        }
        for text in HINTS.iter().filter_map(|hint| of_hint(Desk::MacOs, hint)) {
            assert!(!has_one_of(OF_LINUX, text), "{text}");
        }
        assert!(of_hint(Desk::MacOs, &Hint::PortPermission).unwrap().contains("/dev/cu."));
    }

    #[test]
    fn a_file_that_another_program_has_open_is_said_to_be_so() {
        let shared = io::Error::from_raw_os_error(SHARING_VIOLATION);
        for error in [&shared, &Kind::PermissionDenied.into()] {
            assert!(of_system(Desk::Windows, error).unwrap().contains("another program"), "{error:?}");
            assert_eq!(of_system(Desk::Linux, error), None);
        }
    }
}
