//! Flashing, as a whole: a board is brought into its bootloader, written, read back and started again, and the device's
//! record says which chip has its identity.

use std::time::{Duration, Instant};

use espflash::connection::Port;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Chip};
use super::build::Recipe;
use super::flash;
use super::identity::without_network;
use super::image::{Image, Part, PartName, Place};
use super::serial::SerialPort;
pub use super::subject::{HeldDevice, Subject};
use super::waiting::WaitingBoard;
use crate::clock;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Progress;
use crate::ledger::Flashed as FlashedRecord;

/// What shall be done with one board, fully decided.
#[derive(Debug)]
pub struct FlashPlan {
    /// Where the board is.
    pub port: SerialPort,
    /// The speed of the transfer.
    pub baud: u32,
    /// Any other chip than this is refused.
    pub chip: Option<Chip>,
    /// Whether the board is on a cable.
    pub ethernet: bool,
    /// What shall be done.
    pub work: Work,
}

/// What is done with the flash.
#[derive(Debug)]
pub enum Work {
    /// Everything is written, with this device's identity; without, the board keeps the one that it has.
    Everything(Program, Option<Subject>),
    /// The identity alone is written, where the board's own partition table has it.
    Identity(Subject),
    /// The identity is erased.
    EraseIdentity,
}

/// Where the firmware comes from.
#[derive(Debug)]
pub enum Program {
    /// A whole image.
    Image(Box<Image>),
    /// An application that is built already, and the text of a partition table.
    Application {
        /// Its ELF file.
        elf: Vec<u8>,
        /// The text of a `partitions.csv`.
        partitions: String,
    },
    /// It is built for the chip that is there.
    Sources(Recipe),
}

/// What was done to the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// All was written and read back.
    Flashed,
    /// The identity was erased.
    Erased,
}

/// What took how long.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Until the bootloader answered.
    pub connect: Duration,
    /// Until there was an image.
    pub build: Duration,
    /// Until all was written and read back.
    pub write: Duration,
}

/// A board that runs what was written.
#[derive(Debug)]
pub struct Flashed {
    /// How it ended.
    pub change: Change,
    /// Where the board is.
    pub port: SerialPort,
    /// Its chip.
    pub chip: Chip,
    /// The chip's MAC address, `24:0a:c4:00:00:00`.
    pub mac: String,
    /// What was written, or erased.
    pub parts: Vec<Place>,
    /// The SHA-256 of the image without an identity, where one was written.
    pub image_sha256: Option<String>,
    /// The device whose identity was written.
    pub device: Option<String>,
    /// How long it took.
    pub timings: Timings,
    /// The open port, on which the board's log follows.
    pub log: Port,
}

/// Does what the plan says. An interruption is heard at any time; a board on which nothing is half written then starts
/// again what it did before, as it does after any failure.
///
/// # Errors
/// `firmware/port`, `firmware/chip`, `firmware/flash`, `firmware/read-back`, `firmware/identity` where the board has no
/// place for one, what building and making an image fail with, and what writing the device's record fails with;
/// `interrupted`.
pub async fn flash(plan: FlashPlan, interrupt: &CancellationToken, progress: &Progress) -> Result<Flashed> {
    progress.begin(Step::Plan);
    let begin = Instant::now();
    let connecting = WaitingBoard::connect(plan.port, plan.baud, progress);
    let board = unless(interrupt, connecting).await?;
    refuse_other(&board, plan.chip, "asked for")?;
    let mut job = Job { board, interrupt, progress, timings: Timings::default() };
    job.timings.connect = begin.elapsed();
    job.warn(&plan.work, plan.ethernet);
    let (change, done) = match plan.work {
        Work::Everything(program, subject) => (Change::Flashed, job.everything(program, subject).await?),
        Work::Identity(subject) => (Change::Flashed, job.identity(subject).await?),
        Work::EraseIdentity => (Change::Erased, job.erase().await?),
    };
    let Job { board, timings, .. } = job;
    let (port, chip, mac) = (board.port.clone(), board.chip, board.mac.clone());
    let log = unless(interrupt, board.restart()).await?;
    let Done { parts, image_sha256, device } = done;
    Ok(Flashed { change, port, chip, mac, parts, image_sha256, device, timings, log })
}

