//! One's own sensor: a Sensirion SHT31, which measures temperature and relative humidity, on an I2C bus.
//!
//! Here it runs on the host, with a sensor that is played: `cargo run -p tbprov-firmware-app --example sht31`. To have
//! it in the firmware, put [`Sht31`] into a file of its own, `firmware/src/board/esp/sht31.rs`, and in `mod.rs` beside
//! it write `mod sht31;` and, instead of the line that makes the sample readings, these two with the pins of the board:
//!
//! ```ignore
//! let Ok(bus) = I2c::new(peripherals.I2C0, Default::default()) else { restart("the I2C bus does not start").await };
//! let readings = Sht31::new(bus.with_sda(peripherals.GPIO6).with_scl(peripherals.GPIO7).into_async(), Delay);
//! ```
//!
//! where `I2c` is `esp_hal::i2c::master::I2c` and `Delay` is `embassy_time::Delay`.

extern crate alloc;

use alloc::string::String;

use embassy_futures::block_on;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::{ErrorKind, ErrorType, I2c, Operation};
use tbprov_contract::telemetry;
use tbprov_firmware_app::Readings;

/// The sensor's address with its pin ADDR at ground.
const ADDRESS: u8 = 0x44;
/// "Single shot, high repeatability, no clock stretching" (SHT3x-DIS datasheet, table 8).
const MEASURE: [u8; 2] = [0x24, 0x00];
/// The longest that such a measurement takes is 15.5 ms (table 4).
const MEASUREMENT_MS: u32 = 16;

/// An SHT31 on the bus `I`.
struct Sht31<I, D> {
    bus: I,
    delay: D,
}

impl<I: I2c, D: DelayNs> Sht31<I, D> {
    /// The sensor on `bus`, waited for with `delay`.
    const fn new(bus: I, delay: D) -> Self {
        Self { bus, delay }
    }

    /// Degrees Celsius and percent of relative humidity, or `None` if the sensor does not answer or its answer was
    /// changed on its way.
    async fn measure(&mut self) -> Option<(f32, f32)> {
        self.bus.write(ADDRESS, &MEASURE).await.ok()?;
        self.delay.delay_ms(MEASUREMENT_MS).await;
        let mut answer = [0; 6];
        self.bus.read(ADDRESS, &mut answer).await.ok()?;
        let [t_high, t_low, t_crc, h_high, h_low, h_crc] = answer;
        let temperature = scaled(checked([t_high, t_low], t_crc)?, 17_500) - 4_500;
        let humidity = scaled(checked([h_high, h_low], h_crc)?, 10_000);
        Some((temperature as f32 / 100.0, humidity as f32 / 100.0))
    }
}

impl<I: I2c, D: DelayNs> Readings for Sht31<I, D> {
    async fn read(&mut self) -> Option<String> {
        let (temperature, humidity) = self.measure().await?;
        Some(telemetry::reading(temperature, humidity))
    }
}

/// A word of the sensor, if its checksum is right.
fn checked(word: [u8; 2], checksum: u8) -> Option<u16> {
    (crc(word) == checksum).then_some(u16::from_be_bytes(word))
}

/// What the word says in hundredths, of which its full scale has `full` (section 4.13).
fn scaled(word: u16, full: i32) -> i32 {
    (i32::from(word) * full + 32_767) / 65_535
}

/// The CRC of section 4.12: polynomial 0x31, beginning with 0xFF.
fn crc(word: [u8; 2]) -> u8 {
    word.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x31 })
    })
}

/// A bus with an SHT31 that always answers the same, or with none.
struct Played(Option<[u8; 6]>);

impl ErrorType for Played {
    type Error = ErrorKind;
}

impl I2c for Played {
    async fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        let answer = self.0.filter(|_| address == ADDRESS).ok_or(ErrorKind::Other)?;
        for operation in operations {
            match operation {
                Operation::Write(command) => assert_eq!(*command, MEASURE),
                Operation::Read(buffer) => buffer.copy_from_slice(&answer),
            }
        }
        Ok(())
    }
}

/// No need to wait for what is played.
struct NoDelay;

impl DelayNs for NoDelay {
    async fn delay_ns(&mut self, _: u32) {}
}

/// 21.5 degrees and 40 percent.
const ANSWER: [u8; 6] = [0x61, 0x47, 0x8A, 0x66, 0x66, 0x93];

fn main() {
    match block_on(Sht31::new(Played(Some(ANSWER)), NoDelay).read()) {
        Some(json) => println!("{json}"),
        None => println!("the sensor does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: Option<[u8; 6]>) -> Option<String> {
        block_on(Sht31::new(Played(answer), NoDelay).read())
    }

    #[test]
    fn an_answer_becomes_a_reading() {
        assert_eq!(read(Some(ANSWER)).as_deref(), Some(r#"{"temperature":21.5,"humidity":40}"#));
    }

    #[test]
    fn a_changed_bit_is_no_reading() {
        for bit in 0..ANSWER.len() * 8 {
            let mut answer = ANSWER;
            answer[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(Some(answer)), None, "bit {bit}");
        }
    }

    #[test]
    fn without_a_sensor_there_is_no_reading() {
        assert_eq!(read(None), None);
    }

    #[test]
    fn the_checksum_is_the_datasheets() {
        assert_eq!(crc([0xBE, 0xEF]), 0x92);
    }
}
