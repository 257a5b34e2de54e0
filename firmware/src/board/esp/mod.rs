//! What all ESP32 chips have in common: the way from the reset to the application.

mod chip;
mod flash;
mod heap;
mod log;
mod panic;
#[cfg(feature = "chip-temperature")]
mod temperature;

#[cfg(feature = "ethernet")]
mod ethernet;
#[cfg(feature = "ethernet")]
use ethernet as link;

#[cfg(not(feature = "ethernet"))]
mod wifi;
#[cfg(not(feature = "ethernet"))]
use wifi as link;

use ::log::error;
use embassy_executor::{SpawnError, SpawnToken, Spawner};
use embassy_net::{Config, Runner, Stack, StackResources};
use embassy_time::{Duration, Timer};
use esp_hal::clock::CpuClock;
use esp_hal::rng::{Rng, Trng};
use esp_hal::timer::timg::TimerGroup;
use mbedtls_rs::{Tls, TlsReference};
use static_cell::StaticCell;
use tbprov_contract::report::Trouble;
use tbprov_firmware_app::{Board, run, start};

// The time of the build is left out, so that the same sources give the same image.
esp_bootloader_esp_idf::esp_app_desc!(
    env!("CARGO_PKG_VERSION"),
    env!("CARGO_PKG_NAME"),
    "-",
    "-",
    esp_bootloader_esp_idf::ESP_IDF_COMPATIBLE_VERSION,
    esp_bootloader_esp_idf::MMU_PAGE_SIZE,
    0,
    u16::MAX,
    esp_bootloader_esp_idf::SECURE_VERSION
);

/// DHCP, DNS, SNTP and MQTT have one each; to run out of them would be a panic, so one is to spare.
const SOCKETS: usize = 5;
/// How long the words that announce a restart can be read before it.
const BEFORE_RESTART: Duration = Duration::from_secs(5);

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    let peripherals = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    heap::init();
    log::init();
    esp_rtos::start(TimerGroup::new(peripherals.TIMG0).timer0, peripherals.FROM_CPU_INTR0);
    let partition = || flash::identity_partition(peripherals.FLASH);
    let identity = start(chip::NAME, heap::free, partition).await;

    // A radio is a source of entropy by itself; without one the ADC has to be.
    #[cfg(feature = "ethernet")]
    let _entropy = esp_hal::rng::TrngSource::new(peripherals.RNG, peripherals.ADC1);
    let interface = link::start(spawner, link::port!(peripherals), &identity).await;
    let stack = network(spawner, interface);
    let Some(tls) = tls() else { restart("there is no source of entropy for TLS").await };

    #[cfg(not(feature = "chip-temperature"))]
    let readings = tbprov_firmware_app::Samples::default();
    #[cfg(feature = "chip-temperature")]
    let readings = temperature::ChipTemperature::new(peripherals.TSENS);
    run(identity, Board { stack, tls, random, free_heap: heap::free, readings }).await
}

/// The TCP/IP stack on `interface`, served by a task of its own. Its address comes by DHCP.
fn network(spawner: Spawner, interface: link::Interface) -> Stack<'static> {
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let seed = u64::from(random()) << 32 | u64::from(random());
    let (stack, runner) = embassy_net::new(interface, Config::dhcpv4(Default::default()), resources, seed);
    spawn(spawner, serve(runner));
    stack
}

#[embassy_executor::task]
async fn serve(mut runner: Runner<'static, link::Interface>) -> ! {
    runner.run().await
}

/// The TLS library with the chip's true random number generator, which needs a source of entropy to be there.
fn tls() -> Option<TlsReference<'static>> {
    static GENERATOR: StaticCell<Trng> = StaticCell::new();
    static TLS: StaticCell<Tls<'static>> = StaticCell::new();
    let generator = GENERATOR.init(Trng::try_new().ok()?);
    let tls = Tls::new(generator).ok()?;
    Some(TLS.init(tls).reference())
}

fn random() -> u32 {
    Rng::new().random()
}

/// Starts a task that is started only once.
fn spawn<S>(spawner: Spawner, task: Result<SpawnToken<S>, SpawnError>) {
    match task {
        Ok(token) => spawner.spawn(token),
        Err(error) => error!("a task cannot start: {error:?}"),
    }
}

/// Says why the network cannot be had in this life of the board, and begins the next one.
async fn restart(why: &str) -> ! {
    error!("{}{why}; the board restarts", Trouble::NoNetwork);
    Timer::after(BEFORE_RESTART).await;
    esp_hal::system::software_reset()
}
