//! What every ledger has to do. Each case is given a place with nothing in it.

use std::future::poll_fn;
use std::task::Poll;

use tbprov::event::Progress;
use tbprov::identity::Credentials;
use tbprov::ledger::{
    Advance, Entry, Flashed, Kept, Lease, Ledger, Note, Refusal, SCHEMA, SCHEMA_ROTATED, Subject, Which,
    Wishes, wait_for,
};
use tbprov::server::Server;
use tbprov::{ErrorCode, Result, State, clock};

use crate::place::Place;
use crate::samples::*;

const SENSOR: Subject<'_> = Subject::Named("sensor");

pub async fn a_lease_is_exclusive_and_free_when_it_is_dropped(place: &impl Place) {
    let (one, other) = (place.open(), place.open());
    let server = server(1);
    let (first, second) = (slot(&server, "first"), slot(&server, "second"));
    for (subject, another) in
        [(SENSOR, Subject::Named("other")), (Subject::Unnamed(&first), Subject::Unnamed(&second))]
    {
        let lease = one.lease(subject).await.unwrap();
        assert!(lease.check().is_ok());
        for ledger in [&one, &other] {
            assert_eq!(code(ledger.lease(subject).await), ErrorCode::StoreLocked);
            ledger.lease(another).await.unwrap();
        }
        let fence = lease.fence();
        drop(lease);
        assert!(one.lease(subject).await.unwrap().fence() > fence, "a later lease has a higher number");
        other.lease(subject).await.unwrap();
    }
}

pub async fn whoever_makes_an_unnamed_device_holds_it_by_its_id_too(place: &impl Place) {
    let ledger = place.open();
    let server = server(1);
    let slot = slot(&server, "key");
    let unnamed = Subject::Unnamed(&slot);
    let lease = ledger.lease(unnamed).await.unwrap();
    let entry = stage(&*ledger, &lease, unnamed, &server, &Sample::certificate("x")).await.unwrap();
    let by_id = Subject::Named(entry.id.as_str());
    assert_eq!(code(place.open().lease(by_id).await), ErrorCode::StoreLocked);
    drop(lease);
    let lease = ledger.lease(by_id).await.unwrap();
    assert_eq!(code(place.open().lease(unnamed).await), ErrorCode::StoreLocked);
    drop(lease);
    drop(ledger.lease(unnamed).await.unwrap());
}

/// Every change of a device that is there.
#[derive(Debug, Clone, Copy)]
enum Change {
    Advance,
    StageNext,
    Promote,
    RollBack,
    Discard,
    Note,
    Remove,
}

impl Change {
    const ALL: [Self; 7] = [
        Self::Advance,
        Self::StageNext,
        Self::Promote,
        Self::RollBack,
        Self::Discard,
        Self::Note,
        Self::Remove,
    ];

    async fn make(self, ledger: &dyn Ledger, lease: &Lease, entry: &Entry, server: &Server) -> Result<()> {
        match self {
            Self::Advance => {
                let advance = reaching(Which::Current, &[State::Proved], server);
                ledger.advance(lease, entry, advance).await.map(drop)
            }
            Self::StageNext => {
                let next = Sample::certificate("next");
                ledger.stage_next(lease, entry, next.new_identity(), State::Staged).await.map(drop)
            }
            Self::Promote => ledger.promote(lease, entry).await.map(drop),
            Self::RollBack => ledger.roll_back(lease, entry).await.map(drop),
            Self::Discard => ledger.discard(lease, entry).await.map(drop),
            Self::Note => ledger.note(lease, entry, refusal()).await.map(drop),
            Self::Remove => ledger.remove(lease, entry).await.map(drop),
        }
    }

