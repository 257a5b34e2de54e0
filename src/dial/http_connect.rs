//! HTTP CONNECT (RFC 9110 9.3.6): a proxy is asked for a tunnel to the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::proxy::Proxy;
use crate::error::{Error, Result};
use crate::server::Server;
use crate::text::one_line;

/// Bytes of the header of an answer that are read.
const LONGEST_HEAD: usize = 16 * 1024;

/// Characters of a status line that are shown.
const LONGEST_SHOWN: usize = 200;

/// How every answer begins.
const BEGIN: &[u8] = b"HTTP/";

pub(super) async fn open<S>(proxy: &Proxy, stream: &mut S, server: &Server) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = stream.write_all(request(proxy, server).as_bytes()).await;
    asked.map_err(|error| proxy.broken(error, "before it was asked"))?;
    loop {
        let head = head(proxy, stream).await?;
        // An interim answer (RFC 9110 15.2) is followed by another.
        if !matches!(status(head.lines().next().unwrap_or_default()), Some(100..=199)) {
            return judge(proxy, server, &head);
        }
    }
}

/// Each text with the password is made in its full length at once: one that grows leaves copies behind.
fn request(proxy: &Proxy, server: &Server) -> Zeroizing<String> {
    let begin = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n");
    let encoded = proxy.login().map(|login| {
        let (user, password) = (login.user.expose(), login.password.expose());
        let mut both = Zeroizing::new(String::with_capacity(user.len() + 1 + password.len()));
        [user, ":", password].into_iter().for_each(|part| both.push_str(part));
        Zeroizing::new(STANDARD.encode(both.as_bytes()))
    });
    let login: [&str; 3] = match &encoded {
        Some(encoded) => ["Proxy-Authorization: Basic ", encoded.as_str(), "\r\n"],
        None => ["", "", ""],
    };
    let length = begin.len() + login.iter().map(|part| part.len()).sum::<usize>() + "\r\n".len();
    let mut request = Zeroizing::new(String::with_capacity(length));
    request.push_str(&begin);
    login.into_iter().chain(["\r\n"]).for_each(|part| request.push_str(part));
    request
}

/// The header of the answer, byte by byte: what comes after it is the server's.
async fn head<S: AsyncRead + Unpin>(proxy: &Proxy, stream: &mut S) -> Result<String> {
    let mut head = Vec::new();
    while !(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")) {
        if head.len() >= LONGEST_HEAD {
            return Err(proxy.misbehaved("answers CONNECT with a header of more than 16 KiB"));
        }
        let when =
            if head.is_empty() { "without an answer to CONNECT" } else { "in the middle of its answer" };
        head.push(stream.read_u8().await.map_err(|error| proxy.broken(error, when))?);
        if let Some(other) = not_http(&head) {
            return Err(proxy.misbehaved(other));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// What answers in place of HTTP, by its first bytes.
fn not_http(head: &[u8]) -> Option<&'static str> {
    if head.len() > BEGIN.len() || BEGIN.starts_with(head) {
        return None;
    }
    Some(match head.first() {
        // The first byte of a TLS record that is an alert or a handshake's.
        Some(0x15 | 0x16) => "speaks TLS, and a proxy over TLS is not supported",
        _ => "is none: what answers there is not HTTP",
    })
}

fn judge(proxy: &Proxy, server: &Server, head: &str) -> Result<()> {
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default();
    let shown = format!("'{}'", one_line(&words(line), LONGEST_SHOWN));
    let fields: Vec<(&str, &str)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect();
    match status(line) {
        Some(200..=299) if announces_a_page(&fields) => {
            Err(proxy.misbehaved(format_args!("is none: it answers CONNECT with a page ({shown})")))
        }
        Some(200..=299) => Ok(()),
        Some(407) => Err(login_refused(proxy, &fields)),
        Some(405 | 501) => Err(proxy.misbehaved(format_args!("does not know CONNECT: {shown}"))),
        Some(500..=599) => Err(proxy.server_unreached(server, shown)),
        Some(_) => Err(proxy.server_refused(server, shown)),
        None => Err(proxy.misbehaved(format_args!("answers CONNECT with {shown}, which is not HTTP"))),
    }
}

/// Version, code, and what of the reason is plain words: a proxy that repeats user and password, in whatever form, shall
/// not have them shown.
fn words(line: &str) -> String {
    let is_plain = |word: &&str| {
        let rest = word.get(1..).unwrap_or_default();
        let is_word =
            word.chars().all(|character| character.is_ascii_alphabetic() || "-'.,".contains(character));
        is_word
            && (!rest.contains(|letter: char| letter.is_ascii_uppercase()) || **word == word.to_uppercase())
    };
    let mut parts = line.split_ascii_whitespace();
    let begin: Vec<_> = parts.by_ref().take(2).collect();
    begin.into_iter().chain(parts.filter(is_plain)).collect::<Vec<_>>().join(" ")
}

/// The code of a status line such as `HTTP/1.1 200 Connection established`.
fn status(line: &str) -> Option<u16> {
    let code = line.split_ascii_whitespace().nth(1)?;
    code.parse().ok().filter(|code| (100..1000).contains(code))
}

/// A proxy that has connected sends no content of its own (RFC 9110 9.3.6); a web server does.
fn announces_a_page(fields: &[(&str, &str)]) -> bool {
    fields.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding")
            || name.eq_ignore_ascii_case("content-length") && *value != "0"
    })
}

