//! TLS: versions, client certificates known and unknown, resumption.

use std::io;
use std::sync::{Arc, Mutex};

use rumqttc::mqttbytes::v4::Connect;
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use tbprov::ErrorCode;
use tbprov::identity::{Issue, Profile, Validity, X509Identity, issue};
use tbprov::keys::{KeyType, tls_key};
use tbprov::sim::{Config, HeldCredentials, PreProvisioned, Release, ServerIdentity, Simulator};
use time::Duration;

use crate::client::*;

fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn both_versions_are_spoken_and_told() {
    let known = new_identity();
    for (version, told) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let fixture = start(|config| config.pre_provisioned = vec![holding("a", &known)]).await;
        let config = client_config(fixture.simulator.certificate(), Some(&known), &[version]);
        let mut client = Client::new(handshake(fixture.simulator.address(), config).await.unwrap());
        assert_eq!(client.connect(Connect::new("x")).await, Some((0, 0)));
        let events = fixture.events.ndjson();
        assert!(events.contains(told) && events.contains(&known.certificate.credentials_id()), "{events}");
    }
}

#[tokio::test]
async fn up_to_3_4_an_unknown_certificate_is_refused_in_tls() {
    let unknown = new_identity();
    for release in [Release::V3_2, Release::V3_4] {
        let fixture = start(|config| config.release = release).await;
        let address = fixture.simulator.address();
        let config = |version| client_config(fixture.simulator.certificate(), Some(&unknown), &[version]);
        let error = handshake(address, config(&TLS12)).await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::CertificateUnknown));

        // In TLS 1.3 the client's handshake is over before the server has seen the certificate.
        let mut stream = handshake(address, config(&TLS13)).await.unwrap();
        let error = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::CertificateUnknown));
        fixture.events.until("tls-failed").await;
    }
}

#[tokio::test]
async fn up_to_3_4_a_known_certificate_connects() {
    let known = new_identity();
    for release in [Release::V3_2, Release::V3_4] {
        let fixture = start(|config| {
            config.release = release;
            config.pre_provisioned = vec![holding("a", &known)];
        })
        .await;
        fixture.device(&known).await;
    }
}