    /// A device for which this change is right: with a candidate, unless it needs one.
    async fn device(self, ledger: &dyn Ledger, server: &Server) -> (Lease, Entry) {
        let (lease, entry) = proved(ledger, server, &Sample::certificate("sensor")).await;
        match self {
            Self::StageNext => (lease, entry),
            _ => {
                let next = Sample::certificate("next");
                let entry = with_candidate(ledger, &lease, &entry, server, &next).await;
                (lease, entry)
            }
        }
    }
}

fn refusal() -> Note {
    let at = clock::now().replace_nanosecond(0).unwrap();
    Note::Refused(Refusal { code: "server/failure".to_owned(), message: "it says no".to_owned(), at })
}

fn flashed(credentials_id: Option<String>) -> Note {
    let chip = Flashed {
        at: clock::now().replace_nanosecond(0).unwrap(),
        chip: "esp32c3".to_owned(),
        mac: "24:0a:c4:00:00:00".to_owned(),
        image_sha256: None,
    };
    Note::Flashed { chip, credentials_id }
}

async fn now(ledger: &dyn Ledger) -> Option<Entry> {
    ledger.find(SENSOR).await.unwrap()
}

/// Takes the device out, so that the next one can be made.
async fn clear(ledger: &dyn Ledger) {
    if let Some(entry) = now(ledger).await {
        let lease = ledger.lease(SENSOR).await.unwrap();
        ledger.remove(&lease, &entry).await.unwrap();
    }
}

pub async fn a_lost_lease_changes_nothing(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let lease = ledger.lease(SENSOR).await.unwrap();
    if !place.lose("sensor") {
        return;
    }
    let sample = Sample::certificate("sensor");
    // Whoever comes next may have it.
    let overtaking = place.open().lease(SENSOR).await.unwrap();
    assert_eq!(code(lease.check()), ErrorCode::StoreLeaseLost);
    let staged = stage(&*ledger, &lease, SENSOR, &server, &sample).await;
    assert_eq!(code(staged), ErrorCode::StoreLeaseLost);
    assert!(now(&*ledger).await.is_none());
    assert!(overtaking.check().is_ok());
    // What was lost is nobody's to give free.
    drop(lease);
    assert!(overtaking.check().is_ok());
    drop(overtaking);
    for change in Change::ALL {
        let (lease, entry) = change.device(&*ledger, &server).await;
        place.lose("sensor");
        let made = change.make(&*ledger, &lease, &entry, &server).await;
        assert_eq!(code(made), ErrorCode::StoreLeaseLost, "{change:?}");
        assert_eq!(now(&*ledger).await.unwrap().record, entry.record, "{change:?}");
        drop(lease);
        clear(&*ledger).await;
    }
}

pub async fn a_device_is_staged_whole_and_once(place: &impl Place) {
    let (ledger, server, sample) = (place.open(), server(1), Sample::certificate("sensor"));
    let lease = ledger.lease(SENSOR).await.unwrap();
    assert!(now(&*ledger).await.is_none());
    let entry = stage(&*ledger, &lease, SENSOR, &server, &sample).await.unwrap();
    let again = stage(&*ledger, &lease, SENSOR, &server, &Sample::certificate("again")).await;
    assert_eq!(code(again), ErrorCode::StoreExists);
    drop(lease);
    let ledger = place.open();
    let found = now(&*ledger).await.unwrap();
    assert_eq!((&found.id, &found.record), (&entry.id, &entry.record));
    assert_eq!(found.record.state(), State::Staged);
    assert_eq!(found.record.identity.credentials_id, Some(sample.id()));
    assert_eq!(held(&*ledger, &found, Which::Current).await, sample.id());
    let trust = ledger.trust(&found).await.unwrap();
    assert_eq!(trust.certificates, server.trust.certificates);
    place.assert_tidy();
}