/// 407: the user is missing or wrong, or is asked for in a way other than Basic.
fn login_refused(proxy: &Proxy, fields: &[(&str, &str)]) -> Error {
    let asked: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authenticate"))
        .flat_map(|(_, value)| value.split(','))
        .filter_map(|challenge| challenge.split_ascii_whitespace().next())
        // A parameter of the challenge before it (RFC 9110 11.6.1).
        .filter(|scheme| !scheme.contains('='))
        .collect();
    let knows_basic = asked.is_empty() || asked.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    if !knows_basic {
        let asked = one_line(&asked.join(", "), LONGEST_SHOWN);
        return proxy.misbehaved(format_args!("asks for a login by {asked}; only Basic is supported (407)"));
    }
    proxy.login_refused(match proxy.login() {
        None => "wants a user and a password (407)",
        Some(_) => "refuses this user or its password (407)",
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::tls::{Trust, TrustSource};

    /// Whether the proxy is believed to have connected, and what it has said after that.
    fn heard(answer: &[u8]) -> (bool, Vec<u8>) {
        let trust = Arc::new(Trust::from_certificates(Vec::new(), TrustSource::System, false));
        let server = Server { host: "thingsboard.invalid".parse().unwrap(), port: 8883, trust };
        let proxy: Proxy = "http://u:p@proxy.invalid:3128".parse().unwrap();
        let mut stream = tokio::io::join(Cursor::new(answer.to_vec()), tokio::io::sink());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let opened = runtime.block_on(open(&proxy, &mut stream, &server)).is_ok();
        let said = stream.reader();
        (opened, said.get_ref()[usize::try_from(said.position()).unwrap()..].to_vec())
    }

    #[test]
    fn an_interim_answer_is_followed_by_another() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
        assert_eq!(heard(answer), (true, b"rest".to_vec()));
    }

    proptest! {
        #[test]
        fn nothing_of_the_server_is_taken(rest in prop::collection::vec(any::<u8>(), 0..64)) {
            let answer = [b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n".as_slice(), &rest].concat();
            prop_assert_eq!(heard(&answer), (true, rest));
        }

        #[test]
        fn garbage_is_no_answer(answer in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(!heard(&answer).0);
        }

        #[test]
        fn what_is_nearly_an_answer_is_read_to_its_end(code in 0u16..1000, fields in "([ -~]{0,20}\r?\n){0,4}") {
            let answer = format!("HTTP/1.1 {code:03} x\r\n{fields}\r\n");
            let is_page = fields.to_ascii_lowercase().contains("length") || fields.to_ascii_lowercase().contains("encoding");
            prop_assert!(is_page || heard(answer.as_bytes()).0 == (200..300).contains(&code));
        }
    }
}
