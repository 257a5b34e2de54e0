//! A device whose identity was rotated: the command shows the current one as it always did, and the others beside it.

use std::sync::Arc;

use serde_json::Value;
use tbprov::State;
use tbprov::identity::{Credentials, Issue, Profile, Validity, X509Identity, issue};
use tbprov::keys::{Exportable as _, KeyType, SoftwareKey, Stored};
use tbprov::ledger::folder::Folders;
use tbprov::ledger::{Advance, Entry, Kept, Lease, Ledger as _, NewIdentity, Subject, Which};
use tbprov::server::Server as Believed;
use tbprov::tls::{Trust, TrustSource};

use crate::support::{NAME, Sandbox, Server};

/// Keeps a new identity beside the device's own.
async fn stage(store: &Folders, lease: &Lease, entry: &Entry) -> Entry {
    let key = Arc::new(SoftwareKey::generate(KeyType::EcP256).unwrap());
    let (profile, validity) = (Profile::Device, Validity::days(30));
    let leaf =
        issue(&Issue { name: NAME, profile: &profile, validity, key: &*key, issuer: None }).unwrap().leaf;
    let kept = Kept::X509 { chain: vec![leaf.clone()], key: Stored::Bytes(key.to_pem()) };
    let credentials = Credentials::X509(X509Identity { leaf, intermediates: Vec::new(), key });
    let next = NewIdentity { kept: &kept, credentials: &credentials };
    store.stage_next(lease, entry, next, State::Staged).await.unwrap()
}

/// Rotates the device once, and leaves a candidate for the next time.
async fn rotate(sandbox: &Sandbox, server: &Server) {
    let store = Folders::new(sandbox.path("devices"));
    let lease = store.lease(Subject::Named(NAME)).await.unwrap();
    let entry = store.open(NAME).await.unwrap();
    let pin = TrustSource::File("server.pem".into());
    let trust = Trust::from_certificates(vec![server.certificate()], pin, false);
    let believed =
        Believed { host: "localhost".parse().unwrap(), port: server.port(), trust: Arc::new(trust) };
    let entry = stage(&store, &lease, &entry).await;
    let advance = Advance {
        which: Which::Candidate,
        reached: &[State::Sent, State::Proved],
        server: Some(&believed),
        wishes: None,
        leaves: None,
    };
    let entry = store.advance(&lease, &entry, advance).await.unwrap();
    let entry = store.promote(&lease, &entry).await.unwrap();
    stage(&store, &lease, &entry).await;
}

#[test]
fn the_current_identity_is_shown_flat_and_the_others_beside_it() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let show = || sandbox.run(&format!("devices show {NAME} --json")).done();
    let list = || sandbox.run("devices list --json").done()["devices"][0].clone();
    let (shown, listed) = (show(), list());
    for before in [&shown, &listed] {
        assert_eq!((&before["candidate"], &before["previous"]), (&Value::Null, &Value::Null));
    }
    server.block_on(rotate(&sandbox, &server));
    let current = sandbox.identity(NAME).leaf.credentials_id();
    for (after, before) in [(show(), &shown), (list(), &listed)] {
        // Every member that there was is there, of the current identity.
        for member in before.as_object().unwrap().keys() {
            assert!(after.get(member).is_some(), "{member} is gone: {after}");
        }
        assert_eq!(after["credentials_id"], current);
        assert_ne!(before["credentials_id"], current);
        assert_eq!((&after["state"], &after["device"]), (&"proved".into(), &NAME.into()));
        assert_eq!(after["previous"]["credentials_id"], before["credentials_id"]);
        assert_eq!(after["previous"]["state"], "proved");
        assert_eq!(after["candidate"]["state"], "staged");
        assert_ne!(after["candidate"]["credentials_id"], current);
    }
    let text = sandbox.run(&format!("devices show {NAME}")).stdout;
    assert!(text.contains("candidate       ") && text.contains("previous        "), "{text}");
}