pub async fn a_place_has_one_unfinished_device(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let slot = slot(&server, "key");
    let unnamed = Subject::Unnamed(&slot);
    let lease = ledger.lease(unnamed).await.unwrap();
    let first = stage(&*ledger, &lease, unnamed, &server, &Sample::certificate("x")).await.unwrap();
    let second = stage(&*ledger, &lease, unnamed, &server, &Sample::certificate("y")).await;
    assert_eq!(code(second), ErrorCode::StoreExists);
    assert_eq!(ledger.find(unnamed).await.unwrap().unwrap().id, first.id);
    assert_eq!(ledger.list().await.unwrap().len(), 1);
}

pub async fn devices_are_found_by_name_and_unnamed_ones_by_id(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let slot = slot(&server, "key");
    assert_eq!(code(ledger.only().await), ErrorCode::StoreNotFound);
    for name in ["sensor", "a/b", "..", "Küche 传感器"] {
        assert_eq!(code(ledger.open(name).await), ErrorCode::StoreNotFound);
        let subject = Subject::Named(name);
        let lease = ledger.lease(subject).await.unwrap();
        let entry = stage(&*ledger, &lease, subject, &server, &Sample::certificate(name)).await.unwrap();
        assert_eq!((entry.record.device.as_deref(), entry.shown_name()), (Some(name), name));
        assert_eq!(ledger.open(name).await.unwrap().id, entry.id);
        assert_eq!(ledger.find(Subject::Named(&format!(" {name} "))).await.unwrap().unwrap().id, entry.id);
        if ledger.list().await.unwrap().len() == 1 {
            assert_eq!(ledger.only().await.unwrap().id, entry.id);
        }
    }
    let unnamed = Subject::Unnamed(&slot);
    let lease = ledger.lease(unnamed).await.unwrap();
    let entry = stage(&*ledger, &lease, unnamed, &server, &Sample::certificate("x")).await.unwrap();
    assert_eq!((&entry.record.device, entry.shown_name()), (&None, entry.id.as_str()));
    assert_eq!(ledger.open(entry.id.as_str()).await.unwrap().record, entry.record);
    assert_eq!(code(ledger.only().await), ErrorCode::UsageMissing);
    assert!(ledger.find(Subject::Named("")).await.unwrap().is_none());
}

pub async fn profiles_never_get_each_others_devices(place: &impl Place) {
    let ledger = place.open();
    let (here, there) = (server(1), server(2));
    let slots = [slot(&here, "one"), slot(&here, "two"), slot(&there, "one")];
    let mut entries = Vec::new();
    for (at, slot) in slots.iter().enumerate() {
        let unnamed = Subject::Unnamed(slot);
        assert!(ledger.find(unnamed).await.unwrap().is_none());
        let lease = ledger.lease(unnamed).await.unwrap();
        let server = if at == 2 { &there } else { &here };
        entries.push(stage(&*ledger, &lease, unnamed, server, &Sample::certificate("x")).await.unwrap());
    }
    for (slot, entry) in slots.iter().zip(&entries) {
        assert_eq!(ledger.find(Subject::Unnamed(slot)).await.unwrap().unwrap().id, entry.id);
    }
    // The first is finished, and says so; the second is proved, and is no more to be found all the same.
    for (at, leaves) in [(0, Some(&slots[0])), (1, None)] {
        let lease = ledger.lease(Subject::Unnamed(&slots[at])).await.unwrap();
        let advance = Advance { leaves, ..reaching(Which::Current, &[State::Proved], &here) };
        ledger.advance(&lease, &entries[at], advance).await.unwrap();
        assert!(ledger.find(Subject::Unnamed(&slots[at])).await.unwrap().is_none());
        assert_eq!(ledger.open(entries[at].id.as_str()).await.unwrap().record.state(), State::Proved);
        let next = Sample::certificate("x");
        let next = stage(&*ledger, &lease, Subject::Unnamed(&slots[at]), &here, &next).await.unwrap();
        assert_eq!(ledger.find(Subject::Unnamed(&slots[at])).await.unwrap().unwrap().id, next.id);
    }
    assert_eq!(ledger.find(Subject::Unnamed(&slots[2])).await.unwrap().unwrap().id, entries[2].id);
    assert_eq!(ledger.list().await.unwrap().len(), 5);
}

