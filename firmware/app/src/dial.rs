//! The TCP connection to the server.

use alloc::format;
use core::net::SocketAddrV4;

use embassy_net::tcp::{ConnectError, TcpSocket};
use embassy_time::{Duration, with_timeout};
use tbprov_contract::report::Trouble;

use crate::fault::Fault;
use crate::{life, mqtt};

/// How long the server may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(15);
/// How long nothing may come from it. smoltcp counts this on an idle connection too: it has to be longer than a server
/// that answers each PINGREQ can be silent. A server that is gone is noticed before, by an answer that does not come.
const SILENT: Duration = Duration::from_secs(mqtt::LONGEST_SILENCE.as_secs() + 15);
/// How long the connection's end may take.
const CLOSING: Duration = Duration::from_millis(500);

/// Connects `socket` to `server`.
pub(crate) async fn connect(socket: &mut TcpSocket<'_>, server: SocketAddrV4) -> Result<(), Fault> {
    socket.set_timeout(Some(SILENT));
    let connected = with_timeout(CONNECTING, socket.connect(server)).await;
    let why = match connected {
        Ok(Ok(())) => {
            life::heard();
            return Ok(());
        }
        Ok(Err(ConnectError::ConnectionReset)) => {
            life::heard();
            "it refuses the connection"
        }
        Ok(Err(ConnectError::NoRoute)) => "there is no route to it",
        Ok(Err(ConnectError::InvalidState)) => "the socket is in use",
        Ok(Err(ConnectError::TimedOut)) | Err(_) => "it does not answer",
    };
    Err(Fault::new(Trouble::Connect, format!("no connection to {server}: {why}")))
}

/// Ends the connection so that the server sees an end, whatever state it is in.
pub(crate) async fn hang_up(socket: &mut TcpSocket<'_>) {
    socket.close();
    if with_timeout(CLOSING, socket.flush()).await.is_err() {
        socket.abort();
        // Only the reset is left to send; a link that is down takes it no more.
        let _ = with_timeout(CLOSING, socket.flush()).await;
    }
}

#[cfg(test)]
mod tests;
