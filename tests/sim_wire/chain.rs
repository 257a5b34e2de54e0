//! Registration at connect: the X.509 certificate chain strategy, as the real servers showed it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Connect;
use rustls::version::TLS12;
use tbprov::ErrorCode;
use tbprov::identity::{Issue, Profile, Validity, X509Identity, issue};
use tbprov::keys::{KeyType, SoftwareKey, tls_key};
use tbprov::sim::{Config, NamePattern, Release, Simulator, Strategy};
use time::OffsetDateTime;

use crate::client::*;

/// Those that have the strategy.
const RELEASES: [Release; 3] = [Release::V3_6, Release::V3_8, Release::V4_3];

/// Takes the whole common name.
const WHOLE: &str = "(.*)";

pub(crate) fn authority(name: &str) -> Identity {
    made(&Profile::Authority, None, name, around(tbprov::clock::now(), 10))
}

fn issued_as(profile: &Profile, authority: &Identity, name: &str, validity: Validity) -> Identity {
    let issuer = X509Identity {
        leaf: authority.certificate.clone(),
        intermediates: Vec::new(),
        key: authority.key.clone(),
    };
    made(profile, Some(&issuer), name, validity)
}

fn made(profile: &Profile, issuer: Option<&X509Identity>, name: &str, validity: Validity) -> Identity {
    let key = Arc::new(SoftwareKey::generate(KeyType::EcP256).unwrap());
    let certificate = issue(&Issue { name, profile, validity, key: &*key, issuer }).unwrap().leaf;
    Identity { certificate, key }
}

/// Two days long, or `days` more at either end.
fn around(middle: OffsetDateTime, days: i64) -> Validity {
    let half = time::Duration::days(1 + days);
    let middle = middle.replace_nanosecond(0).unwrap();
    Validity { not_before: middle - half, not_after: middle + half }
}

pub(crate) fn issued(authority: &Identity, name: &str) -> Identity {
    issued_as(&Profile::Device, authority, name, Validity::days(30))
}

/// A simulator of `release` whose profile is that of `authority`, with what `change` has changed.
async fn chain(
    release: Release,
    authority: &Identity,
    pattern: &str,
    allow_create: bool,
    change: impl FnOnce(&mut Config),
) -> Fixture {
    start(|config| {
        config.release = release;
        config.strategy = Strategy::Chain {
            authority: authority.certificate.clone(),
            name_pattern: NamePattern::new(pattern),
            allow_create,
        };
        change(config);
    })
    .await
}

impl Fixture {
    /// TLS with the certificates of `leaf` and `issuers`, in this order.
    async fn dial_with(&self, leaf: &Identity, issuers: &[&Identity]) -> std::io::Result<Client<TlsStream>> {
        let certificates = std::iter::once(leaf).chain(issuers.iter().copied());
        let chain = certificates.map(|identity| identity.certificate.der().clone()).collect();
        let certified = rustls::sign::CertifiedKey::new(chain, tls_key(leaf.key.clone()));
        let mut config = client_config(self.simulator.certificate(), None, &[&TLS12]);
        config.client_auth_cert_resolver = Arc::new(Presents(Mutex::new(Some(Arc::new(certified)))));
        Ok(Client::new(handshake(self.simulator.address(), config).await?))
    }

    /// The session that they get, and the code of its CONNACK.
    pub(crate) async fn connected(&self, leaf: &Identity, issuers: &[&Identity]) -> (Client<TlsStream>, u8) {
        let mut client = self.dial_with(leaf, issuers).await.unwrap();
        let (_, code) = client.connect(Connect::new("x")).await.unwrap();
        (client, code)
    }

    async fn code(&self, leaf: &Identity, issuers: &[&Identity]) -> u8 {
        self.connected(leaf, issuers).await.1
    }

    /// The names of all devices.
    fn names(&self) -> Vec<String> {
        self.simulator.devices().into_iter().map(|device| device.name).collect()
    }

    /// The device's credentialsId.
    fn holds(&self, name: &str) -> Option<String> {
        let device = self.simulator.devices().into_iter().find(|device| device.name == name);
        device.and_then(|device| device.credentials_id)
    }
}

/// The leaf and what is sent with it, whether TLS succeeds, the CONNACK, the devices then.
type Row<'a> = (&'a Identity, &'a [&'a Identity], bool, u8, &'a [&'a str]);