pub async fn a_change_needs_the_device_as_it_was_read(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    for change in Change::ALL {
        let (lease, stale) = change.device(&*ledger, &server).await;
        let entry = ledger.note(&lease, &stale, refusal()).await.unwrap();
        let made = change.make(&*ledger, &lease, &stale, &server).await;
        assert_eq!(code(made), ErrorCode::StoreChanged, "{change:?}");
        assert_eq!(now(&*ledger).await.unwrap().record, entry.record, "{change:?}");
        // As it is, it can be changed.
        change.make(&*ledger, &lease, &entry, &server).await.unwrap();
        drop(lease);
        clear(&*ledger).await;
        // One that is gone is not as it was read either.
        let lease = ledger.lease(SENSOR).await.unwrap();
        let made = change.make(&*ledger, &lease, &entry, &server).await;
        assert_eq!(code(made), ErrorCode::StoreChanged, "{change:?}");
        assert!(now(&*ledger).await.is_none());
    }
}

pub async fn states_are_recorded_with_their_times(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let lease = ledger.lease(SENSOR).await.unwrap();
    let sample = Sample::certificate("sensor");
    let staged = stage(&*ledger, &lease, SENSOR, &server, &sample).await.unwrap();
    let wishes = Wishes { gateway: true, ..staged.record.wishes.clone() };
    let advance = Advance { wishes: Some(&wishes), ..reaching(Which::Current, &[State::Sent], &server) };
    let sent = ledger.advance(&lease, &staged, advance).await.unwrap();
    let reached = [State::Accepted, State::Proved];
    let proved = ledger.advance(&lease, &sent, reaching(Which::Current, &reached, &server)).await.unwrap();
    let record = place.open().find(SENSOR).await.unwrap().unwrap().record;
    assert_eq!(record, proved.record);
    assert_eq!((record.state(), &record.wishes), (State::Proved, &wishes));
    let times = &record.identity.reached;
    assert!([times.staged, times.sent, times.accepted, times.proved].iter().all(Option::is_some));
    assert_eq!(times.staged, staged.record.identity.reached.staged);
    // Back again: what the server refused is staged.
    let back = ledger.advance(&lease, &proved, reaching(Which::Current, &[State::Staged], &server)).await;
    assert_eq!(back.unwrap().record.state(), State::Staged);
    let advance = reaching(Which::Previous, &[State::Sent], &server);
    let entry = now(&*ledger).await.unwrap();
    assert_eq!(code(ledger.advance(&lease, &entry, advance).await), ErrorCode::StoreNotFound);
}

pub async fn a_server_that_moved_is_kept_with_its_certificates(place: &impl Place) {
    let (ledger, old, new) = (place.open(), server(1), server(2));
    let (lease, entry) = proved(&*ledger, &old, &Sample::certificate("sensor")).await;
    let advance = reaching(Which::Current, &[State::Proved], &new);
    ledger.advance(&lease, &entry, advance).await.unwrap();
    let found = now(&*place.open()).await.unwrap();
    assert_eq!(found.record.port, 2);
    assert_eq!(ledger.trust(&found).await.unwrap().certificates, new.trust.certificates);
}

pub async fn notes_are_kept_and_a_note_of_another_identity_is_refused(place: &impl Place) {
    let (ledger, server, sample) = (place.open(), server(1), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*ledger, &server, &sample).await;
    let entry = ledger.note(&lease, &entry, flashed(Some(sample.id()))).await.unwrap();
    for other in [None, Some("0".repeat(64))] {
        assert_eq!(code(ledger.note(&lease, &entry, flashed(other)).await), ErrorCode::StoreChanged);
    }
    let entry = ledger.note(&lease, &entry, refusal()).await.unwrap();
    let found = now(&*place.open()).await.unwrap();
    assert_eq!(found.record, entry.record);
    assert_eq!(found.record.identity.flashed.unwrap().chip, "esp32c3");
    assert_eq!(found.record.refused.unwrap().code, "server/failure");
    assert_eq!(found.record.identity.state, State::Proved, "a note is no state");
}

