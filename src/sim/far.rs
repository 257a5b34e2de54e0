//! A TCP connection over a far network: what the server writes leaves later.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::wire::Transport;

/// What was written, and when it leaves.
type Later = (Instant, Vec<u8>);

/// What is written is taken at once, and leaves after the latency. What is on its way when this is dropped arrives.
pub(super) struct Far {
    read: OwnedReadHalf,
    write: Option<UnboundedSender<Later>>,
    latency: Duration,
}

impl Far {
    pub(super) fn new(stream: TcpStream, latency: Duration) -> Self {
        let (read, socket) = stream.into_split();
        let (write, written) = unbounded_channel();
        tokio::spawn(deliver(written, socket));
        Self { read, write: Some(write), latency }
    }
}

async fn deliver(mut written: UnboundedReceiver<Later>, mut socket: OwnedWriteHalf) {
    while let Some((at, bytes)) = written.recv().await {
        sleep_until(at).await;
        if socket.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

impl Transport for Far {
    fn tcp(&self) -> &TcpStream {
        self.read.as_ref()
    }
}

impl AsyncRead for Far {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Far {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let at = Instant::now() + self.latency;
        let is_taken = self.write.as_ref().is_some_and(|write| write.send((at, bytes.to_vec())).is_ok());
        Poll::Ready(if is_taken { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write = None;
        Poll::Ready(Ok(()))
    }
}
