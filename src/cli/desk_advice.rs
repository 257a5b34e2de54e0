//! What helps on Windows and on macOS, where it is not what helps on Linux: other programs, another shell.

use std::io::ErrorKind as Kind;

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

/// What helps against what the system says about a file.
pub(super) const fn of_system(desk: Desk, kind: Kind) -> Option<&'static str> {
    Some(match (desk, kind) {
        (Desk::Windows, Kind::StorageFull) => {
            "the disk is full: free some space ('Get-PSDrive' shows it), and run the same command again"
        }
        (Desk::Windows, Kind::QuotaExceeded) => {
            "your share of the disk is used up: free some space, and run the same command again"
        }
        (Desk::Windows, Kind::PermissionDenied) => {
            "another program, such as a virus scanner, has the file open, or you are not allowed to do that ('icacls FILE' shows who is): run the same command again, or name another folder"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: &[Hint] = &[
        Hint::PortPermission,
        Hint::MoreThreads,
        Hint::MoreDescriptors,
        Hint::OthersInStore,
        Hint::PrivateLedger,
        Hint::AttributesExample,
        Hint::TelemetryAfterEquals,
        Hint::AsciiHost,
    ];

    /// Whether a text names a program, or writes a command, that only Unix has.
    fn is_of_unix(text: &str) -> bool {
        let words = [
            "chmod",
            "chown",
            "sudo",
            "apt",
            "ulimit",
            "ls -l",
            "/dev/",
            "python3 -c",
            "timedatectl",
            " && ",
        ];
        words.iter().any(|word| text.contains(word))
    }

    #[test]
    fn nobody_on_windows_is_told_of_programs_of_unix() {
        for hint in HINTS {
            assert!(!is_of_unix(of_hint(Desk::Windows, hint).unwrap()), "{hint:?}");
        }
        for code in ErrorCode::ALL {
            let text = super::super::advice::general_at(Desk::Windows, *code);
            assert!(!is_of_unix(text), "{}: {text}", code.as_str());
        }
    }

    #[test]
    fn nobody_on_macos_is_told_of_programs_of_linux() {
        for code in ErrorCode::ALL {
            let text = super::super::advice::general_at(Desk::MacOs, *code);
            for word in ["apt", "timedatectl", "dialout"] {
                assert!(!text.contains(word), "{}: {text}", code.as_str());
            }
        }
        assert!(of_hint(Desk::MacOs, &Hint::PortPermission).unwrap().contains("/dev/cu."));
    }
}
