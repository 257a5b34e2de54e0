//! Proxies whose every word is written down, and servers that are none.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::runtime;

/// Says `replies`, one after each thing that it is told. Then it leads to `leads_to` on this machine, whatever it was
/// asked for, or closes.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Proxy {
    pub(crate) fn saying(replies: &[&[u8]], leads_to: Option<u16>) -> Self {
        let replies: Vec<Vec<u8>> = replies.iter().map(|reply| reply.to_vec()).collect();
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::default());
        let proxy = Self { port, heard: Arc::clone(&heard) };
        runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, replies.clone(), leads_to, Arc::clone(&heard)));
            }
        });
        proxy
    }

    /// What it was told on its first connection, one reply after the other.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    replies: Vec<Vec<u8>>,
    leads_to: Option<u16>,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    for reply in replies {
        let mut told = vec![0; 4096];
        let Ok(length @ 1..) = stream.read(&mut told).await else { return };
        told.truncate(length);
        heard.lock().unwrap().push(told);
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
    if let Some(port) = leads_to {
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        return;
    }
    let _ = stream.shutdown().await;
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut Vec::new())).await;
}
