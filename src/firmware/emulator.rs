//! The firmware in QEMU: the same application, on a board that needs no hardware.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tbprov_contract::identity::time_server;
use tbprov_contract::report::{Report, Trouble};
use tbprov_contract::virt::{IDENTITY_ADDRESS, MEMORY_MIB};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::elf::{self, Elf};
use super::leftovers::Guard;
use super::program::without_our_variables;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::{Event, Progress};
use crate::files::{self, Access};
use crate::secret::Secret;
use crate::server::Host;
use crate::text::one_line;

/// The program that emulates.
pub const QEMU: &str = "qemu-system-riscv32";

/// The emulated network's name for the machine that QEMU runs on: what arrives there goes to 127.0.0.1.
const HOST_IN_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Where the board's programs are.
const MEMORY: std::ops::Range<u64> = 0x8000_0000..IDENTITY_ADDRESS as u64;

/// How long QEMU may take to read the identity, whether or not the firmware has said anything by then.
const LOADED_BY: Duration = Duration::from_secs(10);

/// Bytes of a line of the log that are kept, at the most; the firmware's own have a few hundred.
const LONGEST_LINE: u64 = 8192;
/// Bytes of QEMU's own complaint that are shown, at the most.
const LONGEST_COMPLAINT: u64 = 4096;

/// What shall be emulated.
#[derive(Debug)]
pub struct Emulation<'a> {
    /// QEMU's program.
    pub qemu: PathBuf,
    /// The firmware, built for the board `virt`.
    pub elf: PathBuf,
    /// The identity partition, with its secrets.
    pub partition: &'a [u8],
    /// Acknowledged readings after which it ends; without, it runs until it is interrupted.
    pub count: Option<u64>,
    /// How long no reading may be acknowledged.
    pub patience: Option<Duration>,
    /// More arguments for QEMU.
    pub qemu_arguments: Vec<String>,
}

/// What an emulation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emulated {
    /// Readings that the server acknowledged.
    pub acknowledged: u64,
    /// Whether the user ended it.
    pub interrupted: bool,
}

/// Where the emulated board finds `host`, which this machine resolves: it has no view of this machine's own names,
/// and reaches its loopback by another address.
///
/// # Errors
/// `network/resolve` where the host has no address, or none that the emulated board can reach.
pub async fn address_in_guest(host: &Host, port: u16) -> Result<SocketAddrV4> {
    let failed = |why: String| Error::new(ErrorCode::NetworkResolve, why);
    let found = tokio::net::lookup_host((host.to_string(), port))
        .await
        .map_err(|error| failed(format!("'{host}' has no address: {error}")).source(error))?;
    let found = found.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    });
    let found: Vec<_> = found.collect();
    let reachable = found.iter().find_map(|address| match *address {
        Ipv4Addr::LOCALHOST | Ipv4Addr::UNSPECIFIED => Some(HOST_IN_GUEST),
        address if address.is_loopback() => None,
        address => Some(address),
    });
    reachable.map(|address| SocketAddrV4::new(address, port)).ok_or_else(|| {
        failed(format!("the emulated board cannot reach '{host}': it speaks IPv4, and knows 127.0.0.1 only of this machine's loopback addresses"))
            .hint(Hint::ServerForEmulator)
    })
}

/// As [`address_in_guest`], for an SNTP server given as `HOST` or `HOST:PORT`.
///
/// # Errors
/// `usage/invalid-value` for anything else, and those of [`address_in_guest`].
pub async fn time_server_in_guest(text: &str) -> Result<String> {
    let Some((host, port)) = time_server(text) else {
        let message = format!("'{text}' is no time server: expected HOST or HOST:PORT");
        return Err(Error::new(ErrorCode::UsageInvalid, message));
    };
    Ok(address_in_guest(&host.parse()?, port).await?.to_string())
}

/// Whether `elf` is a program for the emulated board. QEMU would load another one, and run nothing.
///
/// # Errors
/// `firmware/image`.
pub fn check(elf: &[u8]) -> Result<()> {
    let elf = Elf::parse(elf)?;
    if elf.is_xtensa() || !MEMORY.contains(&elf.entry()) {
        return Err(elf::refused("the application is not for the board 'virt'").hint(Hint::BuildForEmulator));
    }
    Ok(())
}

