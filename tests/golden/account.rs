//! What the account can meet: each answer of a server, and what stands in its place.

use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::fixture_text;
use crate::web::*;

/// Long enough that nobody waits for it.
const LATER: &str = "Retry-After: 3600\r\n";

const CHECK: &str = "server check";

/// An empty folder with the account of a user at `url`.
fn at(url: &str) -> Place {
    Place::empty()
        .set("TBPROV_API_URL", url)
        .set("TBPROV_API_USER", "admin@example.com")
        .set("TBPROV_API_PASSWORD", "SECRET")
}

fn by_key(url: &str) -> Place {
    Place::empty().set("TBPROV_API_URL", url).set("TBPROV_API_KEY", "SECRET")
}

#[test]
fn results() {
    let mut snapshot = Snapshot::new("results/account");
    for authority in ["TENANT_ADMIN", "SYS_ADMIN", "CUSTOMER_USER", "SOMETHING_ELSE"] {
        let user = json(200, &format!(r#"{{"email":"admin@example.com","authority":"{authority}"}}"#));
        let web = Web::saying(thingsboard_but(vec![(USER, vec![user])]));
        snapshot.both(authority, CHECK, || at(&web.url()));
    }
    let early = Web::saying(thingsboard_but(vec![(INFO, vec![json(404, "")])]));
    snapshot.both("a server that does not tell its release", CHECK, || at(&early.url()));
    snapshot.check();
}

#[test]
fn refusals() {
    let mut snapshot = Snapshot::new("errors/account-refusals");
    for (title, path, said) in [
        ("rest/unauthorized: the login", LOGIN, refusal(401, 10, "Invalid username or password")),
        ("rest/unauthorized: a token that never holds", USER, refusal(401, 11, "Token has expired")),
        ("rest/forbidden", USER, refusal(403, 20, "You don't have permission to perform this operation!")),
        ("rest/conflict", USER, refusal(409, 35, "Data was changed by another user")),
        ("rest/refused", USER, refusal(400, 31, "Invalid UUID string: x")),
        ("rest/limited", USER, answer(429, LATER, "")),
        ("rest/server-error", USER, refusal(500, 2, "could not execute statement")),
        ("rest/server-error: no text", USER, json(501, "")),
        ("rest/server-error: unavailable for long", USER, answer(503, LATER, "")),
        ("rest/server-error: a page of a gateway", USER, page(502)),
        (
            "rest/second-factor",
            LOGIN,
            json(200, r#"{"token":"SECRET","refreshToken":null,"scope":"PRE_VERIFICATION_TOKEN"}"#),
        ),
    ] {
        let web = Web::saying(thingsboard_but(vec![(path, vec![said])]));
        snapshot.both(title, CHECK, || at(&web.url()));
    }
    let web = Web::saying(thingsboard_but(vec![(USER, vec![refusal(401, 2, "Invalid API key")])]));
    snapshot.both("rest/unauthorized: an API key", CHECK, || by_key(&web.url()));
    snapshot.check();
}

#[test]
fn what_is_not_the_api() {
    let mut snapshot = Snapshot::new("errors/account-elsewhere");
    let to = "Location: https://login.example.com/sso?back=SECRET\r\n";
    let cut = "HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{\"token\":\"SECRET";
    for (title, said) in [
        ("a redirect to a login page", answer(302, to, "")),
        ("a login page", page(200)),
        ("a page of a proxy", page(403)),
        ("a body that is cut off", cut.to_owned()),
        ("another product: not found", json(404, r#"{"error":"Not Found"}"#)),
        ("another product: no POST", json(405, "")),
        ("another product: JSON", json(200, r#"{"version":"1.2.3"}"#)),
        ("another product: a list", json(200, "[]")),
        ("another product: text", answer(200, "", "Welcome SECRET")),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("an answer of HTTPS's port to HTTP", page(400)),
    ] {
        let web = Web::always(said);
        snapshot.both(&format!("rest/not-thingsboard: {title}"), CHECK, || at(&web.url()));
    }
    let web = Web::saying(thingsboard());
    snapshot.both("an address with /api", CHECK, || at(&format!("{}/api", web.url())));
    snapshot.both("an address with /login", CHECK, || at(&format!("{}/login", web.url())));
    snapshot.both("an address with /login, by a key", CHECK, || by_key(&format!("{}/login", web.url())));
    snapshot.check();
}

#[test]
fn what_is_not_reached() {
    let mut snapshot = Snapshot::new("errors/account-network");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    snapshot.both("network/connect", CHECK, || at(&format!("https://localhost:{closed}")));
    let empty = Web::always(String::new());
    snapshot.both("network/closed: no answer", CHECK, || at(&empty.url()));
    let web = Web::always(answer(400, "", "Bad Request"));
    let tls = format!("https://localhost:{}", web.port);
    let pinned = |url: &str, certificate: &str| {
        at(url)
            .file("api.pem", fixture_text(&format!("server/{certificate}.pem")))
            .set("TBPROV_API_CERT", "api.pem")
    };
    snapshot.both("tls/handshake: https where http is", CHECK, || pinned(&tls, "san"));
    let mqtt = Place::served();
    let port = mqtt.port();
    let tls = format!("https://localhost:{port}");
    snapshot.both("http where https is", CHECK, || at(&format!("http://localhost:{port}")));
    snapshot.both("the port of MQTT", CHECK, || pinned(&tls, "san"));
    snapshot.both("tls/untrusted: another certificate", CHECK, || pinned(&tls, "esp32"));
    snapshot.both("tls/untrusted: none is named", CHECK, || {
        at(&tls).file("roots.pem", fixture_text("server/ca.pem")).set("SSL_CERT_FILE", "roots.pem")
    });
    let named = Place::presenting("leaf", "leaf", |_| {});
    let other = format!("https://127.0.0.1:{}", named.port());
    snapshot.both("tls/name-mismatch", CHECK, || pinned(&other, "leaf"));
    let silent = Place::with_fault("stall-tls");
    let slow = format!("https://localhost:{}", silent.port());
    snapshot.both("network/timeout", "server check --timeout 1s", || pinned(&slow, "san"));
    snapshot.check();
}

#[test]
fn what_is_named_wrong() {
    let mut snapshot = Snapshot::new("errors/account-usage");
    let place = Place::empty();
    for (title, line) in [
        ("no account", ""),
        ("a URL alone", "--api-url https://h"),
        ("a user without a URL", "--api-user a"),
        ("a user whose password nobody can be asked for", "--api-url https://h --api-user a"),
        ("an address without a scheme", "--api-url tb.example.com --api-user a"),
        ("a password within the URL", "--api-url https://a:SECRET@h --api-user a"),
        ("an empty URL", "--api-url= --api-user a"),
        ("a key and a user", "--api-url https://h --api-key-file f --api-user a"),
        ("a key that is no file", "--api-url https://h --api-key-file SECRET"),
        ("in clear text", "--api-url http://h --api-user a"),
    ] {
        snapshot.both_in(&place, title, &format!("{CHECK} {line}"));
    }
    for (title, variables) in [
        ("a URL by a flag, a key by a variable", &[("TBPROV_API_KEY", "SECRET")][..]),
        ("a key with a line end", &[("TBPROV_API_URL", "https://h"), ("TBPROV_API_KEY", "SECRET\n")]),
    ] {
        let line = if variables.len() > 1 { "" } else { " --api-url https://h" };
        let place = variables.iter().fold(Place::empty(), |place, (name, value)| place.set(name, value));
        snapshot.both_in(&place, title, &format!("{CHECK}{line}"));
    }
    let found = Place::empty().file("tbprov.toml", "api-url = 'https://h'\napi-key-file = 'f'\n");
    snapshot.both_in(&found, "a file that nobody named", CHECK);
    snapshot.check();
}
