//! What to do where ThingsBoard's REST API was not reached. The general advice is about MQTT.

use tbprov::ErrorCode;

use super::advice::general;

/// What helps where dialling the REST API failed.
pub(super) fn of_rest(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::NetworkConnect => {
            "check host and port of --api-url: it is the address of ThingsBoard's web pages (443 or 8080 as a rule), and a firewall may stand between"
        }
        ErrorCode::NetworkTimeout => {
            "check host and port of --api-url: it is the address of ThingsBoard's web pages; try again, with a longer --timeout if the link or the server is slow"
        }
        ErrorCode::NetworkClosed => {
            "check --api-url: it is the address of ThingsBoard's web pages, and not that of MQTT; otherwise run the same command again, and look at the log of ThingsBoard, or of the proxy in front of it"
        }
        ErrorCode::TlsHandshake => {
            "check --api-url: where ThingsBoard's web pages are served without TLS, it begins with http://; otherwise the log of the server, or of the proxy in front of it, says why the handshake ended"
        }
        ErrorCode::TlsUntrusted => {
            "get the server's certificate with 'tbprov certs inspect HOST:PORT --save api.pem' (host and port of --api-url), compare its fingerprint with the server's administrator, and give it with --api-cert"
        }
        ErrorCode::TlsExpired => {
            "the certificate of ThingsBoard's web pages has to be renewed; check this machine's clock too"
        }
        ErrorCode::TlsName => "give --api-url with a name that the server's certificate holds",
        ErrorCode::TlsClientCertificate => {
            "the server of --api-url asks for a client certificate, which an account does not have: give the address of ThingsBoard's web pages"
        }
        _ => general(code),
    }
}