impl Emulation<'_> {
    /// Runs until enough readings are acknowledged, something final happens, or the user interrupts it. Each line
    /// of the firmware's log is told to `observer`.
    ///
    /// # Errors
    /// `firmware/emulator` when QEMU is missing or ends by itself, `firmware/panic`, `firmware/identity` when the
    /// firmware refuses the identity; and where no reading is acknowledged in time, the firmware's last trouble.
    pub async fn run(&self, interrupt: &CancellationToken, progress: &Progress) -> Result<Emulated> {
        let identity = IdentityFile::new(self.partition)?;
        let mut machine = Qemu::start(self, &identity.path)?;
        let mut identity = Some(identity);
        let loaded_by = Instant::now() + LOADED_BY;
        let mut watch = Watch { emulation: self, acknowledged: 0, trouble: None, since: Instant::now() };
        loop {
            let line = tokio::select! {
                biased;
                () = interrupt.cancelled() => {
                    return Ok(Emulated { acknowledged: watch.acknowledged, interrupted: true });
                }
                // Before the log: one without end would always have the next line ready.
                () = watch.patience_ends() => return Err(watch.gave_up()),
                () = tokio::time::sleep_until(loaded_by), if identity.is_some() => {
                    identity = None;
                    continue;
                }
                line = machine.line() => line?,
            };
            let Some(line) = line else { return Err(machine.ended().await) };
            // The machine runs, so it has read the file.
            identity = None;
            progress.event(&Event::Log { line: line.clone() });
            watch.hear(&line)?;
            if self.count.is_some_and(|count| watch.acknowledged >= count) {
                return Ok(Emulated { acknowledged: watch.acknowledged, interrupted: false });
            }
        }
    }
}

/// Follows what the log says.
struct Watch<'a> {
    emulation: &'a Emulation<'a>,
    acknowledged: u64,
    trouble: Option<(Trouble, String)>,
    /// When the last reading was acknowledged.
    since: Instant,
}

impl Watch<'_> {
    fn hear(&mut self, line: &str) -> Result<()> {
        match Report::of(line) {
            Some(Report::Acknowledged) => {
                self.acknowledged += 1;
                self.since = Instant::now();
                self.trouble = None;
            }
            Some(Report::Trouble(trouble, words)) if trouble.is_final() => {
                return Err(failed(trouble, words));
            }
            Some(Report::Trouble(trouble, words)) => self.trouble = Some((trouble, words.to_owned())),
            Some(Report::Panic(message)) => {
                let message = format!("the firmware panicked: {message}");
                return Err(Error::new(ErrorCode::FirmwarePanic, message));
            }
            None => {}
        }
        Ok(())
    }

    async fn patience_ends(&self) {
        match self.emulation.patience {
            Some(patience) => tokio::time::sleep_until(self.since + patience).await,
            None => std::future::pending().await,
        }
    }

    fn gave_up(&self) -> Error {
        if let Some((trouble, words)) = &self.trouble {
            return failed(*trouble, words);
        }
        let patience = self.emulation.patience.unwrap_or_default().as_secs();
        let message = format!("the firmware got no reading acknowledged in {patience} s");
        Error::new(ErrorCode::NetworkTimeout, message).hint(Hint::EmulatorGaveUp)
    }
}

/// The tool's own error for what the firmware reported.
fn failed(trouble: Trouble, words: &str) -> Error {
    let code = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == trouble.code());
    Error::new(code.unwrap_or(ErrorCode::Bug), format!("the firmware reports: {words}"))
}

/// A running QEMU. It ends with this value.
struct Qemu {
    _group: Option<Guard>,
    child: Child,
    log: BufReader<ChildStdout>,
    /// Ends with what it complained about.
    complaint: JoinHandle<Vec<u8>>,
    /// The line that is being received.
    partial: Vec<u8>,
}

