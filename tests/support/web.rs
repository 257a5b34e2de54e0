//! A web server whose every answer is written down.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// `(the beginning of a request line, what is answered to the first, the second and so on)`; the last is repeated.
pub(crate) type Canned = (&'static str, Vec<String>);

/// Answers without TLS, each time on a connection of its own, and 404 to what it has no answer for.
pub(crate) struct Web {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub(crate) fn saying(answers: Vec<Canned>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let web = Self { port, heard: Arc::clone(&heard) };
        std::thread::spawn(move || {
            let mut answers = answers;
            for stream in listener.incoming() {
                drop(serve(&stream.unwrap(), &mut answers, &heard));
            }
        });
        web
    }

    /// One answer to whatever is asked.
    pub(crate) fn always(answer: String) -> Self {
        Self::saying(vec![("", vec![answer])])
    }

    /// What it was asked, one request after the other, with head and body.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }
}

fn serve(stream: &TcpStream, answers: &mut [Canned], heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
        if line.trim().is_empty() || !request.contains("HTTP/1.1") {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.push_str(std::str::from_utf8(&body).unwrap());
    let found = answers.iter_mut().find(|(path, _)| request.starts_with(path));
    let answer = match found {
        Some((_, answers)) if answers.len() > 1 => answers.remove(0),
        Some((_, answers)) => answers[0].clone(),
        None => json(404, ""),
    };
    heard.lock().unwrap().push(request);
    (&*stream).write_all(answer.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // Without this, what was not read makes a reset of the end.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    reader.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// An answer with a body of this type, and headers.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(crate) fn json(status: u16, body: &str) -> String {
    answer(status, "Content-Type: application/json\r\n", body)
}

/// What ThingsBoard says of a failure.
pub(crate) fn refusal(status: u16, code: u16, message: &str) -> String {
    json(status, &format!(r#"{{"status":{status},"message":"{message}","errorCode":{code},"timestamp":1}}"#))
}

pub(crate) fn page(status: u16) -> String {
    answer(status, "Content-Type: text/html\r\n", "<!doctype html>\n<html><body>Please log in.</body></html>")
}

pub(crate) const LOGIN: &str = "POST /api/auth/login ";
pub(crate) const TOKEN: &str = "POST /api/auth/token ";
pub(crate) const USER: &str = "GET /api/auth/user ";
pub(crate) const INFO: &str = "GET /api/system/info ";

/// The first token, and what renews it.
pub(crate) const FIRST: &str = r#"{"token":"the-1st-token","refreshToken":"the-1st-refresh","scope":null}"#;

/// A login, a user and a release, as ThingsBoard 4.3 answers.
pub(crate) fn thingsboard() -> Vec<Canned> {
    vec![
        (LOGIN, vec![json(200, FIRST)]),
        (TOKEN, vec![json(200, r#"{"token":"the-2nd-token","refreshToken":"the-2nd-refresh"}"#)]),
        (USER, vec![json(200, r#"{"email":"admin@example.com","authority":"TENANT_ADMIN"}"#)]),
        (INFO, vec![json(200, r#"{"version":"4.3.1.3","type":"CE"}"#)]),
    ]
}

/// The same, but for these.
pub(crate) fn thingsboard_but(changed: Vec<Canned>) -> Vec<Canned> {
    changed.into_iter().chain(thingsboard()).collect()
}
