//! An eye on the W5500's answers. The driver takes them as they are: when the chip loses its power or a wire comes
//! off, it would wait for ever or take a length from thin air.

use embedded_hal_async::spi::{ErrorType, Operation, SpiDevice};

use crate::board::esp::restart;

/// A device whose answers are looked at. The first impossible one restarts the board, because the driver cannot set
/// the W5500 up a second time.
pub(super) struct Watched<D> {
    device: D,
    /// How often in a row the W5500 said that it has no room for a frame.
    full: u16,
}

impl<D> Watched<D> {
    pub(super) const fn new(device: D) -> Self {
        Self { device, full: 0 }
    }

    /// Whether a working W5500 can have given that answer.
    fn is_possible(&mut self, question: Question, answer: &[u8]) -> bool {
        match (question, answer) {
            (PHY_CONFIGURATION, [register]) => register & 0xC0 == 0x80,
            (FREE_SPACE, [high, low]) => {
                let full = u16::from_be_bytes([*high, *low]) < LONGEST_FRAME;
                self.full = if full { self.full + 1 } else { 0 };
                self.full < MOST_FULL
            }
            ((RECEIVED, _), [high, low]) => LENGTHS.contains(&u16::from_be_bytes([*high, *low])),
            _ => true,
        }
    }
}

impl<D: ErrorType> ErrorType for Watched<D> {
    type Error = D::Error;
}

impl<D: SpiDevice> SpiDevice for Watched<D> {
    async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), D::Error> {
        self.device.transaction(operations).await?;
        if let [Operation::Write([high, low]), Operation::Write([block]), Operation::TransferInPlace(answer)] =
            operations
            && !self.is_possible((*block, u16::from_be_bytes([*high, *low])), answer)
        {
            restart("the W5500 no longer answers as it should").await
        }
        Ok(())
    }
}

/// The control byte and the address of a read (W5500 datasheet, "SPI Frame").
type Question = (u8, u16);
/// PHYCFGR: the upper two bits are 10 unless the PHY is held in reset or configured by software, which it is not.
const PHY_CONFIGURATION: Question = (0x00, 0x002E);
/// Sn_TX_FSR of socket 0.
const FREE_SPACE: Question = (0x08, 0x0020);
/// The control byte of the receive buffer of socket 0. Of it, only a frame's length is read as two bytes.
const RECEIVED: u8 = 0x18;

const LONGEST_FRAME: u16 = 1514;
/// The length before a frame counts itself and at least the Ethernet header.
const LENGTHS: core::ops::RangeInclusive<u16> = 2 + 14..=2 + LONGEST_FRAME;
/// 16 KiB take 13 ms on the wire at 10 Mbit/s; to ask that often takes many times longer.
const MOST_FULL: u16 = 20_000;
