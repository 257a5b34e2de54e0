//! `tbprov firmware flash`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use zeroize::Zeroizing;

use super::super::context::Context;
use super::build_args::{BuildArgs, clap_chip, named_chip, read_elf, read_file};
use super::flash_result::{FlashResult, Timings};
use super::identity_args::IdentityArgs;
use super::monitor::WatchArgs;
use super::port_args::{PortArgs, blocking};
use tbprov::error::Hint;
use tbprov::event::Event;
use tbprov::firmware::image::Part;
use tbprov::firmware::serial::SerialPort;
use tbprov::firmware::{Board, Bootloader, Image, flash};
use tbprov::ledger::folder::{Device, DeviceLock, Flashed};
use tbprov::{Error, ErrorCode, Result, Step};

/// What bridges and boards manage nearly always; the chip's own USB does not care.
const BAUD: u32 = 460_800;
/// What the flash of any of these chips can hold.
const LARGEST_IMAGE: u64 = 16 << 20;
/// How long an interrupted write may take to end between two blocks.
const GRACE: Duration = Duration::from_secs(5);

/// Put the firmware on a board, and with --device a device's identity. All that is written is read back and compared.
///
/// Without --device the board keeps the identity that it has. The firmware is the same for every device: a production
/// line builds it once, and uses --identity-only for what differs.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirmwareFlashArgs {
    #[command(flatten)]
    port: PortArgs,
    /// Refuse any other chip than this [default: chip in tbprov.toml, else whatever is there].
    #[arg(long, env = "TBPROV_CHIP", value_name = "CHIP", value_parser = clap_chip)]
    chip: Option<Board>,
    /// The device whose identity goes on the board [default with --identity-only: the store's only one].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Write the identity alone, where the board's own partition table has it; nothing is built.
    #[arg(long, conflicts_with_all = ["elf", "image", "erase_identity"])]
    identity_only: bool,
    /// Erase the identity on the board, and nothing else.
    #[arg(long, conflicts_with_all = ["elf", "image", "device"])]
    erase_identity: bool,
    /// An application that is built already [default: build it].
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    elf: Option<PathBuf>,
    /// A file that 'tbprov firmware image' wrote [default: build it].
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The speed of the transfer.
    #[arg(long, value_name = "BAUD", default_value_t = BAUD)]
    baud: u32,
    /// Show the board's log afterwards, until Ctrl-] or Ctrl-C; scripts run 'tbprov firmware monitor --until'
    /// instead.
    #[arg(long)]
    monitor: bool,
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// A device of the store, locked, and the bytes of its identity partition.
struct Subject {
    device: Device,
    identity: Zeroizing<Vec<u8>>,
    _lock: DeviceLock,
}

/// A run's board and what it took so far.
struct Run {
    board: Bootloader,
    port: SerialPort,
    timings: Timings,
}

