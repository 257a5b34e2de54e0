//! QEMU's `virt` machine for RISC-V: what `tbprov firmware emulate` runs, with the same application as the chips.

mod console;
mod heap;
mod network;
mod random;
mod time;
mod virtio;

use alloc::vec::Vec;

use embassy_executor::raw::Executor;
use embassy_net::{DhcpConfig, Runner, Stack, StackResources};
use log::error;
use mbedtls_rs::Tls;
use rand_core::Rng as _;
use static_cell::StaticCell;
use tbprov_contract::partition;
use tbprov_contract::virt::IDENTITY_ADDRESS;
use tbprov_firmware_app::{Board, Samples, run, start};

use network::Network;
use random::Random;

/// How long the program sleeps at the longest, in microseconds: how old a frame that has arrived can get.
const LONGEST_SLEEP: u64 = 1000;

#[riscv_rt::entry]
fn main() -> ! {
    heap::init();
    console::init();
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor: &'static Executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    match application(executor.spawner()) {
        Ok(task) => executor.spawner().spawn(task),
        Err(_) => refuse("the application cannot be started"),
    }
    loop {
        // SAFETY: this is the only place that polls, and it is not called by what it polls.
        unsafe { executor.poll() };
        network::poll();
        time::sleep(LONGEST_SLEEP);
    }
}

/// Whatever wakes a task does so between two polls, or before the next sleep ends.
#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {}

#[embassy_executor::task]
async fn application(spawner: embassy_executor::Spawner) {
    let identity = start("virt", heap::free, || Ok(identity_partition())).await;
    let Some(mut random) = Random::new() else {
        refuse("QEMU has no source of random numbers: start it with -device virtio-rng-device");
    };
    let Some(network) = Network::new() else {
        refuse("QEMU has no network: start it with -netdev user,id=n -device virtio-net-device,netdev=n");
    };
    let (stack, runner) = stack(network, random.next_u64());
    match drive(runner) {
        Ok(task) => spawner.spawn(task),
        Err(_) => refuse("the network cannot be started"),
    }
    static RANDOM: StaticCell<Random> = StaticCell::new();
    static TLS: StaticCell<Tls<'static>> = StaticCell::new();
    let Ok(tls) = Tls::new(RANDOM.init(random)) else {
        refuse("the TLS library is in use");
    };
    let tls = TLS.init(tls).reference();
    let readings = Samples::default();
    run(identity, Board { stack, tls, random: random::jitter, free_heap: heap::free, readings }).await
}

fn stack(network: Network, seed: u64) -> (Stack<'static>, Runner<'static, Network>) {
    static RESOURCES: StaticCell<StackResources<5>> = StaticCell::new();
    let config = embassy_net::Config::dhcpv4(DhcpConfig::default());
    embassy_net::new(network, config, RESOURCES.init(StackResources::new()), seed)
}

#[embassy_executor::task]
async fn drive(mut runner: Runner<'static, Network>) {
    runner.run().await
}

/// The identity partition, which QEMU has put beyond the program's memory.
fn identity_partition() -> Vec<u8> {
    // SAFETY: the machine has memory there, and the program has nothing in it. Where it has none, the processor
    // raises an exception, which is reported.
    unsafe { core::slice::from_raw_parts(IDENTITY_ADDRESS as *const u8, partition::SIZE) }.to_vec()
}

/// Says what is missing, and ends QEMU.
fn refuse(why: &str) -> ! {
    error!("{why}");
    console::fail()
}
