//! SOCKS5 (RFC 1928) with user and password (RFC 1929): a proxy is asked for a tunnel to the server.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::proxy::{Login, Proxy};
use crate::error::{Error, Result};
use crate::server::Server;

const VERSION: u8 = 5;
/// The version of the login's own messages.
const LOGIN_VERSION: u8 = 1;

const NOBODY: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;

const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

pub(super) async fn open<S>(proxy: &Proxy, stream: &mut S, server: &Server) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let login = proxy.login();
    let methods: &[u8] = if login.is_some() { &[NOBODY, USER_AND_PASSWORD] } else { &[NOBODY] };
    tell(proxy, stream, &with_length(&[VERSION], methods)).await?;
    let [version, method] = hear(proxy, stream, "without an answer to SOCKS5").await?;
    if version != VERSION {
        return Err(not_socks(proxy, version));
    }
    match (method, login) {
        (NOBODY, _) => {}
        (USER_AND_PASSWORD, Some(login)) => log_in(proxy, stream, login).await?,
        (NO_METHOD | USER_AND_PASSWORD, None) => {
            return Err(proxy.login_refused("wants a user and a password, or another way to log in"));
        }
        (NO_METHOD, Some(_)) => {
            return Err(proxy.misbehaved("takes no login by user and password, and nobody without one"));
        }
        (other, _) => {
            return Err(proxy.misbehaved(format_args!("chose way {other} to log in, which was not offered")));
        }
    }
    tell(proxy, stream, &request(server)).await?;
    let [version, reply] = hear(proxy, stream, "without an answer to CONNECT").await?;
    if version != VERSION {
        return Err(not_socks(proxy, version));
    }
    judge(proxy, server, reply)?;
    skip_address(proxy, stream).await
}

async fn log_in<S>(proxy: &Proxy, stream: &mut S, login: &Login) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let user = Zeroizing::new(with_length(&[LOGIN_VERSION], login.user.expose().as_bytes()));
    tell(proxy, stream, &Zeroizing::new(with_length(&user, login.password.expose().as_bytes()))).await?;
    // Some close in place of saying no.
    let [_, refused] = hear(proxy, stream, "when it was given user and password").await?;
    if refused == 0 { Ok(()) } else { Err(proxy.login_refused("refuses this user or its password")) }
}

/// `before`, then the length of `text` in one byte, then `text`, which is at most 255 bytes long.
fn with_length(before: &[u8], text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(before.len() + 1 + text.len());
    bytes.extend_from_slice(before);
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text);
    bytes
}

fn request(server: &Server) -> Vec<u8> {
    let begin = |kind| vec![VERSION, CONNECT, 0, kind];
    let mut request = match server.host.address() {
        Some(IpAddr::V4(address)) => [begin(IPV4), address.octets().to_vec()].concat(),
        Some(IpAddr::V6(address)) => [begin(IPV6), address.octets().to_vec()].concat(),
        None => with_length(&begin(NAME), server.host.to_string().as_bytes()),
    };
    request.extend_from_slice(&server.port.to_be_bytes());
    request
}

/// The replies of RFC 1928 6.
fn judge(proxy: &Proxy, server: &Server, reply: u8) -> Result<()> {
    let unreached = |why: &str| Err(proxy.server_unreached(server, format_args!("{why} (reply {reply})")));
    match reply {
        0 => Ok(()),
        1 => unreached("general failure"),
        2 => Err(proxy.server_refused(server, "its rules do not allow it (reply 2)")),
        3 => unreached("the network cannot be reached"),
        4 => unreached("the host cannot be reached, or its name is not known there"),
        5 => unreached("the connection was refused"),
        6 => unreached("the time to live has run out"),
        7 => Err(proxy.misbehaved("does not know CONNECT (reply 7)")),
        8 => Err(proxy.server_refused(server, "it does not take this kind of address (reply 8)")),
        other => Err(proxy.server_refused(server, format_args!("reply {other}, which SOCKS5 does not know"))),
    }
}

/// The address at the proxy's other side ends its reply; what comes after it is the server's.
async fn skip_address<S: AsyncRead + Unpin>(proxy: &Proxy, stream: &mut S) -> Result<()> {
    let when = "in the middle of its reply";
    let [_, kind] = hear(proxy, stream, when).await?;
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(hear::<1, _>(proxy, stream, when).await?[0]),
        other => {
            return Err(proxy.misbehaved(format_args!(
                "answers with an address of kind {other}, which SOCKS5 does not know"
            )));
        }
    };
    for _ in 0..length + size_of::<u16>() {
        hear::<1, _>(proxy, stream, when).await?;
    }
    Ok(())
}

async fn tell<S: AsyncWrite + Unpin>(proxy: &Proxy, stream: &mut S, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await.map_err(|error| proxy.broken(error, "before it had heard all"))
}

async fn hear<const N: usize, S: AsyncRead + Unpin>(
    proxy: &Proxy,
    stream: &mut S,
    when: &str,
) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|error| proxy.broken(error, when))?;
    Ok(bytes)
}

fn not_socks(proxy: &Proxy, first: u8) -> Error {
    proxy.misbehaved(if first == b'H' {
        "does not speak SOCKS5; it may be one of HTTP"
    } else {
        "is none: what answers there is not SOCKS5"
    })
}