pub async fn a_list_has_the_damaged_beside_the_good(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    assert!(ledger.list().await.unwrap().is_empty());
    let mut entries = Vec::new();
    for name in ["b", "c", "a"] {
        let lease = ledger.lease(Subject::Named(name)).await.unwrap();
        let sample = Sample::certificate(name);
        entries.push(stage(&*ledger, &lease, Subject::Named(name), &server, &sample).await.unwrap());
    }
    place.damage(&entries[1]);
    let list = place.open().list().await.unwrap();
    let mut ids: Vec<_> = list.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), 3);
    ids.sort();
    assert!(list.iter().map(|(id, _)| id).eq(&ids), "in order");
    for (id, listed) in list {
        match listed {
            Err(error) => assert_eq!((&id, error.code), (&entries[1].id, ErrorCode::StoreCorrupt)),
            Ok(entry) => assert!(entry.id == id && id != entries[1].id),
        }
    }
    let lease = ledger.lease(Subject::Named("c")).await.unwrap();
    let advance = reaching(Which::Current, &[State::Sent], &server);
    assert!(ledger.advance(&lease, &entries[1], advance).await.is_err(), "it is damaged");
}

pub async fn a_key_fits_the_record(place: &impl Place) {
    let (ledger, server, other) = (place.open(), server(1), Sample::certificate("other"));
    let (_lease, entry) = proved(&*ledger, &server, &Sample::certificate("sensor")).await;
    for which in [Which::Candidate, Which::Previous] {
        assert_eq!(code(ledger.key(&entry, which).await), ErrorCode::StoreNotFound);
    }
    place.swap(&entry, &other.kept, true);
    let opened = ledger.key(&entry, Which::Current).await.and_then(|kept| kept.open("sensor"));
    assert_eq!(code(opened), ErrorCode::StoreCorrupt, "another key");
    place.swap(&entry, &other.kept, false);
    let opened = ledger.key(&entry, Which::Current).await.and_then(|kept| kept.open("sensor"));
    assert_eq!(code(opened), ErrorCode::StoreCorrupt, "another pair");
}

pub async fn a_device_that_was_never_rotated_keeps_the_first_schema(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let (lease, entry) = proved(&*ledger, &server, &Sample::certificate("sensor")).await;
    let entry = ledger.note(&lease, &entry, refusal()).await.unwrap();
    let record = &entry.record;
    assert_eq!(record.schema, SCHEMA);
    assert!(record.identity_name.is_none() && record.candidate.is_none() && record.previous.is_none());
    assert_eq!(code(ledger.promote(&lease, &entry).await), ErrorCode::StoreNotFound);
    assert_eq!(code(ledger.roll_back(&lease, &entry).await), ErrorCode::StoreNotFound);
    let advance = reaching(Which::Candidate, &[State::Sent], &server);
    assert_eq!(code(ledger.advance(&lease, &entry, advance).await), ErrorCode::StoreNotFound);
    assert_eq!(now(&*ledger).await.unwrap().record, entry.record);
    let rotated = ledger
        .stage_next(&lease, &entry, Sample::certificate("next").new_identity(), State::Staged)
        .await
        .unwrap();
    assert_eq!(rotated.record.schema, SCHEMA_ROTATED);
    // It stays so: the identity lies elsewhere from now on.
    let given_up = ledger.roll_back(&lease, &rotated).await.unwrap();
    assert_eq!(given_up.record.schema, SCHEMA_ROTATED);
}

