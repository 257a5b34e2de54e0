//! What is the matter of folders alone: the files that other programs read, and stores of the first release.

use tbprov::ledger::folder::Folders;
use tbprov::ledger::{Entry, Lease, Ledger, Subject, Which};
use tbprov::server::Server;
use tbprov::{ErrorCode, State};

use crate::place::{InFolder, Place as _};
use crate::samples::*;

const SENSOR: Subject<'_> = Subject::Named("sensor");

/// A device with three identities, one after the other.
struct Rotated {
    place: InFolder,
    ledger: Box<dyn Ledger>,
    server: Server,
    lease: Option<Lease>,
    entry: Entry,
    samples: Vec<Sample>,
}

impl Rotated {
    async fn new() -> Self {
        let (place, server, own) = (InFolder::new(), server(1), Sample::certificate("sensor"));
        let ledger = place.open();
        let (lease, entry) = proved(&*ledger, &server, &own).await;
        let mut device = Self { place, ledger, server, lease: Some(lease), entry, samples: vec![own] };
        device.rotate().await;
        device.rotate().await;
        device
    }

    async fn rotate(&mut self) {
        let (lease, next) = (self.lease.as_ref().unwrap(), Sample::certificate("sensor"));
        let entry = with_candidate(&*self.ledger, lease, &self.entry, &self.server, &next).await;
        self.entry = self.ledger.promote(lease, &entry).await.unwrap();
        self.samples.push(next);
    }

    /// The certificate and the key of an identity, as files hold them.
    fn files(&self, at: usize) -> (String, String) {
        let name = &self.samples[at].id()[..12];
        let read = |file| self.place.read(&format!("sensor/identities/{name}/{file}"));
        (read("cert.pem"), read("key.pem"))
    }

    /// What other programs read.
    fn shown(&self) -> (String, String) {
        (self.place.read("sensor/cert.pem"), self.place.read("sensor/key.pem"))
    }

    /// A process that takes the device, and does nothing.
    async fn visit(&mut self) {
        self.lease = None;
        drop(self.place.open().lease(SENSOR).await.unwrap());
    }
}

#[tokio::test]
async fn other_programs_find_the_current_identity_where_it_always_was() {
    let mut device = Rotated::new().await;
    assert_eq!(device.shown(), device.files(2));
    device.entry = device.ledger.roll_back(device.lease.as_ref().unwrap(), &device.entry).await.unwrap();
    assert_eq!(device.shown(), device.files(1));
    let expected = ["cert.pem", "device.json", "identities", "key.pem", "server.pem"];
    assert_eq!(device.place.names("sensor"), expected);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = |below: &str| device.place.path(below).metadata().unwrap().mode() & 0o777;
        let name = format!("sensor/identities/{}", &device.samples[0].id()[..12]);
        let modes = (mode("sensor/key.pem"), mode(&name), mode(&format!("{name}/key.pem")));
        assert_eq!(modes, (0o600, 0o700, 0o600));
    }
}

#[tokio::test]
async fn no_identity_is_ever_deleted() {
    let mut device = Rotated::new().await;
    let lease = device.lease.take().unwrap();
    let (given_up, own) = (Sample::certificate("sensor"), device.samples[2].id());
    let entry = device
        .ledger
        .stage_next(&lease, &device.entry, given_up.new_identity(), State::Staged)
        .await
        .unwrap();
    device.ledger.roll_back(&lease, &entry).await.unwrap();
    device.samples.push(given_up);
    drop(lease);
    device.visit().await;
    let mut names: Vec<_> = device.samples.iter().map(|sample| sample.id()[..12].to_owned()).collect();
    names.sort();
    assert_eq!(device.place.names("sensor/identities"), names);
    (0..4).for_each(|at| assert!(device.files(at).1.contains("PRIVATE KEY")));
    let entry = device.ledger.find(SENSOR).await.unwrap().unwrap();
    assert_eq!(held(&*device.ledger, &entry, Which::Current).await, own);
}

