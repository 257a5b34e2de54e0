//! Serial ports: which there are, which of them look like a board, opening one.

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use espflash::connection::Port;
use serde::Serialize;
use serialport::{ErrorKind as SerialErrorKind, SerialPortType, UsbPortInfo};

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text::one_line;

/// Baud of the bootloader's first words, and of the firmware's log.
pub const BAUD: u32 = 115_200;

/// How long one read or write may take; operations on the flash set their own.
const PATIENCE: Duration = Duration::from_secs(3);

/// USB vendors of boards with these chips: Espressif itself (a chip's own USB), and the makers of the usual
/// bridges: Silicon Labs CP210x, WCH CH34x and CH91xx, FTDI, Prolific.
const VENDORS: &[u16] = &[0x303a, 0x10c4, 0x1a86, 0x0403, 0x067b];

/// A serial port of this machine, or a path that somebody named.
#[derive(Debug, Clone, Serialize)]
pub struct SerialPort {
    /// What to open: `/dev/ttyUSB0`, `COM3`.
    pub path: String,
    /// The USB vendor and product, where it is a USB device.
    #[serde(skip)]
    pub usb: Option<(u16, u16)>,
    /// What the USB device calls itself.
    #[serde(skip)]
    pub product: Option<String>,
}

impl SerialPort {
    /// Whether it is a USB device of a vendor whose bridges, or chips, these boards have.
    pub fn looks_like_a_board(&self) -> bool {
        self.usb.is_some_and(|(vendor, _)| VENDORS.contains(&vendor))
    }

    /// What espflash wants to know: the product decides how a chip is reset.
    pub(super) fn usb_info(&self) -> UsbPortInfo {
        let (vid, pid) = self.usb.unwrap_or_default();
        UsbPortInfo { vid, pid, serial_number: None, manufacturer: None, product: None }
    }

    /// Opens it at `baud`.
    ///
    /// # Errors
    /// `firmware/port`.
    pub fn open(&self, baud: u32) -> Result<Port> {
        serialport::new(&self.path, baud)
            .timeout(PATIENCE)
            .open_native()
            .map_err(|error| cannot_open(&self.path, error))
    }

    /// Whether the port is still there: a USB device that is unplugged takes it along.
    pub(super) fn is_there(&self) -> bool {
        cfg!(windows) || Path::new(&self.path).exists()
    }
}

impl fmt::Display for SerialPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)?;
        match (&self.usb, &self.product) {
            (Some((vendor, product)), Some(name)) => {
                write!(formatter, " ({name}, {vendor:04x}:{product:04x})")
            }
            (Some((vendor, product)), None) => write!(formatter, " ({vendor:04x}:{product:04x})"),
            _ => Ok(()),
        }
    }
}

/// Every serial port that the system knows, those that look like a board first.
///
/// # Errors
/// `firmware/port` when the system's list cannot be read.
pub fn ports() -> Result<Vec<SerialPort>> {
    // Without it there are none, and the library underneath would panic.
    if cfg!(target_os = "linux") && !Path::new("/sys/class/tty").is_dir() {
        return Ok(Vec::new());
    }
    let known = serialport::available_ports().map_err(|error| {
        let message = format!("the serial ports cannot be listed: {error}");
        Error::new(ErrorCode::FirmwarePort, message).source(error)
    })?;
    let mut ports: Vec<_> = known.into_iter().filter_map(port).collect();
    ports.sort_by_key(|port| (!port.looks_like_a_board(), port.path.clone()));
    Ok(ports)
}

fn port(known: serialport::SerialPortInfo) -> Option<SerialPort> {
    // macOS has each port twice; opening the tty one would wait for a carrier.
    if cfg!(target_os = "macos") && known.port_name.starts_with("/dev/tty.") {
        return None;
    }
    match known.port_type {
        SerialPortType::UsbPort(usb) => Some(SerialPort {
            path: known.port_name,
            usb: Some((usb.vid, usb.pid)),
            product: usb.product.map(|product| one_line(&product, 80)),
        }),
        SerialPortType::BluetoothPort => None,
        _ => Some(SerialPort { path: known.port_name, usb: None, product: None }),
    }
}

/// The port at `path`, whatever it is, with what the system knows about it.
pub fn named(path: &str) -> SerialPort {
    let real = std::fs::canonicalize(path).ok();
    let is_it = |port: &SerialPort| {
        port.path == path || (real.is_some() && real == Path::new(&port.path).canonicalize().ok())
    };
    let known = ports().unwrap_or_default().into_iter().find(is_it);
    SerialPort {
        path: path.to_owned(),
        ..known.unwrap_or(SerialPort { path: String::new(), usb: None, product: None })
    }
}

/// The ports among which the board is.
///
/// # Errors
/// `firmware/port` when there is none, with the others that there are.
pub fn candidates() -> Result<Vec<SerialPort>> {
    let (boards, others): (Vec<_>, Vec<_>) = ports()?.into_iter().partition(SerialPort::looks_like_a_board);
    if !boards.is_empty() {
        return Ok(boards);
    }
    let message = if others.is_empty() {
        "no serial port is there".to_owned()
    } else {
        let listed: Vec<_> = others.iter().map(ToString::to_string).collect();
        format!("no serial port looks like a board; there are {}", listed.join(", "))
    };
    Err(Error::new(ErrorCode::FirmwarePort, message).hint(Hint::NoPort))
}

/// The board's port, when there is one board.
///
/// # Errors
/// `firmware/port` when there is none or there are several.
pub fn only() -> Result<SerialPort> {
    let mut boards = candidates()?;
    if boards.len() == 1 {
        return Ok(boards.remove(0));
    }
    let listed: Vec<_> = boards.iter().map(ToString::to_string).collect();
    let message = format!("{} ports look like a board: {}", boards.len(), listed.join(", "));
    Err(Error::new(ErrorCode::FirmwarePort, message).hint(Hint::ChoosePort))
}

/// Why `path` cannot be used by this user, if that can be said without opening it, which would reset a board.
pub fn not_allowed(path: &str) -> Option<Error> {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        let refused = access(path, Access::READ_OK | Access::WRITE_OK).err()?;
        (refused == rustix::io::Errno::ACCESS).then(|| no_permission(path))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

fn no_permission(path: &str) -> Error {
    let message = format!("{path} is there, but this user may not open it");
    Error::new(ErrorCode::FirmwarePort, message).hint(Hint::PortPermission)
}

fn cannot_open(path: &str, error: serialport::Error) -> Error {
    let failed = |message: String| Error::new(ErrorCode::FirmwarePort, message);
    let made = match error.kind() {
        SerialErrorKind::Io(std::io::ErrorKind::PermissionDenied) => no_permission(path),
        SerialErrorKind::Io(std::io::ErrorKind::NotFound) => {
            failed(format!("there is no port {path}")).hint(Hint::PortMissing)
        }
        SerialErrorKind::NoDevice => {
            failed(format!("{path} is used by another program, or has gone away")).hint(Hint::PortBusy)
        }
        _ => failed(format!("{path} cannot be opened as a serial port: {error}")),
    };
    made.source(error)
}
