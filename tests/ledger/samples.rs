//! Identities, servers and devices to test with.

use std::sync::Arc;

use tbprov::State;
use tbprov::identity::{Credentials, Issue, Profile, Validity, X509Identity, issue, sha256_hex};
use tbprov::keys::{Exportable as _, KeyType, SoftwareKey, Stored};
use tbprov::ledger::{
    Advance, Entry, Kept, Lease, Ledger, NewDevice, NewIdentity, Slot, Subject, Which, Wishes,
};
use tbprov::server::Server;
use tbprov::tls::{Trust, TrustSource};
use tbprov::{ErrorCode, Result, Secret};

/// An identity as it is kept, and as it is used.
#[derive(Clone)]
pub struct Sample {
    pub kept: Kept,
    pub credentials: Credentials,
}

impl Sample {
    pub fn certificate(name: &str) -> Self {
        let (leaf, key) = certified(name, &Profile::Device);
        let kept = Kept::X509 { chain: vec![leaf.clone()], key: Stored::Bytes(key.to_pem()) };
        Self { kept, credentials: Credentials::X509(X509Identity { leaf, intermediates: Vec::new(), key }) }
    }

    pub fn token() -> Self {
        let token = Secret::random(20).unwrap();
        Self { kept: Kept::AccessToken(token.clone()), credentials: Credentials::AccessToken(token) }
    }

    pub fn new_identity(&self) -> NewIdentity<'_> {
        NewIdentity { kept: &self.kept, credentials: &self.credentials }
    }

    /// The credentialsId of the certificate.
    pub fn id(&self) -> String {
        self.credentials.x509().unwrap().leaf.credentials_id()
    }
}

fn certified(name: &str, profile: &Profile) -> (tbprov::identity::Certificate, Arc<SoftwareKey>) {
    let key = Arc::new(SoftwareKey::generate(KeyType::EcP256).unwrap());
    let wanted = Issue { name, profile, validity: Validity::days(30), key: &*key, issuer: None };
    (issue(&wanted).unwrap().leaf, key)
}

pub fn authority() -> X509Identity {
    let (leaf, key) = certified("authority", &Profile::Authority);
    X509Identity { leaf, intermediates: Vec::new(), key }
}

/// A server that is believed by a certificate of its own.
pub fn server(port: u16) -> Server {
    let certificates = vec![certified("server", &Profile::Authority).0];
    let trust = Trust::from_certificates(certificates, TrustSource::File("server.pem".into()), false);
    Server { host: "localhost".parse().unwrap(), port, trust: Arc::new(trust) }
}

/// The place of the profile with this provision key.
pub fn slot(server: &Server, provision_key: &str) -> Slot {
    let provision_key_sha256 = sha256_hex(provision_key.as_bytes());
    Slot { host: server.host.clone(), port: server.port, provision_key_sha256 }
}

/// Stages a device, as a run would.
pub async fn stage(
    ledger: &dyn Ledger,
    lease: &Lease,
    subject: Subject<'_>,
    server: &Server,
    sample: &Sample,
) -> Result<Entry> {
    let provision_key_sha256 = match subject {
        Subject::Named(_) => sha256_hex(b"key"),
        Subject::Unnamed(slot) => slot.provision_key_sha256.clone(),
    };
    let wishes = Wishes { provision_key_sha256: Some(provision_key_sha256), ..Wishes::default() };
    let identity = sample.new_identity();
    ledger.stage(lease, NewDevice { subject, server, identity, state: State::Staged, wishes }).await
}

/// Says that an identity has reached `state`.
pub fn reaching<'a>(which: Which, reached: &'a [State], server: &'a Server) -> Advance<'a> {
    Advance { which, reached, server: Some(server), wishes: None, leaves: None }
}

/// A device called `sensor` that is proved, and the lease under which it was made.
pub async fn proved(ledger: &dyn Ledger, server: &Server, sample: &Sample) -> (Lease, Entry) {
    let subject = Subject::Named("sensor");
    let lease = ledger.lease(subject).await.unwrap();
    let entry = stage(ledger, &lease, subject, server, sample).await.unwrap();
    let reached = [State::Sent, State::Accepted, State::Proved];
    let entry = ledger.advance(&lease, &entry, reaching(Which::Current, &reached, server)).await.unwrap();
    (lease, entry)
}

/// The same device with a proved candidate.
pub async fn with_candidate(
    ledger: &dyn Ledger,
    lease: &Lease,
    entry: &Entry,
    server: &Server,
    next: &Sample,
) -> Entry {
    let entry = ledger.stage_next(lease, entry, next.new_identity(), State::Staged).await.unwrap();
    let reached = [State::Sent, State::Proved];
    ledger.advance(lease, &entry, reaching(Which::Candidate, &reached, server)).await.unwrap()
}

/// The code of a failure.
#[track_caller]
pub fn code<T>(result: Result<T>) -> ErrorCode {
    result.err().expect("it should have failed").code
}

/// The credentialsId of the identity that a ledger gives out.
pub async fn held(ledger: &dyn Ledger, entry: &Entry, which: Which) -> String {
    let kept = ledger.key(entry, which).await.unwrap();
    let credentials = kept.open("the device").unwrap();
    credentials.x509().unwrap().leaf.credentials_id()
}
