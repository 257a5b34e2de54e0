//! The bootloader of a board that is connected: what it is asked, and what its answers mean.
//!
//! espflash resets the chip into its bootloader and uploads Espressif's flasher stub. The commands for the flash
//! are sent from here, one block at a time, so that an interruption is heard between two of them, and so that an
//! answer that lost a byte on the line is an error like any other.

use std::io::Write as _;
use std::time::Duration;

use espflash::command::{Command, CommandResponseValue, CommandType};
use espflash::connection::{Connection, Port, ResetAfterOperation, ResetBeforeOperation};
use espflash::flasher::Flasher;
use flate2::Compression;
use flate2::write::{ZlibDecoder, ZlibEncoder};
use md5::{Digest as _, Md5};
use serialport::SerialPort as _;
use zeroize::Zeroizing;

use super::board::{Chip, Crystal};
use super::partitions::SECTOR;
use super::serial::{BAUD, SerialPort};
use crate::error::{Error, ErrorCode, Hint, Result};

/// Answers to earlier commands that are passed over while one is awaited.
const STRAY_ANSWERS: usize = 100;

/// What espflash says of a command.
type Answer<T = ()> = std::result::Result<T, espflash::Error>;

/// A board whose bootloader answers.
#[derive(Debug)]
pub(super) struct Bootloader {
    flasher: Flasher,
    port: SerialPort,
    chip: Chip,
    mac: String,
    crystal: Option<Crystal>,
    /// Whether the port has the lines that reset a board; a pseudo-terminal has none.
    has_control_lines: bool,
}

impl Bootloader {
    /// Brings the board at `port`, opened as `serial` at [`BAUD`], into its bootloader, and then speaks at `baud`.
    /// Takes about a second; up to 15 where nothing answers.
    ///
    /// # Errors
    /// `firmware/port` when the port goes away; `firmware/chip` when nothing answers, or a chip that has no firmware.
    pub(super) fn connect(port: &SerialPort, mut serial: Port, baud: u32) -> Result<Self> {
        let has_control_lines = serial.read_data_set_ready().is_ok();
        let before = if has_control_lines {
            ResetBeforeOperation::DefaultReset
        } else {
            ResetBeforeOperation::NoReset
        };
        // A reset after each part would end the stub; there is one at the end.
        let after = ResetAfterOperation::NoResetNoStub;
        let connection = Connection::new(serial, port.usb_info(), after, before, BAUD);
        let faster = Some(baud).filter(|baud| *baud > BAUD);
        let mut flasher = Flasher::connect(connection, true, false, false, None, faster)
            .map_err(|error| not_connected(port, error))?;
        if flasher.secure_download_mode() {
            let message = format!(
                "the chip at {} is in secure download mode: its flash cannot be read back",
                port.path
            );
            return Err(Error::new(ErrorCode::FirmwareChip, message).hint(Hint::SecureBoot));
        }
        let target = flasher.chip();
        let chip = Chip::of(target).ok_or_else(|| {
            let message = format!("the board is an {target}, for which there is no firmware");
            Error::new(ErrorCode::FirmwareChip, message).hint(Hint::ChipsWithBootloader)
        })?;
        let mac = target.mac_address(flasher.connection()).map_err(|error| not_connected(port, error))?;
        let crystal = match chip.has_crystals() {
            true => target.xtal_frequency(flasher.connection()).ok().map(Crystal),
            false => None,
        };
        flasher.disable_watchdog().map_err(|error| not_connected(port, error))?;
        Ok(Self { flasher, port: port.clone(), chip, mac, crystal, has_control_lines })
    }

    /// Which chip it is.
    pub(super) const fn chip(&self) -> Chip {
        self.chip
    }

    /// Its address, which is the chip's name for ever: `24:0a:c4:00:00:00`.
    pub(super) fn mac(&self) -> &str {
        &self.mac
    }

    /// The board's crystal, for those chips whose bootloader depends on it.
    pub(super) const fn crystal(&self) -> Option<Crystal> {
        self.crystal
    }

    /// The port.
    pub(super) const fn port(&self) -> &SerialPort {
        &self.port
    }

    /// Starts what is in the flash, and gives the port back, at [`BAUD`].
    ///
    /// # Errors
    /// `firmware/port` when the port has gone away.
    pub(super) fn restart(mut self) -> Result<Port> {
        let connection = self.flasher.connection();
        let done = if self.has_control_lines {
            connection.reset()
        } else {
            connection.write_command(Command::RunUserCode)
        };
        let done = done.and_then(|()| connection.set_baud(BAUD));
        done.map_err(|error| {
            let message = format!("the board at {} was written, but could not be restarted", self.port.path);
            Error::new(ErrorCode::FirmwarePort, message).hint(Hint::PressReset).source(error)
        })?;
        Ok(self.flasher.into())
    }