impl Qemu {
    fn start(emulation: &Emulation, identity: &Path) -> Result<Self> {
        let mut command = Command::new(&emulation.qemu);
        command
            .args(["-M", "virt", "-bios", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-m", &format!("{MEMORY_MIB}M")])
            .args(["-global", "virtio-mmio.force-legacy=false"])
            .args(["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"])
            .args(["-device", "virtio-rng-device"])
            .arg("-kernel")
            .arg(&emulation.elf)
            .args(["-device", &loader(identity)])
            .args(&emulation.qemu_arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        without_our_variables(command.as_std_mut());
        // In a group of its own: Ctrl-C is this program's to handle.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| cannot_start(&emulation.qemu, error))?;
        let group = Guard::group(&child);
        let (Some(log), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::new(ErrorCode::Bug, "the emulator has no standard output"));
        };
        let complaint = tokio::spawn(beginning(stderr));
        Ok(Self { _group: group, child, log: BufReader::new(log), complaint, partial: Vec::new() })
    }

    /// The next line of the log, or `None` at its end. May be dropped and called again.
    async fn line(&mut self) -> Result<Option<String>> {
        let failed = |error: io::Error| {
            let message = format!("the emulator's log cannot be read: {error}");
            Error::new(ErrorCode::FirmwareEmulator, message).source(error)
        };
        loop {
            let room = LONGEST_LINE.saturating_sub(self.partial.len() as u64);
            let read =
                (&mut self.log).take(room).read_until(b'\n', &mut self.partial).await.map_err(failed)?;
            let is_whole = self.partial.ends_with(b"\n") || self.partial.len() as u64 >= LONGEST_LINE;
            if is_whole || (read == 0 && !self.partial.is_empty()) {
                let line = std::mem::take(&mut self.partial);
                return Ok(Some(one_line(String::from_utf8_lossy(&line).trim_end(), line.len())));
            }
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// Why it ended by itself.
    async fn ended(mut self) -> Error {
        let complaint = (&mut self.complaint).await.unwrap_or_default();
        let status = self.child.wait().await.map_or_else(|error| error.to_string(), shown);
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint = one_line(&complaint.lines().collect::<Vec<_>>().join("; "), complaint.len());
        let message = format!("the emulator ended by itself ({status}) {}", complaint.trim());
        Error::new(ErrorCode::FirmwareEmulator, message.trim_end()).hint(Hint::QemuArguments)
    }
}

/// The beginning of what QEMU complains about. All of it is read: one that waits for a reader emulates nothing.
async fn beginning(mut stderr: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let _ = (&mut stderr).take(LONGEST_COMPLAINT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    kept
}

fn shown(status: ExitStatus) -> String {
    status.code().map_or_else(|| "by a signal".to_owned(), |code| format!("exit code {code}"))
}

/// QEMU takes a comma for the end of a value, unless it is doubled.
fn loader(identity: &Path) -> String {
    let file = identity.display().to_string().replace(',', ",,");
    format!("loader,file={file},addr={IDENTITY_ADDRESS:#x},force-raw=on")
}

fn cannot_start(qemu: &Path, error: io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::NotFound => format!("{} is not installed", crate::text::shown_path(qemu)),
        _ => format!("{} cannot be started: {error}", crate::text::shown_path(qemu)),
    };
    Error::new(ErrorCode::FirmwareEmulator, message).source(error)
}

/// The identity in a file that only its owner can read, for as long as it takes QEMU to load it.
struct IdentityFile {
    _folder: Guard,
    path: PathBuf,
}

impl IdentityFile {
    fn new(partition: &[u8]) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("tbprov-{}", Secret::random(16)?.expose()));
        let folder = Guard::folder(directory.clone());
        files::create_directory(&directory)?;
        let path = directory.join("identity.bin");
        files::write_new(&path, partition, Access::Owner)?;
        Ok(Self { _folder: folder, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_of_the_firmware_is_an_error_of_the_tool() {
        for trouble in Trouble::ALL {
            assert_eq!(failed(*trouble, "words").code.as_str(), trouble.code());
        }
    }

    #[tokio::test]
    async fn loopback_is_reached_by_the_emulators_own_name_for_it() {
        assert_eq!(
            address_in_guest(&"127.0.0.1".parse().unwrap(), 8883).await.unwrap().to_string(),
            "10.0.2.2:8883"
        );
        assert_eq!(
            address_in_guest(&"192.0.2.1".parse().unwrap(), 1).await.unwrap().to_string(),
            "192.0.2.1:1"
        );
        assert_eq!(
            address_in_guest(&"127.0.0.9".parse().unwrap(), 1).await.unwrap_err().code,
            ErrorCode::NetworkResolve
        );
        assert_eq!(
            address_in_guest(&"::1".parse().unwrap(), 1).await.unwrap_err().code,
            ErrorCode::NetworkResolve
        );
        assert_eq!(time_server_in_guest("127.0.0.1:1123").await.unwrap(), "10.0.2.2:1123");
        assert_eq!(time_server_in_guest("127.0.0.1").await.unwrap(), "10.0.2.2:123");
    }
}
