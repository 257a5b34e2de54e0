//! The network by cable: a W5500 on SPI.

mod watch;

use alloc::format;

use embassy_executor::Spawner;
use embassy_net_wiznet::chip::W5500;
use embassy_net_wiznet::{Device, Runner, State};
use embassy_time::{Delay, Duration, Timer};
use embedded_hal_async::spi::{Operation, SpiDevice};
use embedded_hal_bus::spi::ExclusiveDevice;
use esp_hal::Async;
use esp_hal::efuse;
use esp_hal::gpio::{AnyPin, Input, InputConfig, Level, Output, OutputConfig, Pull};
use esp_hal::spi::master::{AnySpi, Config, ConfigError, Spi};
use esp_hal::time::Rate;
use log::{error, info};
use static_cell::StaticCell;
use tbprov_contract::Identity;
use tbprov_contract::report::Trouble;

use super::{restart, spawn};
use watch::Watched;

/// What the TCP/IP stack sends and receives frames through.
pub(super) type Interface = Device<'static>;
type Bus = ExclusiveDevice<Spi<'static, Async>, Output<'static>, Delay>;

/// Frames that are held in each direction, 1514 bytes each.
const FRAMES: usize = 4;
/// Within what the W5500 and twenty centimetres of loose wire can do.
const FREQUENCY: Rate = Rate::from_mhz(20);
/// Between two looks for a W5500 that does not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// The wiring of the W5500.
pub(super) struct Port {
    pub(super) spi: AnySpi<'static>,
    pub(super) sclk: AnyPin<'static>,
    pub(super) mosi: AnyPin<'static>,
    pub(super) miso: AnyPin<'static>,
    pub(super) cs: AnyPin<'static>,
    pub(super) int: AnyPin<'static>,
    pub(super) rst: AnyPin<'static>,
}

/// Which pins: the same on all RISC-V chips. None of them decides how the chip boots, is a USB pin or is on the flash.
#[cfg(target_arch = "riscv32")]
macro_rules! port {
    ($peripherals:ident) => {
        link::Port {
            spi: $peripherals.SPI2.into(),
            sclk: $peripherals.GPIO4.into(),
            mosi: $peripherals.GPIO5.into(),
            miso: $peripherals.GPIO3.into(),
            cs: $peripherals.GPIO10.into(),
            int: $peripherals.GPIO1.into(),
            rst: $peripherals.GPIO0.into(),
        }
    };
}
#[cfg(feature = "esp32")]
macro_rules! port {
    ($peripherals:ident) => {
        link::Port {
            spi: $peripherals.SPI2.into(),
            sclk: $peripherals.GPIO18.into(),
            mosi: $peripherals.GPIO23.into(),
            miso: $peripherals.GPIO19.into(),
            cs: $peripherals.GPIO27.into(),
            int: $peripherals.GPIO26.into(),
            rst: $peripherals.GPIO25.into(),
        }
    };
}
#[cfg(feature = "esp32s3")]
macro_rules! port {
    ($peripherals:ident) => {
        link::Port {
            spi: $peripherals.SPI2.into(),
            sclk: $peripherals.GPIO12.into(),
            mosi: $peripherals.GPIO11.into(),
            miso: $peripherals.GPIO13.into(),
            cs: $peripherals.GPIO10.into(),
            int: $peripherals.GPIO4.into(),
            rst: $peripherals.GPIO5.into(),
        }
    };
}
pub(super) use port;

/// Waits until the W5500 answers and starts the task that serves it. It returns before there is a link.
pub(super) async fn start(spawner: Spawner, port: Port, _: &Identity) -> Interface {
    static STATE: StaticCell<State<FRAMES, FRAMES>> = StaticCell::new();
    let mut reset = Output::new(port.rst, Level::High, OutputConfig::default());
    let interrupt = Input::new(port.int, InputConfig::default().with_pull(Pull::Up));
    let cs = Output::new(port.cs, Level::High, OutputConfig::default());
    let mut bus = match bus(port.spi, port.sclk, port.mosi, port.miso, cs) {
        Ok(bus) => Watched::new(bus),
        Err(error) => restart(&format!("the SPI bus does not start: {error:?}")).await,
    };
    until_there(&mut bus, &mut reset).await;
    let address = mac_address();
    match embassy_net_wiznet::new(address, STATE.init(State::new()), bus, interrupt, reset).await {
        Ok((interface, runner)) => {
            info!("Ethernet: W5500, MAC address {}", efuse::MacAddress::new_eui48(address));
            spawn(spawner, serve(runner));
            interface
        }
        Err(error) => restart(&format!("the W5500 does not start: {error:?}")).await,
    }
}

#[embassy_executor::task]
async fn serve(runner: Runner<'static, W5500, Watched<Bus>, Input<'static>, Output<'static>>) -> ! {
    runner.run().await
}

fn bus(
    spi: AnySpi<'static>,
    sclk: AnyPin<'static>,
    mosi: AnyPin<'static>,
    miso: AnyPin<'static>,
    cs: Output<'static>,
) -> Result<Bus, ConfigError> {
    let spi = Spi::new(spi, Config::default().with_frequency(FREQUENCY))?;
    let spi = spi.with_sck(sclk).with_mosi(mosi).with_miso(miso).into_async();
    let Ok(bus) = ExclusiveDevice::new(spi, cs, Delay);
    Ok(bus)
}

/// Resets the W5500 until it answers, and says so each time that it does not.
async fn until_there(bus: &mut Watched<Bus>, reset: &mut Output<'static>) {
    loop {
        reset.set_low();
        Timer::after_millis(1).await;
        reset.set_high();
        Timer::after_millis(100).await;
        match version(bus).await {
            Some(VERSION) => return,
            Some(other) => {
                report(format_args!("it says {other:#04x} for its version, which is {VERSION:#04x}"))
            }
            None => report(format_args!("the SPI bus does not work")),
        }
        Timer::after(PAUSE).await;
    }
}

/// The contents of VERSIONR in a W5500 (W5500 datasheet, "Common Registers").
const VERSION: u8 = 0x04;

/// Reads VERSIONR, which is at 0x0039 of the common registers.
async fn version(bus: &mut Watched<Bus>) -> Option<u8> {
    let mut version = [0];
    let operations = &mut [Operation::Write(&[0x00, 0x39, 0x00]), Operation::Read(&mut version)];
    bus.transaction(operations).await.ok()?;
    Some(version[0])
}

fn report(words: core::fmt::Arguments<'_>) {
    error!("{}Ethernet: no W5500 answers ({words}); check its wiring and its power", Trouble::NoNetwork);
}

/// The address from the factory plus 3, where ESP-IDF has its Ethernet address (ESP-IDF Programming Guide, "MAC
/// Address"), marked as locally administered: not every chip owns four addresses.
fn mac_address() -> [u8; 6] {
    let mut address = [0; 6];
    address.copy_from_slice(&efuse::base_mac_address().as_bytes()[..6]);
    address[0] |= 0x02;
    address[5] = address[5].wrapping_add(3);
    address
}