/// Killed after the record was renamed, and before the second, or the first, of the two files was.
#[tokio::test]
async fn a_kill_after_the_commit_is_put_right_by_the_next_look_at_the_device() {
    for (renamed, look) in [(0, Look::Find), (1, Look::Find), (0, Look::List), (1, Look::Lease)] {
        let mut device = Rotated::new().await;
        let (old, new) = (device.files(1), device.files(2));
        for (file, content) in [("key.pem", &old.1), ("cert.pem", &old.0)].into_iter().skip(renamed) {
            // As the renames: another file of this name. The identity's own has a second name here.
            std::fs::remove_file(device.place.path("sensor").join(file)).unwrap();
            device.place.write(&format!("sensor/{file}"), content);
        }
        // tbprov reads what the record names, whatever lies beside it. Another one that has the device puts it right.
        let entry = device.ledger.find(SENSOR).await.unwrap().unwrap();
        assert_eq!(held(&*device.ledger, &entry, Which::Current).await, device.samples[2].id());
        assert_ne!(device.shown(), new);
        device.lease = None;
        match look {
            Look::Find => assert!(device.ledger.find(SENSOR).await.unwrap().is_some()),
            Look::List => assert_eq!(device.ledger.list().await.unwrap().len(), 1),
            Look::Lease => device.visit().await,
        }
        assert_eq!(device.shown(), new);
        assert_eq!((device.files(1), device.files(2)), (old, new));
    }
}

/// What is shown may be the last copy that is whole. And who looks at a copy of a store leaves no lock of his own there.
#[tokio::test]
async fn a_look_replaces_nothing_by_a_damaged_key_and_makes_no_lock() {
    let mut device = Rotated::new().await;
    device.lease = None;
    let (new, name) = (device.files(2), device.samples[2].id()[..12].to_owned());
    // A copy of the store has no links.
    std::fs::remove_file(device.place.path("sensor/key.pem")).unwrap();
    device.place.write("sensor/key.pem", &new.1);
    for damaged in ["", "half of", &device.files(1).1] {
        device.place.write(&format!("sensor/identities/{name}/key.pem"), damaged);
        assert!(device.ledger.find(SENSOR).await.unwrap().is_some());
        device.ledger.list().await.unwrap();
        device.visit().await;
        assert_eq!(device.shown(), new);
    }
    device.place.write(&format!("sensor/identities/{name}/key.pem"), &new.1);
    device.place.write("sensor/key.pem", "old");
    std::fs::remove_dir_all(device.place.path(".locks")).unwrap();
    device.ledger.list().await.unwrap();
    assert!(!device.place.path(".locks").exists() && device.shown() != new);
    device.visit().await;
    assert_eq!(device.shown(), new);
}

/// How a later run comes to a device.
enum Look {
    Find,
    List,
    Lease,
}

/// Killed while the candidate of an earlier rotation was written: no server was told of it.
#[tokio::test]
async fn keys_that_a_killed_rotation_left_go_with_the_next_one() {
    let mut device = Rotated::new().await;
    for left in [".new-0123456789ab/key.pem", ".new-ba9876543210/credentials.json"] {
        let left = format!("sensor/identities/{left}");
        std::fs::create_dir_all(device.place.path(&left).parent().unwrap()).unwrap();
        device.place.write(&left, "half of");
    }
    device.rotate().await;
    // What a server gives may be given once.
    let mut names: Vec<_> = device.samples.iter().map(|sample| sample.id()[..12].to_owned()).collect();
    names.push(".new-ba9876543210".to_owned());
    names.sort();
    assert_eq!(device.place.names("sensor/identities"), names);
}

/// Killed while a candidate, or the current identity before it, was written.
#[tokio::test]
async fn what_a_killed_rotation_left_does_not_hinder_the_next() {
    let (place, server, own) = (InFolder::new(), server(1), Sample::certificate("sensor"));
    let ledger = place.open();
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let next = Sample::certificate("sensor");
    for sample in [&own, &next] {
        let left = format!("sensor/identities/.new-{}", &sample.id()[..12]);
        std::fs::create_dir_all(place.path(&left)).unwrap();
        place.write(&format!("{left}/key.pem"), "half of");
        place.write(&format!("{left}/other"), "left");
    }
    // Killed after the current identity got its place, and before the record said so.
    let before = place.read("sensor/device.json");
    let staged = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap();
    place.write("sensor/device.json", &before);
    let again = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap();
    assert_eq!(again.record.candidate.as_ref().unwrap().name, staged.record.candidate.unwrap().name);
    assert_eq!(held(&*ledger, &again, Which::Current).await, own.id());
    assert_eq!(held(&*ledger, &again, Which::Candidate).await, next.id());
    let mut names = [own.id()[..12].to_owned(), next.id()[..12].to_owned()];
    names.sort();
    assert_eq!(place.names("sensor/identities"), names);
}