#[tokio::test]
async fn a_connect_registers_the_device_and_the_leaf_alone_connects_afterwards() {
    let (ca, stranger) = (authority("ca"), authority("another ca"));
    let leaf = issued(&ca, "sensor");
    let sub = issued_as(&Profile::Authority, &ca, "sub", Validity::days(30));
    let below = issued(&sub, "below");
    let rows: [Row<'_>; 9] = [
        (&leaf, &[], true, 5, &[]),
        (&leaf, &[&stranger], false, 0, &[]),
        (&issued(&stranger, "x"), &[&stranger], true, 5, &[]),
        (&leaf, &[&ca], true, 0, &["sensor"]),
        (&leaf, &[&ca, &ca], true, 0, &["sensor"]),
        (&leaf, &[], true, 0, &["sensor"]),
        (&below, &[&sub], true, 5, &["sensor"]),
        (&below, &[&ca], false, 0, &["sensor"]),
        (&below, &[&sub, &ca], true, 0, &["below", "sensor"]),
    ];
    for release in RELEASES {
        let fixture = chain(release, &ca, WHOLE, true, |_| {}).await;
        for (at, (leaf, issuers, in_order, code, devices)) in rows.iter().enumerate() {
            match fixture.dial_with(leaf, issuers).await {
                Ok(mut client) => {
                    assert!(in_order, "{release} {at}");
                    let connack = client.connect(Connect::new("x")).await;
                    assert_eq!(connack, Some((0, *code)), "{release} {at}");
                }
                Err(error) => {
                    assert!(!in_order, "{release} {at}");
                    assert!(error.to_string().contains("CertificateUnknown"), "{error}");
                }
            }
            assert_eq!(fixture.names(), *devices, "{release} {at}");
        }
        assert_eq!(fixture.holds("sensor"), Some(leaf.certificate.credentials_id()));
        let devices = fixture.simulator.devices();
        assert!(devices.iter().all(|device| device.provisioned && !device.gateway));
        let registered = fixture.events.ndjson().matches(r#""event":"registered""#).count();
        assert_eq!(registered, 2, "{release}");
    }
}

/// The profile's certificate need not be a root, and what is above it may be left out.
#[tokio::test]
async fn a_profile_may_be_that_of_an_authority_in_the_middle() {
    let ca = authority("ca");
    let sub = issued_as(&Profile::Authority, &ca, "sub", Validity::days(30));
    let fixture = chain(Release::V4_3, &sub, WHOLE, true, |_| {}).await;
    assert_eq!(fixture.code(&issued(&sub, "a"), &[&sub]).await, 0);
    assert_eq!(fixture.code(&issued(&sub, "b"), &[&sub, &ca]).await, 0);
    assert_eq!(fixture.code(&issued(&ca, "c"), &[&ca]).await, 5);
    assert_eq!(fixture.names(), ["a", "b"]);
}

/// In the order sent, the first certificate that is known ends the search, and CONNECT looks at the leaf alone.
#[tokio::test]
async fn a_device_above_the_leaf_keeps_the_leaf_from_being_registered() {
    let ca = authority("ca");
    let sub = issued_as(&Profile::Authority, &ca, "sub", Validity::days(30));
    let devices = vec![holding("sub", &sub)];
    let fixture = chain(Release::V4_3, &ca, WHOLE, true, |config| config.pre_provisioned = devices).await;
    assert_eq!(fixture.code(&issued(&sub, "a"), &[&sub, &ca]).await, 5);
    assert_eq!(fixture.names(), ["sub"]);
}

#[tokio::test]
async fn common_names_become_names_as_bouncy_castle_writes_them() {
    let ca = authority("ca");
    let long = "x".repeat(64);
    let rows: [(&str, Option<&str>); 15] = [
        ("dev,1", Some(r"dev\,1")),
        ("a+b", Some(r"a\+b")),
        ("a=b", Some(r"a\=b")),
        (r#"a"b""#, Some(r#"a\"b\""#)),
        ("a;b", Some(r"a\;b")),
        (r"a\b", Some(r"a\\b")),
        ("#a", Some(r"\#a")),
        ("a#b", Some("a#b")),
        (" outer blanks ", Some("outer blanks")),
        ("传感器", Some("传感器")),
        ("🌡/1", Some("🌡/1")),
        (&long, Some(&long)),
        ("a<b", None),
        ("<b>x</b>", None),
        ("a", Some("a")),
    ];
    for (common_name, name) in rows {
        let fixture = chain(Release::V4_3, &ca, WHOLE, true, |_| {}).await;
        let code = fixture.code(&issued(&ca, common_name), &[&ca]).await;
        assert_eq!(code, if name.is_some() { 0 } else { 5 }, "{common_name}");
        assert_eq!(fixture.names(), name.into_iter().collect::<Vec<_>>(), "{common_name}");
    }
}

#[tokio::test]
async fn the_pattern_names_the_device_or_nobody() {
    let ca = authority("ca");
    for (pattern, name, why) in [
        (r"(.*)\.example\.com", Some("sensor"), ""),
        (r"(?=sensor)([a-z]+)", Some("sensor"), ""),
        ("example(.*)", Some(".com"), ""),
        (r"(.*)\.example\.org", None, "is not in the common name 'sensor.example.com'"),
        (".*", None, "has no group"),
        ("(", None, "cannot be used"),
        ("", None, "has no group"),
    ] {
        let fixture = chain(Release::V4_3, &ca, pattern, true, |_| {}).await;
        let code = fixture.code(&issued(&ca, "sensor.example.com"), &[&ca]).await;
        assert_eq!(code, if name.is_some() { 0 } else { 5 }, "{pattern}");
        assert_eq!(fixture.names(), name.into_iter().collect::<Vec<_>>(), "{pattern}");
        assert!(fixture.events.ndjson().contains(why), "{pattern}");
    }
}

#[tokio::test]
async fn an_empty_group_makes_a_random_name_for_each_new_leaf() {
    let ca = authority("ca");
    let fixture = chain(Release::V4_3, &ca, "(a)|b.*", true, |_| {}).await;
    let (first, second) = (issued(&ca, "b"), issued(&ca, "b"));
    for leaf in [&first, &first, &second, &first] {
        assert_eq!(fixture.code(leaf, &[&ca]).await, 0);
    }
    let names = fixture.names();
    assert_eq!(names.len(), 2);
    assert!(
        names.iter().all(|name| name.len() == 20 && name.chars().all(char::is_alphanumeric)),
        "{names:?}"
    );
}

#[tokio::test]
async fn another_leaf_replaces_the_certificate_and_the_old_one_puts_it_back() {
    let ca = authority("ca");
    let (old, new) = (issued(&ca, "sensor"), issued(&ca, "sensor"));
    for release in RELEASES {
        let fixture = chain(release, &ca, WHOLE, true, |_| {}).await;
        let (mut session, code) = fixture.connected(&old, &[&ca]).await;
        assert_eq!(code, 0);
        session.publish(TELEMETRY, QoS::AtLeastOnce, r#"{"a":1}"#).await;
        assert!(session.is_acknowledged().await);
        for leaf in [&new, &old, &new] {
            assert_eq!(fixture.code(leaf, &[&ca]).await, 0, "{release}");
            assert_eq!(fixture.holds("sensor"), Some(leaf.certificate.credentials_id()), "{release}");
        }
        // What is replaced is unknown, and the device is the same one.
        assert_eq!(fixture.code(&old, &[]).await, 5, "{release}");
        assert_eq!(fixture.names(), ["sensor"]);
        assert_eq!(fixture.simulator.devices()[0].telemetry, 1);
        assert_eq!(fixture.events.ndjson().matches(r#""replaced":true"#).count(), 3, "{release}");
    }
}

/// The replacement itself happens in TLS, before the CONNECT that takes the session over in every release.
#[tokio::test]
async fn from_3_7_on_a_replaced_certificate_ends_the_session() {
    let ca = authority("ca");
    let (old, new) = (issued(&ca, "sensor"), issued(&ca, "sensor"));
    for release in RELEASES {
        let fixture = chain(release, &ca, WHOLE, true, |_| {}).await;
        let (mut session, code) = fixture.connected(&old, &[&ca]).await;
        assert_eq!(code, 0);
        let mut newer = fixture.dial_with(&new, &[&ca]).await.unwrap();
        while fixture.holds("sensor") != Some(new.certificate.credentials_id()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(session.is_quiet().await, release == Release::V3_6, "{release}");
        assert_eq!(newer.connect(Connect::new("x")).await, Some((0, 0)), "{release}");
        assert!(session.is_closed().await, "{release}");
        assert!(newer.is_quiet().await, "{release}");
    }
}

#[tokio::test]
async fn a_device_of_another_kind_or_profile_is_left_alone() {
    let ca = authority("ca");
    let theirs = new_identity();
    for allow_create in [true, false] {
        let devices = vec![with_token("token", "T"), holding("elsewhere", &theirs).of_other_profile()];
        let fixture =
            chain(Release::V4_3, &ca, WHOLE, allow_create, |config| config.pre_provisioned = devices).await;
        for name in ["token", "elsewhere"] {
            assert_eq!(fixture.code(&issued(&ca, name), &[&ca]).await, 5, "{name}");
        }
        assert_eq!(fixture.names(), ["elsewhere", "token"]);
        assert_eq!(fixture.holds("elsewhere"), Some(theirs.certificate.credentials_id()));
        let mut client = fixture.dial(None).await;
        assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    }
}

#[tokio::test]
async fn without_creating_only_devices_that_exist_get_certificates() {
    let (ca, before) = (authority("ca"), new_identity());
    let devices = vec![holding("known", &before)];
    let fixture = chain(Release::V4_3, &ca, WHOLE, false, |config| config.pre_provisioned = devices).await;
    let leaf = issued(&ca, "known");
    assert_eq!(fixture.code(&issued(&ca, "unknown"), &[&ca]).await, 5);
    assert_eq!(fixture.code(&leaf, &[&ca]).await, 0);
    assert_eq!(fixture.names(), ["known"]);
    assert_eq!(fixture.holds("known"), Some(leaf.certificate.credentials_id()));
}

/// TLS looks at no dates, so the device is there when CONNECT refuses its leaf.
#[tokio::test]
async fn the_dates_of_the_leaf_are_looked_at_by_connect() {
    let ca = authority("ca");
    let expired = around(tbprov::clock::now() - time::Duration::days(3), 0);
    let leaf = issued_as(&Profile::Device, &ca, "sensor", expired);
    let fixture = chain(Release::V4_3, &ca, WHOLE, true, |_| {}).await;
    assert_eq!(fixture.code(&leaf, &[&ca]).await, 5);
    assert_eq!(fixture.names(), ["sensor"]);
}

#[tokio::test]
async fn a_certificate_registers_on_a_provisioning_connection_too() {
    let ca = authority("ca");
    let fixture = chain(Release::V4_3, &ca, WHOLE, true, |_| {}).await;
    let mut client = fixture.dial_with(&issued(&ca, "sensor"), &[&ca]).await.unwrap();
    assert_eq!(client.connect(user("provision")).await, Some((0, 0)));
    assert_eq!(fixture.names(), ["sensor"]);
}

#[tokio::test]
async fn a_provision_request_for_the_profile_is_acknowledged_late_and_never_answered() {
    let ca = authority("ca");
    let key = ca.certificate.credentials_id();
    for release in RELEASES {
        let fixture = chain(release, &ca, WHOLE, true, |config| {
            config.unanswered_lifetime = Duration::from_millis(300);
        })
        .await;
        for secret in [SECRET, "wrong"] {
            let mut client = fixture.provisioning().await;
            let asked = request(r#","deviceName":"a""#).replace(KEY, &key).replace(SECRET, secret);
            client.publish("/provision/request", QoS::AtLeastOnce, &asked).await;
            assert!(client.is_quiet().await, "{release}");
            assert!(client.is_acknowledged().await, "{release}");
            assert!(client.is_closed().await, "{release}");
        }
        assert_eq!(fixture.ask(&request("")).await["status"], "NOT_FOUND");
        assert!(fixture.names().is_empty());
    }
}

#[tokio::test]
async fn releases_before_3_5_have_no_such_strategy() {
    let ca = authority("ca");
    for release in [Release::V3_2, Release::V3_4] {
        let mut config = Config::new(KEY, tbprov::Secret::new(SECRET));
        config.release = release;
        config.strategy = Strategy::Chain {
            authority: ca.certificate.clone(),
            name_pattern: NamePattern::new(WHOLE),
            allow_create: true,
        };
        let error = Simulator::start(config, Arc::new(())).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::UsageConflict);
        assert!(error.message.contains(release.as_str()), "{}", error.message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registered_devices_are_in_the_state_file() {
    let ca = authority("ca");
    let (old, new) = (issued(&ca, "sensor"), issued(&ca, "sensor"));
    let folder = tempfile::tempdir().unwrap();
    let state = || Some(folder.path().join("state.json"));
    let fixture = chain(Release::V4_3, &ca, WHOLE, true, |config| config.state = state()).await;
    for leaf in [&old, &new] {
        assert_eq!(fixture.code(leaf, &[&ca]).await, 0);
    }
    fixture.simulator.stop().await;
    let fixture = start(|config| config.state = state()).await;
    assert_eq!(fixture.holds("sensor"), Some(new.certificate.credentials_id()));
    assert_eq!(fixture.code(&new, &[]).await, 0);
    assert_eq!(fixture.code(&old, &[]).await, 5);
}
