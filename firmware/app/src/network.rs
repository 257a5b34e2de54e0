//! The network below TCP: an address of our own, and those of others.

use alloc::format;
use core::net::{Ipv4Addr, SocketAddrV4};

use embassy_net::dns::DnsQueryType;
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, with_timeout};
use log::{error, info};
use tbprov_contract::report::Trouble;

use crate::fault::Fault;
use crate::life;

/// How often a network that does not come is complained about.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a name server may take, with its repetitions.
const RESOLVING: Duration = Duration::from_secs(15);

/// Waits for an address, for ever if need be.
pub(crate) async fn wait_for_address(stack: Stack<'_>) {
    if stack.is_config_up() {
        return;
    }
    info!("[Network] waiting for an address");
    while with_timeout(PATIENCE, stack.wait_config_up()).await.is_err() {
        error!("{}{}", Trouble::NoNetwork, complaint(stack));
    }
    if let Some(config) = stack.config_v4() {
        info!("[Network] address {}", config.address);
    }
}

fn complaint(stack: Stack<'_>) -> &'static str {
    if stack.is_link_up() {
        "no DHCP server gives an address; still waiting"
    } else {
        "no cable or access point, or a wrong WiFi password; still waiting"
    }
}

/// Waits until the address is gone, as it is when the link goes down.
pub(crate) async fn lost(stack: Stack<'_>) -> Fault {
    stack.wait_config_down().await;
    Fault::new(Trouble::NoNetwork, "the network is gone")
}

/// The address of `host`, a name or an IPv4 address.
pub(crate) async fn resolve(stack: Stack<'_>, host: &str, port: u16) -> Result<SocketAddrV4, Fault> {
    if let Ok(address) = host.parse() {
        return Ok(SocketAddrV4::new(address, port));
    }
    let addresses = with_timeout(RESOLVING, stack.dns_query(host, DnsQueryType::A))
        .await
        .map_err(|_| unresolved(host, "no answer from the name server"))?
        .map_err(|_| unresolved(host, "the name server does not know it"))?;
    life::heard();
    let address: Option<Ipv4Addr> = addresses.iter().map(|IpAddress::Ipv4(address)| *address).next();
    let address = address.ok_or_else(|| unresolved(host, "it has no IPv4 address"))?;
    Ok(SocketAddrV4::new(address, port))
}

fn unresolved(host: &str, why: &str) -> Fault {
    Fault::new(Trouble::Resolve, format!("the address of {host} cannot be found: {why}"))
}