pub async fn a_proved_candidate_succeeds_the_identity(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let mut samples = vec![Sample::certificate("sensor")];
    let (lease, mut entry) = proved(&*ledger, &server, &samples[0]).await;
    for _ in 0..3 {
        let (old, next) = (samples.last().unwrap().clone(), Sample::certificate("sensor"));
        let staged = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap();
        let candidate = staged.record.candidate.as_ref().unwrap();
        assert_eq!(candidate.identity.state, State::Staged);
        assert_eq!(staged.record.identity, entry.record.identity, "it is what it was");
        assert_eq!(held(&*ledger, &staged, Which::Current).await, old.id());
        assert_eq!(held(&*ledger, &staged, Which::Candidate).await, next.id());
        let reached = [State::Sent, State::Proved];
        let advance = reaching(Which::Candidate, &reached, &server);
        let advanced = ledger.advance(&lease, &staged, advance).await.unwrap();
        assert_eq!(advanced.record.identity, entry.record.identity, "the candidate's state is its own");
        entry = ledger.promote(&lease, &advanced).await.unwrap();
        let found = now(&*place.open()).await.unwrap();
        assert_eq!(found.record, entry.record);
        assert_eq!((found.record.state(), found.record.candidate.is_none()), (State::Proved, true));
        assert_eq!(held(&*ledger, &found, Which::Current).await, next.id());
        assert_eq!(held(&*ledger, &found, Which::Previous).await, old.id());
        assert_eq!(code(ledger.key(&found, Which::Candidate).await), ErrorCode::StoreNotFound);
        samples.push(next);
    }
}

pub async fn a_candidate_that_is_not_proved_is_not_promoted(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let (lease, entry) = proved(&*ledger, &server, &Sample::certificate("sensor")).await;
    let next = Sample::certificate("sensor");
    let mut entry = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap();
    for state in [State::Staged, State::Sent, State::Accepted] {
        let reached = [state];
        let advance = reaching(Which::Candidate, &reached, &server);
        entry = ledger.advance(&lease, &entry, advance).await.unwrap();
        assert_eq!(code(ledger.promote(&lease, &entry).await), ErrorCode::StoreNotProved);
        assert_eq!(now(&*ledger).await.unwrap().record, entry.record);
    }
}