#[tokio::test]
async fn from_3_5_on_an_unknown_certificate_is_refused_at_connect() {
    for release in [Release::V3_6, Release::V3_8, Release::V4_3] {
        let fixture = start(|config| config.release = release).await;
        let mut client = fixture.dial(Some(&new_identity())).await;
        assert_eq!(client.connect(Connect::new("x")).await, Some((0, 5)));
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn a_certificate_outside_its_dates_is_refused_though_it_is_known() {
    let now = tbprov::clock::now().replace_nanosecond(0).unwrap();
    let day = Duration::days(1);
    let expired = Validity { not_before: now - day * 2, not_after: now - day };
    let future = Validity { not_before: now + day, not_after: now + day * 2 };
    for release in Release::ALL {
        for validity in [expired, future] {
            let identity = identity(validity);
            let fixture = start(|config| {
                config.release = *release;
                config.pre_provisioned = vec![holding("a", &identity)];
            })
            .await;
            let mut client = fixture.dial(Some(&identity)).await;
            let code = client.connect(Connect::new("x")).await.unwrap().1;
            assert_eq!(code, 5, "{release}");
        }
    }
}

/// A leaf and its authority, in this order and with a stranger in the authority's place.
#[tokio::test]
async fn from_3_5_on_each_certificate_of_a_chain_must_be_signed_by_the_next() {
    let key = || Arc::new(tbprov::keys::SoftwareKey::generate(KeyType::EcP256).unwrap());
    let (authority_key, leaf_key) = (key(), key());
    let wanted = Issue {
        name: "ca",
        profile: &Profile::Authority,
        validity: Validity::days(1),
        key: &*authority_key,
        issuer: None,
    };
    let authority = issue(&wanted).unwrap().leaf;
    let issuer =
        X509Identity { leaf: authority.clone(), intermediates: Vec::new(), key: authority_key.clone() };
    let wanted =
        Issue { name: "a", profile: &Profile::Device, key: &*leaf_key, issuer: Some(&issuer), ..wanted };
    let leaf = issue(&wanted).unwrap().leaf;
    let stranger = new_identity().certificate;
    for release in Release::ALL {
        let device = PreProvisioned::new("a").with(HeldCredentials::certificate(&leaf));
        let fixture = start(|config| {
            config.release = *release;
            config.pre_provisioned = vec![device];
        })
        .await;
        for (above, accepted) in [(&authority, true), (&stranger, *release < Release::V3_6)] {
            let chain = vec![leaf.der().clone(), above.der().clone()];
            let certified = rustls::sign::CertifiedKey::new(chain, tls_key(leaf_key.clone()));
            let mut config = client_config(fixture.simulator.certificate(), None, &[&TLS12]);
            config.client_auth_cert_resolver = Arc::new(Presents(Mutex::new(Some(Arc::new(certified)))));
            match handshake(fixture.simulator.address(), config).await {
                Ok(stream) => {
                    assert!(accepted, "{release}");
                    assert_eq!(
                        Client::new(stream).connect(Connect::new("x")).await.unwrap().1,
                        0,
                        "{release}"
                    );
                }
                Err(error) => {
                    assert!(!accepted, "{release}");
                    assert_eq!(alert(&error), Some(AlertDescription::CertificateUnknown));
                }
            }
        }
    }
}

/// The trap of the real server: a resumed session keeps the identity of the original one.
#[tokio::test]
async fn a_resumed_session_keeps_the_identity_of_the_original_one() {
    let known = new_identity();
    for (release, code) in [(Release::V3_2, 0), (Release::V4_3, 2)] {
        let fixture = start(|config| {
            config.release = release;
            config.pre_provisioned = vec![holding("a", &known)];
        })
        .await;
        let address = fixture.simulator.address();
        let mut config = client_config(fixture.simulator.certificate(), None, &[&TLS13]);
        let presents = Arc::new(Presents(Mutex::new(None)));
        config.client_auth_cert_resolver = presents.clone();
        let mut first = Client::new(handshake(address, config.clone()).await.unwrap());
        // The CONNACK comes after the session tickets.
        assert!(first.connect(user("provision")).await.is_some());
        *presents.0.lock().unwrap() = Some(certified(&known));
        let mut second = Client::new(handshake(address, config).await.unwrap());
        assert_eq!(second.connect(Connect::new("x")).await.unwrap().1, code, "{release}");
    }
}

#[tokio::test]
async fn a_server_identity_may_be_given_and_must_fit_together() {
    let own = new_identity();
    let pin = own.certificate.clone();
    let server = Some(ServerIdentity { chain: vec![own.certificate], key: own.key });
    let fixture = start(|config| config.server = server).await;
    assert_eq!(fixture.simulator.certificate(), &pin);

    let mut config = Config::new(KEY, tbprov::Secret::new(SECRET));
    let (one, other) = (new_identity(), new_identity());
    config.server = Some(ServerIdentity { chain: vec![one.certificate], key: other.key });
    let error = Simulator::start(config, Arc::new(())).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::FileMismatch);
}

#[tokio::test]
async fn every_quick_key_type_is_taken() {
    for key_type in [KeyType::EcP384, KeyType::Ed25519, KeyType::Rsa2048] {
        let key = Arc::new(tbprov::keys::SoftwareKey::generate(key_type).unwrap());
        let validity = Validity::days(1);
        let wanted = Issue { name: "a", profile: &Profile::Device, validity, key: &*key, issuer: None };
        let certificate = issue(&wanted).unwrap().leaf;
        let held = HeldCredentials::certificate(&certificate);
        let device = PreProvisioned::new("a").with(held);
        let fixture = start(|config| config.pre_provisioned = vec![device]).await;
        let identity = Identity { certificate, key };
        for version in [&TLS12, &TLS13] {
            let config = client_config(fixture.simulator.certificate(), Some(&identity), &[version]);
            let mut client = Client::new(handshake(fixture.simulator.address(), config).await.unwrap());
            assert_eq!(client.connect(Connect::new("x")).await, Some((0, 0)), "{key_type} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let fixture = start(|_| {}).await;
    let mut config = Config::new(KEY, tbprov::Secret::new(SECRET));
    config.bind = fixture.simulator.address();
    let error = Simulator::start(config, Arc::new(())).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::UsageInvalid);
    assert!(error.message.contains(&fixture.simulator.address().to_string()));
}
