//! Setting the clock by a server.

use core::net::SocketAddrV4;

use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, Instant, with_timeout};
use log::{info, warn};
use tbprov_contract::identity::time_server;

use crate::network::resolve;
use crate::{clock, life, sntp};

/// How long a reply may take.
const REPLY: Duration = Duration::from_secs(3);
/// How often a server is asked before the session begins without the time.
const TRIES: u32 = 2;
/// Packets that are kept until they are looked at: room for a reply behind what others send.
const QUEUE: usize = 8;
/// After how long the time is asked for again.
const STALE: Duration = Duration::from_secs(86_400);
/// After how long if the answer is in doubt: no server is to be asked more often (RFC 4330, section 10).
const DOUBTFUL: Duration = Duration::from_secs(15);

/// When the clock was set, and by whom it is.
pub(crate) struct TimeServer<'a> {
    name: Option<&'a str>,
    random: fn() -> u32,
    set_at: Option<Instant>,
    /// After how long the time is asked for again.
    good_for: Duration,
}

impl<'a> TimeServer<'a> {
    /// The server `name`, as `HOST` or `HOST:PORT`.
    pub(crate) fn new(name: Option<&'a str>, random: fn() -> u32) -> Self {
        Self { name, random, set_at: None, good_for: STALE }
    }

    /// The last answer may have been wrong, or forged: a certificate was not valid at that time. The time is asked for
    /// again soon. Until there is another answer the clock goes on: else whoever shows an old certificate could turn the
    /// check of dates off.
    pub(crate) fn doubt(&mut self) {
        self.good_for = DOUBTFUL;
    }

    /// Sets the clock if it is not set or was set long ago, and says when that does not succeed and what follows.
    pub(crate) async fn set_clock(&mut self, stack: Stack<'_>) {
        if self.set_at.is_some_and(|set_at| set_at.elapsed() < self.good_for) {
            return;
        }
        let Some((host, port)) = self.name.and_then(time_server) else {
            warn!("[Time] no time server: the validity dates of the server's certificate are not checked");
            return;
        };
        match self.ask(stack, host, port).await {
            Ok(now) => {
                clock::set(now);
                self.set_at = Some(Instant::now());
                self.good_for = STALE;
                info!("[Time] {now} s since 1970, from {host}");
            }
            Err(why) if clock::now().is_some() => warn!("[Time] {host}: {why}; the clock goes on by itself"),
            Err(why) => {
                warn!("[Time] {host}: {why}; the validity dates of the server's certificate are not checked")
            }
        }
    }

    async fn ask(&self, stack: Stack<'_>, host: &str, port: u16) -> Result<u32, &'static str> {
        let server = resolve(stack, host, port).await.map_err(|_| "its address cannot be found")?;
        let mut answer = Err("no reply");
        for _ in 0..TRIES {
            let nonce = u64::from((self.random)()) << 32 | u64::from((self.random)());
            answer = with_timeout(REPLY, exchange(stack, server, nonce)).await.unwrap_or(Err("no reply"));
            if answer.is_ok() {
                break;
            }
        }
        answer
    }
}

/// Asks `server` once; what others send meanwhile is passed over, also in its name: whoever did not see the request
/// shall not keep the answer from being heard.
async fn exchange(stack: Stack<'_>, server: SocketAddrV4, nonce: u64) -> Result<u32, &'static str> {
    let (mut receive_metadata, mut send_metadata) =
        ([PacketMetadata::EMPTY; QUEUE], [PacketMetadata::EMPTY; 1]);
    let (mut received, mut sent) = ([0; QUEUE * sntp::SIZE], [0; sntp::SIZE]);
    let mut socket =
        UdpSocket::new(stack, &mut receive_metadata, &mut received, &mut send_metadata, &mut sent);
    socket.bind(0).map_err(|_| "no UDP port is free")?;
    socket.send_to(&sntp::request(nonce), server).await.map_err(|_| "it cannot be reached")?;
    let mut reply = [0; 2 * sntp::SIZE];
    loop {
        let (size, from) = socket.recv_from(&mut reply).await.map_err(|_| "its reply is too long")?;
        let reply = reply.get(..size).unwrap_or_default();
        if from.endpoint == IpEndpoint::from(server) && sntp::answers(reply, nonce) {
            life::heard();
            return sntp::parse(reply);
        }
    }
}

#[cfg(test)]
mod tests;