/// Two names of 12 digits may be the same, and so may two client ids.
#[tokio::test]
async fn an_identity_in_the_place_of_another_is_refused() {
    let (place, server, own) = (InFolder::new(), server(1), Sample::certificate("sensor"));
    let ledger = place.open();
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let (next, other) = (Sample::certificate("sensor"), Sample::certificate("sensor"));
    let name = format!("sensor/identities/{}", &next.id()[..12]);
    std::fs::create_dir_all(place.path(&name)).unwrap();
    let tbprov::ledger::Kept::X509 { chain, .. } = &other.kept else { panic!("no certificate") };
    place.write(&format!("{name}/cert.pem"), &chain[0].to_pem());
    let staged = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await;
    assert_eq!(code(staged), ErrorCode::StoreExists);
    assert_eq!(ledger.find(SENSOR).await.unwrap().unwrap().record, entry.record);
}

/// A lock's file that somebody replaced is another lock.
#[cfg(unix)]
#[tokio::test]
async fn a_lease_whose_file_was_replaced_is_lost() {
    let place = InFolder::new();
    let ledger = place.open();
    let lease = ledger.lease(SENSOR).await.unwrap();
    let lock = place.path(".locks/sensor.lock");
    std::fs::rename(&lock, place.path(".locks/old")).unwrap();
    std::fs::copy(place.path(".locks/old"), &lock).unwrap();
    let staged = stage(&*ledger, &lease, SENSOR, &server(1), &Sample::certificate("sensor")).await;
    assert_eq!(code(staged), ErrorCode::StoreLeaseLost);
    std::fs::rename(place.path(".locks/old"), &lock).unwrap();
    assert!(lease.check().is_ok());
}

/// Writes what version 0.1.0 did. Returns the record.
fn store_of_the_first_release(place: &InFolder, folder: &str, name: &str, sample: &Sample) -> String {
    let identity = sample.credentials.x509().unwrap();
    let time =
        |time: time::OffsetDateTime| time.format(&time::format_description::well_known::Rfc3339).unwrap();
    let record = format!(
        r#"{{
  "schema": "tbprov-device/1",
  "device": "{name}",
  "host": "localhost",
  "port": 8883,
  "skip_name_check": false,
  "server_pem": true,
  "credentials_type": "x509",
  "credentials_id": "{}",
  "key_type": "ec-p256",
  "not_before": "{}",
  "not_after": "{}",
  "state": "accepted",
  "reached": {{
    "staged": "2026-05-01T10:00:00Z",
    "sent": "2026-05-01T10:00:01Z",
    "accepted": "2026-05-01T10:00:02Z"
  }},
  "flashed": {{
    "at": "2026-05-02T10:00:00Z",
    "chip": "esp32c3",
    "mac": "24:0a:c4:00:00:00"
  }}
}}
"#,
        identity.leaf.credentials_id(),
        time(identity.leaf.validity.not_before),
        time(identity.leaf.validity.not_after),
    );
    let tbprov::ledger::Kept::X509 { chain, key: tbprov::keys::Stored::Bytes(key) } = &sample.kept else {
        panic!("no certificate")
    };
    std::fs::create_dir_all(place.path(folder)).unwrap();
    for (file, content) in [
        ("key.pem", key.expose()),
        ("cert.pem", &chain[0].to_pem()),
        ("server.pem", &chain[0].to_pem()),
        ("device.json", &record),
    ] {
        let path = format!("{folder}/{file}");
        place.write(&path, content);
        #[cfg(unix)]
        std::fs::set_permissions(
            place.path(&path),
            std::os::unix::fs::PermissionsExt::from_mode(if file == "key.pem" { 0o600 } else { 0o644 }),
        )
        .unwrap();
    }
    record
}

#[tokio::test]
async fn a_store_of_the_first_release_opens_and_stays_one() {
    let (place, sample) = (InFolder::new(), Sample::certificate("sensor"));
    let before = store_of_the_first_release(&place, "sensor", "sensor", &sample);
    let ledger = place.open();
    let lease = ledger.lease(SENSOR).await.unwrap();
    let entry = ledger.find(SENSOR).await.unwrap().unwrap();
    assert_eq!(ledger.only().await.unwrap().record, entry.record);
    assert_eq!(held(&*ledger, &entry, Which::Current).await, sample.id());
    assert_eq!(ledger.trust(&entry).await.unwrap().certificates.len(), 1);
    let server = Server { port: 8883, ..server(1) };
    let advance = reaching(Which::Current, &[State::Accepted], &server);
    ledger.advance(&lease, &entry, advance).await.unwrap();
    // But for the one time, byte by byte what it was: the first release reads it.
    let same = |text: &str| text.lines().filter(|line| !line.contains("\"accepted\": ")).collect::<String>();
    assert_eq!(same(&place.read("sensor/device.json")), same(&before));
    assert_eq!(place.names("sensor"), ["cert.pem", "device.json", "key.pem", "server.pem"]);
}