impl FirmwareFlashArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        // What can be refused is, before the board is touched.
        let wanted = named_chip(self.chip, context)?;
        let subject = context.interruptible(self.subject(context)).await?;
        let image = self.image_file(wanted)?;

        let run = self.connect(context, wanted).await?;
        if subject.is_some() {
            self.identity.warn_without_wifi(context, &self.build, run.board.board());
        }
        let (board, result) = if self.erase_identity {
            erase(context, run).await?
        } else if self.identity_only {
            self.write_identity(context, run, subject).await?
        } else {
            self.write_all(context, run, subject, image).await?
        };

        let port = board.port().clone();
        let opened = context.interruptible(blocking(move || board.restart())).await?;
        context.output.result("firmware flash", &result);
        if self.monitor {
            return WatchArgs::default()
                .run(context, &port, opened, None)
                .await
                .map(|(_, exit_code)| exit_code);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The named device; with `--identity-only` the store's only one too.
    async fn subject(&self, context: &Context) -> Result<Option<Subject>> {
        if self.device.is_none() && !self.identity_only {
            return Ok(None);
        }
        let (device, dialer) = self.identity.device(context, self.device.as_deref())?;
        let identity = self.identity.partition(context, &device, &dialer).await?;
        let lock = context.store.lock(device.record.device.as_deref())?;
        Ok(Some(Subject { device, identity, _lock: lock }))
    }

    /// The image of `--image`.
    fn image_file(&self, wanted: Option<Board>) -> Result<Option<Image>> {
        let Some(path) = &self.image else { return Ok(None) };
        let image = Image::from_file(&Zeroizing::new(read_file(path, LARGEST_IMAGE)?))?;
        match wanted {
            Some(wanted) if wanted != image.board => {
                let message = format!("{} is for {}, not for {wanted}", path.display(), image.board);
                Err(Error::new(ErrorCode::FirmwareImage, message).hint(Hint::NameChip))
            }
            _ => Ok(Some(image)),
        }
    }

    /// Finds the board and brings it into its bootloader.
    async fn connect(&self, context: &Context, wanted: Option<Board>) -> Result<Run> {
        let port = context.interruptible(self.port.find(context)).await?;
        let what = format!("the bootloader at {}", port.path);
        context.progress.event(&Event::Started { step: Step::Flash, what });
        let begin = Instant::now();
        let (found, baud) = (port.clone(), self.baud);
        let board = context.interruptible(blocking(move || Bootloader::connect(&found, baud))).await?;
        context.progress.event(&Event::BoardConnected {
            port: port.path.clone(),
            chip: board.board().name(),
            mac: board.mac().to_owned(),
        });
        let timings = Timings { connect: begin.elapsed(), ..Timings::default() };
        refuse_other(Run { board, port, timings }, wanted, "asked for").await
    }

    async fn write_identity(
        &self,
        context: &Context,
        mut run: Run,
        subject: Option<Subject>,
    ) -> Result<(Bootloader, FlashResult)> {
        let Some(Subject { mut device, mut identity, _lock }) = subject else {
            return Err(Error::new(ErrorCode::Bug, "no device for --identity-only"));
        };
        let begin = Instant::now();
        let (run, region) = context
            .interruptible(blocking(move || {
                let region = flash::identity_region(&mut run.board);
                Ok((run, region))
            }))
            .await?;
        let (mut run, region) = run.or_restart(region).await?;
        let parts =
            vec![Part { name: "identity", offset: region.offset, bytes: std::mem::take(&mut identity) }];
        let (board, parts) = write(context, run.board, parts).await?;
        run.timings.write = begin.elapsed();
        record(&mut device, &board, None)?;
        Ok(FlashResult::new("flashed", &board, &run.port, &parts, run.timings).of(&device).done(board))
    }

    async fn write_all(
        &self,
        context: &Context,
        mut run: Run,
        subject: Option<Subject>,
        image: Option<Image>,
    ) -> Result<(Bootloader, FlashResult)> {
        let begin = Instant::now();
        let mut image = match image {
            Some(image) => image,
            None => {
                let megahertz = run.board.crystal_megahertz();
                let built = context.interruptible(self.built(context, run.board.board(), megahertz)).await;
                let (unchanged, built) = run.or_restart(built).await?;
                run = unchanged;
                built
            }
        };
        run = refuse_other(run, Some(image.board), "what the image is for").await?;
        let sha256 = image.sha256();
        run.timings.build = begin.elapsed();
        let (mut device, _lock) = match subject {
            Some(Subject { device, identity, _lock }) => {
                image = image.with_identity(identity)?;
                (Some(device), Some(_lock))
            }
            None => (None, None),
        };
        let begin = Instant::now();
        let (board, parts) = write(context, run.board, image.parts).await?;
        run.timings.write = begin.elapsed();
        let mut result = FlashResult::new("flashed", &board, &run.port, &parts, run.timings).image(&sha256);
        if let Some(device) = &mut device {
            record(device, &board, Some(sha256))?;
            result = result.of(device);
        }
        Ok(result.done(board))
    }

    /// The image for this chip, built where no application is given.
    async fn built(&self, context: &Context, board: Board, megahertz: Option<u32>) -> Result<Image> {
        match &self.elf {
            Some(elf) => {
                Image::for_crystal(&read_elf(elf)?, board, &self.build.partitions(context)?, megahertz)
            }
            None => {
                let built = self.build.build(context, board).await?;
                Image::for_crystal(&built.bytes, board, &built.plan.sources.partitions()?, megahertz)
            }
        }
    }
}

async fn refuse_other(run: Run, wanted: Option<Board>, why: &str) -> Result<Run> {
    match wanted {
        Some(wanted) if wanted != run.board.board() => {
            let message =
                format!("the board at {} is an {}; {wanted} is {why}", run.port.path, run.board.board());
            let error = Error::new(ErrorCode::FirmwareChip, message).hint(Hint::OtherChip);
            run.or_restart(Err(error)).await.map(|(run, ())| run)
        }
        _ => Ok(run),
    }
}

impl Run {
    /// Where it was not done: a board whose program was not touched does again what it did before.
    async fn or_restart<T>(self, done: Result<T>) -> Result<(Self, T)> {
        match done {
            Ok(done) => Ok((self, done)),
            Err(error) => {
                // What went wrong first is what matters.
                let _ = blocking(move || self.board.restart().map(drop)).await;
                Err(error)
            }
        }
    }
}

async fn erase(context: &Context, mut run: Run) -> Result<(Bootloader, FlashResult)> {
    let begin = Instant::now();
    let progress = context.progress.clone();
    let (run, region) = context
        .interruptible(blocking(move || {
            let region = flash::erase_identity(&mut run.board, &progress);
            Ok((run, region))
        }))
        .await?;
    let (Run { board, port, mut timings }, region) = run.or_restart(region).await?;
    timings.write = begin.elapsed();
    Ok(FlashResult::new("erased", &board, &port, &[], timings).erased(region).done(board))
}

/// Writes and reads back. An interruption is heard between two blocks, and awaited so long.
async fn write(
    context: &Context,
    mut board: Bootloader,
    parts: Vec<Part>,
) -> Result<(Bootloader, Vec<Part>)> {
    let (cancelled, progress) = (context.interrupt.clone(), context.progress.clone());
    let mut writing = std::pin::pin!(blocking(move || {
        flash::write(&mut board, &parts, &cancelled, &progress)?;
        Ok((board, parts))
    }));
    tokio::select! {
        done = &mut writing => done,
        () = context.interrupt.cancelled() => {
            tokio::time::timeout(GRACE, writing).await.unwrap_or_else(|_| Err(flash::interrupted()))
        }
    }
}

/// The record says which chip has the identity.
fn record(device: &mut Device, board: &Bootloader, image_sha256: Option<String>) -> Result<()> {
    let now = tbprov::clock::now();
    let at = now.replace_nanosecond(0).unwrap_or(now);
    let (chip, mac) = (board.board().name().to_owned(), board.mac().to_owned());
    device.flashed(Flashed { at, chip, mac, image_sha256 }).map_err(|error| error.hint(Hint::BoardIsAhead))
}
