//! The device's side of TLS, and the stream that a handshake makes of a TCP connection.

use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;

use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Instant, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use log::info;
use mbedtls_rs::{
    Certificate, ClientSessionConfig, Credentials, PrivateKey, Session, SessionConfig, SessionError,
    TlsReference, TlsVersion, X509, sys,
};
use tbprov_contract::Identity;
use tbprov_contract::report::Trouble;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::tls::hooks::{last_alert, need_wrapping};
use crate::tls::verdict::{self, Failure, code, flag};

/// How long a handshake may take: RSA on a chip without an accelerator takes seconds.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long saying goodbye may take.
const CLOSING: Duration = Duration::from_millis(500);

// The numbers that are tested without Mbed TLS are Mbed TLS's.
const _: () = {
    assert!(flag::EXPIRED == sys::MBEDTLS_X509_BADCERT_EXPIRED);
    assert!(flag::FUTURE == sys::MBEDTLS_X509_BADCERT_FUTURE);
    assert!(flag::NAME_MISMATCH == sys::MBEDTLS_X509_BADCERT_CN_MISMATCH);
    assert!(code::CERTIFICATE_REFUSED == sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED);
    assert!(code::INVALID_RECORD == sys::MBEDTLS_ERR_SSL_INVALID_RECORD);
    assert!(code::FATAL_ALERT == sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
};

/// The identity as TLS uses it, parsed once for all sessions.
pub(crate) struct Tls {
    library: TlsReference<'static>,
    believed: Certificate<'static>,
    credentials: Credentials<'static>,
    server_name: CString,
    skip_name_check: bool,
}

impl Tls {
    /// Takes the certificates and the key out of `identity`, which keeps no copy.
    ///
    /// # Errors
    /// What is not usable, in words.
    pub(crate) fn new(library: TlsReference<'static>, identity: &mut Identity) -> Result<Self, Fault> {
        need_wrapping();
        let believed = core::mem::take(&mut identity.server_certificates);
        let believed = parse("the server's certificate", &believed, Certificate::new)?;
        let certificate = core::mem::take(&mut identity.certificate);
        let certificate = parse("the device's certificate", &certificate, Certificate::new)?;
        let private_key = core::mem::take(&mut identity.key);
        let private_key = parse("the device's key", &private_key, |pem| PrivateKey::new(pem, None))?;
        let server_name =
            CString::new(identity.host.as_str()).map_err(|_| unusable("the host", "a NUL in it"))?;
        Ok(Self {
            library,
            believed,
            credentials: Credentials { certificate, private_key },
            server_name,
            skip_name_check: identity.skip_name_check,
        })
    }

    /// Makes a TLS stream of a connected socket.
    pub(crate) async fn handshake<'s, 'b>(
        &'s self,
        socket: &'s mut TcpSocket<'b>,
    ) -> Result<Stream<'s, 'b>, Fault> {
        let mut config = ClientSessionConfig::new();
        config.ca_chain = Some(self.believed.clone());
        config.creds = Some(self.credentials.clone());
        config.server_name = Some(&self.server_name);
        config.skip_hostname_verification = self.skip_name_check;
        let session = Session::new(self.library, socket, &SessionConfig::Client(config));
        let mut stream = Stream { session: session.map_err(unmade)? };
        let began = Instant::now();
        with_timeout(HANDSHAKE, stream.session.connect())
            .await
            .map_err(|_| Fault::new(Trouble::Timeout, format!("no TLS within {} s", HANDSHAKE.as_secs())))?
            .map_err(|error| stream.explain(error, verdict::handshake))?;
        info!("[TLS] {} after {} ms", stream.version(), began.elapsed().as_millis());
        Ok(stream)
    }
}

/// A TLS stream over a TCP socket.
///
/// A read that is dropped loses nothing, as [`Link`](crate::mqtt) needs it: once the handshake is over, reading
/// waits nowhere but for the socket's next byte, and what has arrived is kept in the session. (`Session::split`,
/// whose read half promises this in its documentation, panics when Mbed TLS has an alert to send while it reads.)
pub(crate) struct Stream<'s, 'b> {
    session: Session<'s, &'s mut TcpSocket<'b>>,
}

impl Stream<'_, '_> {
    /// Tells the server that nothing more will come.
    pub(crate) async fn close(&mut self) {
        // The session is over in any case.
        let _ = with_timeout(CLOSING, self.session.close()).await;
    }

    fn version(&self) -> &'static str {
        match self.session.tls_version() {
            Some(TlsVersion::Tls1_2) => "TLS 1.2",
            Some(TlsVersion::Tls1_3) => "TLS 1.3",
            None => "TLS",
        }
    }

    fn explain(&self, error: SessionError, verdict: fn(Failure) -> Fault) -> Fault {
        match error {
            SessionError::Io(_) => Fault::new(Trouble::Closed, "the server closed or reset the connection"),
            SessionError::MbedTls(error) => {
                // The alert is known after the flags were asked for.
                let flags = self.session.tls_verification_details();
                verdict(Failure { code: error.code(), flags, alert: last_alert() })
            }
        }
    }
}

impl ErrorType for Stream<'_, '_> {
    type Error = Fault;
}

impl Read for Stream<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.session.read(buffer).await.map_err(|error| self.explain(error, verdict::established))
    }
}

impl Write for Stream<'_, '_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Fault> {
        self.session.write(data).await.map_err(|error| self.explain(error, verdict::established))
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.session.flush().await.map_err(|error| self.explain(error, verdict::established))
    }
}

/// Parses PEM, which Mbed TLS wants to end with a NUL; the copy that has one is wiped.
fn parse<T, E: Into<SessionError>>(
    what: &str,
    pem: &str,
    parser: impl FnOnce(X509<'_>) -> Result<T, E>,
) -> Result<T, Fault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(pem.len() + 1));
    bytes.extend_from_slice(pem.as_bytes());
    bytes.push(0);
    let pem = CStr::from_bytes_with_nul(&bytes).map_err(|_| unusable(what, "a NUL in it"))?;
    parser(X509::PEM(pem)).map_err(|error| match error.into() {
        SessionError::MbedTls(error) => unusable(what, &format!("Mbed TLS {}", verdict::hex(error.code()))),
        SessionError::Io(_) => unusable(what, "it cannot be read"),
    })
}

fn unusable(what: &str, why: &str) -> Fault {
    Fault::new(Trouble::Identity, format!("{what} in the identity cannot be used ({why})"))
}

/// Making a session allocates, and fails by nothing else.
fn unmade(error: SessionError) -> Fault {
    match error {
        SessionError::MbedTls(error) => verdict::out_of_memory(error.code()),
        SessionError::Io(_) => Fault::new(Trouble::Handshake, "no TLS session could be made"),
    }
}
