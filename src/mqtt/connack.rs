//! Makes one quirk of ThingsBoard 3.2 harmless.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Position of the acknowledge flags in a CONNACK: type, remaining length, flags, return code.
const FLAGS: usize = 2;

/// A stream whose first packet, the CONNACK, says 'no session present'.
///
/// ThingsBoard 3.2.0 sets that flag on every CONNACK, refusals included (`MqttTransportHandler`), though it
/// keeps no session, and the client crate rightly refuses such a packet: after a clean-session CONNECT the
/// flag must be 0 (MQTT 3.1.1, 3.2.2.2), so clearing it loses nothing.
#[derive(Debug)]
pub(super) struct NoSessionPresent<S> {
    inner: S,
    position: usize,
}

impl<S> NoSessionPresent<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, position: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NoSessionPresent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if self.position <= FLAGS {
            let read = &mut buffer.filled_mut()[before..];
            if let Some(flags) = read.get_mut(FLAGS - self.position) {
                *flags &= 0xFE;
            }
            self.position += read.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoSessionPresent<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn only_the_flag_changes_however_the_bytes_arrive() {
        for chunk in 1..5 {
            let mut wire = tokio_test_pieces(&[0x20, 0x02, 0x01, 0x05, 0x01, 0x01], chunk).await;
            let mut read = Vec::new();
            wire.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, [0x20, 0x02, 0x00, 0x05, 0x01, 0x01]);
        }
    }

    async fn tokio_test_pieces(bytes: &[u8], chunk: usize) -> NoSessionPresent<tokio::io::DuplexStream> {
        use tokio::io::AsyncWriteExt as _;
        let (mut near, far) = tokio::io::duplex(chunk);
        let bytes = bytes.to_vec();
        tokio::spawn(async move { near.write_all(&bytes).await });
        NoSessionPresent::new(far)
    }
}