pub async fn a_candidate_can_be_given_up(place: &impl Place) {
    let (ledger, server, own) = (place.open(), server(1), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let next = Sample::certificate("sensor");
    let staged = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap();
    let advance = reaching(Which::Candidate, &[State::Sent], &server);
    let sent = ledger.advance(&lease, &staged, advance).await.unwrap();
    ledger.roll_back(&lease, &sent).await.unwrap();
    let found = now(&*place.open()).await.unwrap();
    assert!(found.record.candidate.is_none());
    assert_eq!(held(&*ledger, &found, Which::Current).await, own.id());
    // The server may know it: it is kept.
    assert_eq!(held(&*ledger, &found, Which::Previous).await, next.id());
    assert_eq!(found.record.previous.as_ref().unwrap().identity.state, State::Sent);
    // It may come again.
    let again = ledger.stage_next(&lease, &found, next.new_identity(), State::Staged).await.unwrap();
    assert_eq!(held(&*ledger, &again, Which::Candidate).await, next.id());
}

/// The server was never told of it, and of what it would push aside it was.
pub async fn a_candidate_given_up_before_it_left_pushes_nothing_aside(place: &impl Place) {
    let (ledger, server, own) = (place.open(), server(1), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &Sample::certificate("sensor")).await;
    let promoted = ledger.promote(&lease, &entry).await.unwrap();
    let third = Sample::certificate("sensor");
    let staged = ledger.stage_next(&lease, &promoted, third.new_identity(), State::Staged).await.unwrap();
    let given_up = ledger.roll_back(&lease, &staged).await.unwrap();
    assert!(given_up.record.candidate.is_none());
    assert_eq!(held(&*ledger, &given_up, Which::Previous).await, own.id());
    let back = ledger.roll_back(&lease, &given_up).await.unwrap();
    assert_eq!(held(&*ledger, &back, Which::Current).await, own.id());
}

pub async fn a_promotion_can_be_undone(place: &impl Place) {
    let (ledger, server, own) = (place.open(), server(1), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let next = Sample::certificate("sensor");
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &next).await;
    let promoted = ledger.promote(&lease, &entry).await.unwrap();
    let back = ledger.roll_back(&lease, &promoted).await.unwrap();
    let found = now(&*place.open()).await.unwrap();
    assert_eq!(found.record, back.record);
    assert_eq!(found.record.identity.credentials_id, Some(own.id()));
    assert_eq!(held(&*ledger, &found, Which::Current).await, own.id());
    assert_eq!(held(&*ledger, &found, Which::Previous).await, next.id());
    let forth = ledger.roll_back(&lease, &back).await.unwrap();
    assert_eq!(held(&*ledger, &forth, Which::Current).await, next.id());
}

/// Once and again: the first time may have ended before its end. What comes later is kept.
pub async fn a_previous_identity_can_be_discarded(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let (lease, mut entry) = proved(&*ledger, &server, &Sample::certificate("sensor")).await;
    let samples = [Sample::certificate("sensor"), Sample::certificate("sensor")];
    for sample in &samples {
        let with = with_candidate(&*ledger, &lease, &entry, &server, sample).await;
        entry = ledger.promote(&lease, &with).await.unwrap();
    }
    let candidate = Sample::certificate("sensor");
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &candidate).await;
    let mut discarded = ledger.discard(&lease, &entry).await.unwrap();
    for _ in 0..2 {
        let found = now(&*place.open()).await.unwrap();
        assert_eq!(found.record, discarded.record);
        assert_eq!(code(ledger.key(&found, Which::Previous).await), ErrorCode::StoreNotFound);
        assert_eq!(held(&*ledger, &found, Which::Current).await, samples[1].id());
        assert_eq!(held(&*ledger, &found, Which::Candidate).await, candidate.id());
        discarded = ledger.discard(&lease, &discarded).await.unwrap();
    }
    let given_up = ledger.roll_back(&lease, &discarded).await.unwrap();
    assert_eq!(held(&*ledger, &given_up, Which::Previous).await, candidate.id());
}

/// What was the device's once becomes its candidate again, and a board that has it is still known.
pub async fn a_previous_identity_can_be_the_candidate(place: &impl Place) {
    let (ledger, server, own) = (place.open(), server(1), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let entry = ledger.note(&lease, &entry, flashed(Some(own.id()))).await.unwrap();
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &Sample::certificate("sensor")).await;
    let entry = ledger.promote(&lease, &entry).await.unwrap();
    assert!(entry.record.identity.flashed.is_none());
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &own).await;
    let back = ledger.promote(&lease, &entry).await.unwrap();
    let found = now(&*place.open()).await.unwrap();
    assert_eq!(found.record, back.record);
    assert_eq!(held(&*ledger, &found, Which::Current).await, own.id());
    assert_eq!(found.record.identity.flashed.unwrap().chip, "esp32c3");
}