struct Job<'a> {
    board: WaitingBoard,
    interrupt: &'a CancellationToken,
    progress: &'a Progress,
    timings: Timings,
}

/// What was done with the flash.
struct Done {
    parts: Vec<Place>,
    image_sha256: Option<String>,
    device: Option<String>,
}

impl Job<'_> {
    async fn everything(&mut self, program: Program, subject: Option<Subject>) -> Result<Done> {
        let begin = Instant::now();
        let mut image = unless(self.interrupt, self.image(program)).await?;
        self.progress.begin(Step::Flash);
        refuse_other(&self.board, Some(image.chip), "what the image is for")?;
        let sha256 = image.sha256();
        self.timings.build = begin.elapsed();
        let mut held = None;
        if let Some(subject) = subject {
            image = image.with_identity(subject.partition)?;
            held = Some(subject.held);
        }
        let parts = self.write(image.parts).await?;
        let device = match held {
            Some(held) => Some(self.record(held, Some(sha256.clone())).await?),
            None => None,
        };
        Ok(Done { parts, image_sha256: Some(sha256), device })
    }

    async fn identity(&mut self, subject: Subject) -> Result<Done> {
        let place = unless(self.interrupt, self.board.ask(flash::identity_place)).await?;
        let part = Part { name: PartName::Identity, offset: place.offset, bytes: subject.partition };
        let parts = self.write(vec![part]).await?;
        let device = Some(self.record(subject.held, None).await?);
        Ok(Done { parts, image_sha256: None, device })
    }

    async fn erase(&mut self) -> Result<Done> {
        let begin = Instant::now();
        let told = self.progress.clone();
        let erasing = self.board.ask(move |bootloader| flash::erase_identity(bootloader, &told));
        let place = unless(self.interrupt, erasing).await?;
        self.timings.write = begin.elapsed();
        Ok(Done { parts: vec![place], image_sha256: None, device: None })
    }

    /// The image for this very board.
    async fn image(&self, program: Program) -> Result<Image> {
        let (chip, crystal) = (self.board.chip, self.board.crystal);
        match program {
            Program::Image(image) => Ok(*image),
            Program::Application { elf, partitions } => {
                self.progress.begin(Step::Image);
                Image::for_crystal(&elf, chip, &partitions, crystal)
            }
            Program::Sources(recipe) => {
                let built = recipe.build(Board::Chip(chip), self.progress).await?;
                Image::for_crystal(&built.bytes, chip, recipe.sources.partitions(), crystal)
            }
        }
    }

    async fn write(&mut self, parts: Vec<Part>) -> Result<Vec<Place>> {
        let begin = Instant::now();
        let places = self.board.write(parts, self.interrupt, self.progress).await?;
        self.timings.write = begin.elapsed();
        Ok(places)
    }

    /// The device's record says which chip has the identity; what the device is called.
    async fn record(&self, mut held: HeldDevice, image_sha256: Option<String>) -> Result<String> {
        let now = clock::now();
        let at = now.replace_nanosecond(0).unwrap_or(now);
        let (chip, mac) = (self.board.chip.to_string(), self.board.mac.clone());
        held.note(FlashedRecord { at, chip, mac, image_sha256 }).await?;
        Ok(held.entry.shown_name().to_owned())
    }

    fn warn(&self, work: &Work, ethernet: bool) {
        let (Work::Everything(_, Some(subject)) | Work::Identity(subject)) = work else { return };
        if let Some(warning) = without_network(self.board.chip, subject.names_wifi || ethernet) {
            self.progress.warn(warning);
        }
    }
}

fn refuse_other(board: &WaitingBoard, wanted: Option<Chip>, why: &str) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != board.chip => {
            let message = format!("the board at {} is an {}; {wanted} is {why}", board.port.path, board.chip);
            Err(Error::new(ErrorCode::FirmwareChip, message).hint(Hint::OtherChip))
        }
        _ => Ok(()),
    }
}

/// Runs `work` until it ends or the user interrupts it.
async fn unless<T>(interrupt: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    interrupt.run_until_cancelled(work).await.unwrap_or_else(|| Err(Error::interrupted()))
}
