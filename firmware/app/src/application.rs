//! From an identity to acknowledged readings, again and again.

use alloc::boxed::Box;
use core::convert::Infallible;
use core::net::SocketAddrV4;

use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use log::info;
use tbprov_contract::Identity;
use tbprov_contract::report::Trouble;

use crate::fault::Fault;
use crate::network::{lost, resolve, wait_for_address};
use crate::reconnect::{Ended, reconnect};
use crate::time_server::TimeServer;
use crate::tls::{Stream, Tls};
use crate::{Board, Readings, dial, mqtt, unusable};

/// Each direction's buffer of the TCP connection. A larger one would spare acknowledgements that a small device does
/// not notice.
const TCP_BUFFER: usize = 2048;

/// Runs the application for ever.
pub async fn run<R: Readings>(mut identity: Identity, board: Board<R>) -> ! {
    describe(&identity);
    let tls = match Tls::new(board.tls, &mut identity) {
        Ok(tls) => tls,
        Err(fault) => unusable(fault.words()).await,
    };
    let mut clock = TimeServer::new(identity.time_server.as_deref(), board.random);
    let mut device = Device {
        identity: &identity,
        tls,
        stack: board.stack,
        free_heap: board.free_heap,
        readings: board.readings,
        buffers: Box::new([[0; TCP_BUFFER]; 2]),
    };
    reconnect(identity.retry, board.random, async || {
        wait_for_address(device.stack).await;
        clock.set_clock(device.stack).await;
        let ended = device.attempt().await;
        if ended.fault.trouble == Trouble::Expired {
            clock.doubt();
        }
        ended
    })
    .await
}

fn describe(identity: &Identity) {
    info!("device {}, server mqtts://{}:{}", identity.name, identity.host, identity.port);
    if identity.skip_name_check {
        info!("the server's certificate may be for another name");
    }
}

/// What an attempt needs.
struct Device<'a, R> {
    identity: &'a Identity,
    tls: Tls,
    stack: Stack<'static>,
    free_heap: fn() -> usize,
    readings: R,
    buffers: Box<[[u8; TCP_BUFFER]; 2]>,
}

impl<R: Readings> Device<'_, R> {
    /// Connects and sends readings until that ends, or the network does.
    async fn attempt(&mut self) -> Ended {
        info!("free heap {} bytes before the session", (self.free_heap)());
        let stack = self.stack;
        let mut acknowledged = false;
        let fault = match select(self.connect(&mut acknowledged), lost(stack)).await {
            Either::First(Ok(never)) => match never {},
            Either::First(Err(fault)) | Either::Second(fault) => fault,
        };
        Ended { fault, acknowledged }
    }

    async fn connect(&mut self, acknowledged: &mut bool) -> Result<Infallible, Fault> {
        let server = self.server().await?;
        info!("connecting to mqtts://{}:{} at {server}", self.identity.host, self.identity.port);
        let [receiving, sending] = &mut *self.buffers;
        let mut socket = TcpSocket::new(self.stack, receiving, sending);
        let session =
            Session { identity: self.identity, free_heap: self.free_heap, readings: &mut self.readings };
        let ended = session.over(&mut socket, server, &self.tls, acknowledged).await;
        dial::hang_up(&mut socket).await;
        ended
    }

    async fn server(&self) -> Result<SocketAddrV4, Fault> {
        match self.identity.address {
            Some(address) => Ok(address),
            None => resolve(self.stack, &self.identity.host, self.identity.port).await,
        }
    }
}

/// What a session needs beside its connection.
struct Session<'a, R> {
    identity: &'a Identity,
    free_heap: fn() -> usize,
    readings: &'a mut R,
}

impl<R: Readings> Session<'_, R> {
    async fn over(
        self,
        socket: &mut TcpSocket<'_>,
        server: SocketAddrV4,
        tls: &Tls,
        acknowledged: &mut bool,
    ) -> Result<Infallible, Fault> {
        dial::connect(socket, server).await?;
        let mut stream = tls.handshake(socket).await?;
        let ended = self.mqtt(&mut stream, acknowledged).await;
        stream.close().await;
        ended
    }

    async fn mqtt(self, stream: &mut Stream<'_, '_>, acknowledged: &mut bool) -> Result<Infallible, Fault> {
        let mut session = mqtt::Session::connect(stream, self.identity).await?;
        info!("free heap {} bytes during the session", (self.free_heap)());
        session.send_readings(self.readings, acknowledged).await
    }
}