pub async fn there_is_one_candidate_and_it_is_another_identity(place: &impl Place) {
    let (ledger, server, own) = (place.open(), server(1), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let same = ledger.stage_next(&lease, &entry, own.new_identity(), State::Staged).await;
    assert_eq!(code(same), ErrorCode::StoreExists);
    assert_eq!(now(&*ledger).await.unwrap().record, entry.record);
    let next = Sample::certificate("sensor");
    let entry = ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap();
    for another in [&next, &own, &Sample::certificate("sensor")] {
        let second = ledger.stage_next(&lease, &entry, another.new_identity(), State::Staged).await;
        assert_eq!(code(second), ErrorCode::StoreExists);
    }
    assert_eq!(now(&*ledger).await.unwrap().record, entry.record);
}

pub async fn tokens_are_rotated_too(place: &impl Place) {
    let (ledger, server, own, next) = (place.open(), server(1), Sample::token(), Sample::token());
    let (lease, entry) = proved(&*ledger, &server, &own).await;
    let entry = with_candidate(&*ledger, &lease, &entry, &server, &next).await;
    let entry = ledger.promote(&lease, &entry).await.unwrap();
    for (which, sample) in [(Which::Current, &next), (Which::Previous, &own)] {
        let kept = ledger.key(&entry, which).await.unwrap();
        let (Kept::AccessToken(held), Credentials::AccessToken(token)) = (&kept, &sample.credentials) else {
            panic!("no token: {kept:?}")
        };
        assert_eq!(held, token);
    }
}

pub async fn a_removed_device_is_gone(place: &impl Place) {
    let (ledger, server) = (place.open(), server(1));
    let slot = slot(&server, "key");
    for round in 0..2 {
        let (lease, entry) = proved(&*ledger, &server, &Sample::certificate("sensor")).await;
        assert!(!ledger.remove(&lease, &entry).await.unwrap().is_empty());
        drop(lease);
        assert!(now(&*place.open()).await.is_none(), "round {round}");
        assert!(ledger.list().await.unwrap().is_empty());
    }
    let unnamed = Subject::Unnamed(&slot);
    let lease = ledger.lease(unnamed).await.unwrap();
    let entry = stage(&*ledger, &lease, unnamed, &server, &Sample::certificate("x")).await.unwrap();
    ledger.remove(&lease, &entry).await.unwrap();
    assert!(ledger.find(unnamed).await.unwrap().is_none());
    stage(&*ledger, &lease, unnamed, &server, &Sample::certificate("y")).await.unwrap();
}

/// The future of a change is dropped, and its lease with it. Whoever has the next lease finds the change done or not
/// done, and nothing happens behind its back.
pub async fn a_change_that_nobody_waits_for_is_whole(place: &impl Place) {
    let (ledger, server, progress) = (place.open(), server(1), Progress::silent());
    for _ in 0..20 {
        let (sample, second) = (Sample::certificate("sensor"), Sample::certificate("sensor"));
        let lease = ledger.lease(SENSOR).await.unwrap();
        begun(stage(&*ledger, &lease, SENSOR, &server, &sample)).await;
        drop(lease);
        let lease = wait_for(&*ledger, SENSOR, &progress).await.unwrap();
        let entry = match now(&*ledger).await {
            Some(entry) => entry,
            None => stage(&*ledger, &lease, SENSOR, &server, &second).await.unwrap(),
        };
        let id = entry.record.identity.credentials_id.clone().unwrap();
        assert_eq!(held(&*ledger, &entry, Which::Current).await, id);
        let next = Sample::certificate("sensor");
        begun(ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged)).await;
        drop(lease);
        let lease = wait_for(&*ledger, SENSOR, &progress).await.unwrap();
        let found = now(&*ledger).await.unwrap();
        let entry = match &found.record.candidate {
            Some(_) => found,
            None => ledger.stage_next(&lease, &entry, next.new_identity(), State::Staged).await.unwrap(),
        };
        assert_eq!(held(&*ledger, &entry, Which::Candidate).await, next.id());
        begun(ledger.advance(&lease, &entry, reaching(Which::Current, &[State::Sent], &server))).await;
        drop(lease);
        let lease = wait_for(&*ledger, SENSOR, &progress).await.unwrap();
        let entry = now(&*ledger).await.unwrap();
        let advance = reaching(Which::Current, &[State::Proved], &server);
        ledger.advance(&lease, &entry, advance).await.unwrap();
        assert_eq!(now(&*ledger).await.unwrap().record.state(), State::Proved);
        drop(lease);
        clear(&*ledger).await;
    }
}

/// Polls `work` once, and drops it.
async fn begun<T>(work: impl Future<Output = T>) {
    let mut work = std::pin::pin!(work);
    poll_fn(|context| {
        let _ = work.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}