/// The first release takes no record with another schema than its own, and reads that before all else of the record.
#[tokio::test]
async fn a_rotated_device_is_refused_by_the_first_release() {
    let device = Rotated::new().await;
    let record: serde_json::Value = serde_json::from_str(&device.place.read("sensor/device.json")).unwrap();
    assert_eq!(record["schema"], "tbprov-device/2");
    // The members that it needs in order to say so are there, with the values of the current identity.
    for member in ["host", "port", "server_pem", "credentials_type", "state"] {
        assert!(!record[member].is_null(), "{member}");
    }
    assert_eq!(record["credentials_id"], device.samples[2].id());
    assert_eq!(record["previous"]["credentials_id"], device.samples[1].id());
}

const COMPOSED: &str = "K\u{fc}che \u{e9}";
const DECOMPOSED: &str = "Ku\u{308}che e\u{301}";

#[tokio::test]
async fn names_that_look_the_same_are_one_device() {
    for (first, second) in [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)] {
        let (place, server) = (InFolder::new(), server(1));
        let ledger = place.open();
        let lease = ledger.lease(Subject::Named(first)).await.unwrap();
        assert_eq!(code(ledger.lease(Subject::Named(second)).await), ErrorCode::StoreLocked);
        let sample = Sample::certificate("sensor");
        let entry = stage(&*ledger, &lease, Subject::Named(first), &server, &sample).await.unwrap();
        assert_eq!(entry.id.as_str(), COMPOSED);
        assert_eq!(code(ledger.find(Subject::Named(second)).await), ErrorCode::StoreExists);
        let staged = stage(&*ledger, &lease, Subject::Named(second), &server, &sample).await;
        assert_eq!(code(staged), ErrorCode::StoreExists);
        assert_eq!(ledger.open(first).await.unwrap().record, entry.record);
    }
}

#[tokio::test]
async fn a_folder_that_the_first_release_named_as_it_was_written_is_found() {
    let (place, sample) = (InFolder::new(), Sample::certificate("sensor"));
    store_of_the_first_release(&place, DECOMPOSED, DECOMPOSED, &sample);
    let ledger = place.open();
    let entry = ledger.open(DECOMPOSED).await.unwrap();
    assert!(ledger.list().await.unwrap().remove(0).1.is_ok(), "it is no copy");
    // The other spelling would make a second device that looks the same, and hide the first.
    assert_eq!(code(ledger.find(Subject::Named(COMPOSED)).await), ErrorCode::StoreExists);
    // It is rotated where it is.
    let (next, server) = (Sample::certificate("sensor"), server(8883));
    let lease = ledger.lease(Subject::Named(DECOMPOSED)).await.unwrap();
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &next).await;
    ledger.promote(&lease, &entry).await.unwrap();
    drop(lease);
    let folder = place.names("").into_iter().find(|name| !name.starts_with('.')).unwrap();
    let old = place.read(&format!("{folder}/identities/{}/cert.pem", &sample.id()[..12]));
    std::fs::remove_file(place.path(&format!("{folder}/cert.pem"))).unwrap();
    place.write(&format!("{folder}/cert.pem"), &old);
    drop(ledger.lease(Subject::Named(DECOMPOSED)).await.unwrap());
    let tbprov::ledger::Kept::X509 { chain, .. } = &next.kept else { panic!("no certificate") };
    assert_eq!(place.read(&format!("{folder}/cert.pem")), chain[0].to_pem());
}

/// What is told of a store that nobody made.
#[tokio::test]
async fn a_store_that_is_not_there_is_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Folders::new(folder.path().join("nowhere"));
    assert!(store.list().await.unwrap().is_empty());
    assert!(store.find(SENSOR).await.unwrap().is_none());
    assert!(!folder.path().join("nowhere").exists(), "looking makes nothing");
}
