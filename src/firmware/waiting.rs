//! A board that waits in its bootloader, for as long as it is held.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use espflash::connection::Port;
use tokio_util::sync::CancellationToken;

use super::board::{Chip, Crystal};
use super::bootloader::Bootloader;
use super::flash;
use super::image::{Part, Place};
use super::serial::{BAUD, SerialPort};
use crate::blocking;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::{Event, Progress};

/// How long an interrupted write may take to end between two blocks.
const GRACE: Duration = Duration::from_secs(5);

/// A board in its bootloader. When nobody holds it any more, and nothing on it is half written, it starts again what is
/// in its flash.
pub(super) struct WaitingBoard {
    pub(super) port: SerialPort,
    pub(super) chip: Chip,
    pub(super) mac: String,
    pub(super) crystal: Option<Crystal>,
    /// Shared with the threads that wait for it.
    held: Arc<Mutex<Held>>,
}

struct Held {
    bootloader: Option<Bootloader>,
    is_whole: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(bootloader) = self.bootloader.take_if(|_| self.is_whole) {
            // What went wrong first is what matters.
            let _ = bootloader.restart();
        }
    }
}

impl WaitingBoard {
    /// Brings the board at `port` into its bootloader.
    pub(super) async fn connect(port: SerialPort, baud: u32, progress: &Progress) -> Result<Self> {
        let named = port.clone();
        let opened = blocking(move || named.open(BAUD)).await?;
        progress.begin(Step::Flash);
        let what = format!("the bootloader at {}", port.path);
        progress.event(&Event::Started { step: Step::Flash, what });
        let named = port.clone();
        let bootloader = blocking(move || Bootloader::connect(&named, opened, baud)).await?;
        let (chip, mac) = (bootloader.chip(), bootloader.mac().to_owned());
        progress.event(&Event::BoardConnected {
            port: port.path.clone(),
            chip: chip.name(),
            mac: mac.clone(),
        });
        let crystal = bootloader.crystal();
        let held = Held { bootloader: Some(bootloader), is_whole: true };
        Ok(Self { port, chip, mac, crystal, held: Arc::new(Mutex::new(held)) })
    }

    /// Asks the bootloader for something that leaves the flash whole.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Bootloader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.with(|held| question(held.bootloader()?)).await
    }

    /// Writes and reads back. An interruption is heard between two blocks, and awaited so long.
    pub(super) async fn write(
        &self,
        parts: Vec<Part>,
        interrupt: &CancellationToken,
        progress: &Progress,
    ) -> Result<Vec<Place>> {
        let (cancelled, told) = (interrupt.clone(), progress.clone());
        let writing = self.with(move |held| {
            held.is_whole = false;
            flash::write(held.bootloader()?, &parts, &cancelled, &told)?;
            held.is_whole = true;
            Ok(parts.iter().map(Part::place).collect())
        });
        let mut writing = std::pin::pin!(writing);
        tokio::select! {
            done = &mut writing => done,
            () = interrupt.cancelled() => {
                tokio::time::timeout(GRACE, writing).await.unwrap_or_else(|_| Err(flash::interrupted()))
            }
        }
    }

    /// Starts what is in the flash, and gives the open port back.
    pub(super) async fn restart(self) -> Result<Port> {
        self.with(|held| held.bootloader.take().ok_or_else(gone)?.restart()).await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Held) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let held = self.held.clone();
        blocking(move || work(&mut held.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl Held {
    fn bootloader(&mut self) -> Result<&mut Bootloader> {
        self.bootloader.as_mut().ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::new(ErrorCode::Bug, "the board was given back already")
}