    /// Writes `content` at `offset`, compressed; `go_on` is asked before every block, with the bytes that are in
    /// the flash by then. False when it said no.
    pub(super) fn write(
        &mut self,
        offset: u32,
        content: &[u8],
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Answer<bool> {
        let block_size = self.flasher.chip().stub_flash_write_size();
        let compressed = compressed(content)?;
        let blocks = compressed.chunks(block_size);
        let begin = Command::FlashDeflBegin {
            size: size(content.len()),
            blocks: size(blocks.len()),
            block_size: size(block_size),
            offset,
            supports_encryption: false,
        };
        self.ask(begin, content.len().next_multiple_of(SECTOR as usize))?;
        // The chip needs its time for what a block becomes, not for the block. What that is may be a private key, of
        // which no further copy is kept.
        let mut unpacked = ZlibDecoder::new(std::io::sink());
        let mut done = 0;
        for (sequence, data) in blocks.enumerate() {
            if !go_on(done) {
                return Ok(false);
            }
            unpacked.write_all(data)?;
            unpacked.flush()?;
            let by_then = usize::try_from(unpacked.total_out()).unwrap_or(usize::MAX);
            let block = Command::FlashDeflData { data, pad_to: 0, pad_byte: 0xff, sequence: size(sequence) };
            self.ask(block, by_then - done)?;
            done = by_then;
        }
        self.ask(Command::FlashDeflEnd { reboot: false }, 0)?;
        Ok(true)
    }

    /// The MD5 of `length` bytes of the flash from `offset` on, computed by the chip.
    pub(super) fn md5(&mut self, offset: u32, length: usize) -> Answer<[u8; 16]> {
        match self.ask(Command::FlashMd5 { offset, size: size(length) }, length)? {
            CommandResponseValue::ValueU128(digest) => Ok(digest.to_be_bytes()),
            _ => Err(senseless("an MD5 of another length")),
        }
    }

    /// Erases whole sectors.
    pub(super) fn erase(&mut self, offset: u32, length: usize) -> Answer {
        self.ask(Command::EraseRegion { offset, size: size(length) }, length).map(drop)
    }

    /// Reads the flash, and checks what came by its MD5.
    pub(super) fn read(&mut self, offset: u32, length: usize) -> Answer<Vec<u8>> {
        let command = Command::ReadFlash { offset, size: size(length), block_size: SECTOR, max_in_flight: 1 };
        self.ask(command, length)?;
        let connection = self.flasher.connection();
        let mut content = Vec::with_capacity(length);
        while content.len() < length {
            let packet = next_packet(connection)?;
            if packet.is_empty() || content.len() + packet.len() > length {
                return Err(senseless("a packet of a length that was not asked for"));
            }
            content.extend_from_slice(&packet);
            connection.write_raw(size(content.len()))?;
        }
        if next_packet(connection)? != Md5::digest(&content).as_slice() {
            return Err(senseless("another MD5 than that of what it sent"));
        }
        Ok(content)
    }

    /// Sends a command about `length` bytes of the flash and awaits its answer, as long as that may take.
    fn ask(&mut self, command: Command<'_>, length: usize) -> Answer<CommandResponseValue> {
        let kind = command.command_type();
        let patience = match kind {
            CommandType::FlashDeflEnd => Duration::from_secs(10),
            _ => command.timeout_for_size(size(length)),
        };
        self.flasher.connection().with_timeout(patience, |connection| {
            connection.write_command(command)?;
            for _ in 0..STRAY_ANSWERS {
                match connection.read_response_for_command(kind)? {
                    Some(answer) if answer.return_op != kind as u8 => {}
                    Some(answer) if answer.status == 0 => return Ok(answer.value),
                    Some(answer) => return Err(senseless(&format!("error {:#04x} to {kind}", answer.error))),
                    None => {}
                }
            }
            Err(senseless("nothing that belongs to the question"))
        })
    }
}

fn next_packet(connection: &mut Connection) -> Answer<Vec<u8>> {
    connection.read_flash_response()?.map_or_else(|| Ok(Vec::new()), |packet| packet.value.try_into())
}

/// Wiped like what it was made of. There is room for all of it from the beginning (zlib, `deflateBound`): a buffer that
/// grows leaves copies behind.
fn compressed(content: &[u8]) -> Answer<Zeroizing<Vec<u8>>> {
    let room = content.len() + content.len() / 1000 + 64;
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(room), Compression::best());
    encoder.write_all(content)?;
    Ok(Zeroizing::new(encoder.finish()?))
}

/// No flash comes near 4 GiB.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn senseless(what: &str) -> espflash::Error {
    espflash::Error::InvalidResponse(what.to_owned())
}

/// Why a question to a board that had answered before failed, in words.
pub(super) fn reason(port: &SerialPort, error: &espflash::Error) -> String {
    match error {
        _ if !port.is_there() => format!("{} has gone away", port.path),
        espflash::Error::InvalidResponse(what) => format!("the board answered {what}"),
        _ => "the board stopped answering".to_owned(),
    }
}

fn not_connected(port: &SerialPort, error: espflash::Error) -> Error {
    let path = &port.path;
    let (code, message) = match &error {
        _ if !port.is_there() => (ErrorCode::FirmwarePort, format!("{path} has gone away")),
        espflash::Error::ChipDetectError(_) => {
            (ErrorCode::FirmwareChip, format!("what answers at {path} is no chip that tbprov knows"))
        }
        espflash::Error::FlashConnect => {
            (ErrorCode::FirmwareChip, format!("the chip at {path} finds no flash"))
        }
        espflash::Error::Connection(_) => {
            (ErrorCode::FirmwareChip, format!("no bootloader answers at {path}"))
        }
        _ => (ErrorCode::FirmwareChip, format!("what answers at {path} does not speak as a bootloader does")),
    };
    Error::new(code, message).source(error)
}
