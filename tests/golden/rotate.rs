//! Rotation: what it says when all is well, and when it is not.

use crate::chain;
use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::NAME;

const AUTHORITY: &str = "--ca-cert ca.pem --ca-key ca_key.pem";

/// A device that registers at connect.
fn at_connect() -> Place {
    chain::of("(.*)").after(chain::PROVISION)
}

/// The same, with its identity on a board.
fn on_a_board(place: Place) -> Place {
    let flashed =
        r#""flashed":{"at":"2026-01-01T00:00:00Z","chip":"esp32c3","mac":"24:0a:c4:00:00:00"},"schema""#;
    place.replaced(&format!("devices/{NAME}/device.json"), r#""schema""#, flashed)
}

/// A device whose server an account tells, and which then does this wrong.
fn of_account(faults: &str) -> Place {
    Place::of_account().after("provision").faulted(faults)
}

#[test]
fn rotations() {
    let mut snapshot = Snapshot::new("results/rotate");
    let chain = format!("rotate {AUTHORITY}");
    snapshot.both("by the connect", &chain, at_connect);
    snapshot.case("its events").ran(&at_connect(), &format!("{chain} --events"));
    snapshot.both("by an account", "rotate", || of_account(""));
    snapshot.case("its events, by an account").ran(&of_account(""), "rotate --events");
    let by_hand = || Place::served().after("provision");
    snapshot.both("by hand: it waits", "rotate", by_hand);
    snapshot.case("its events, by hand").ran(&by_hand(), "rotate --events");
    snapshot.both("by hand, again", &format!("rotate {NAME}"), || by_hand().after("rotate"));
    snapshot.both("what would be done", &format!("{chain} --dry-run --all"), at_connect);
    snapshot.both("nothing to do", "rotate --expiring 30d", by_hand);
    snapshot.both("nothing to do for a device", &format!("rotate {NAME} --expiring 30d"), by_hand);
    let back = format!("rotate --roll-back {NAME}");
    snapshot.both("back to the previous identity", &back, || at_connect().after(&chain));
    snapshot.both("the previous identity is deleted", &format!("rotate --discard {NAME}"), || {
        at_connect().after(&chain)
    });
    snapshot.both("a board has the old identity", &format!("{chain} --flashed"), || on_a_board(at_connect()));
    snapshot.both("boards are skipped", &format!("{chain} --all"), || on_a_board(at_connect()));
    let behind = on_a_board(at_connect()).after(&format!("{chain} --flashed"));
    snapshot.both_in(&behind, "a board with the previous identity, in the list", "devices list");
    snapshot.both_in(&behind, "and shown", &format!("devices show {NAME}"));
    snapshot.both("certificates that end soon", "devices list", || {
        at_connect().after(&format!("{chain} --days 3"))
    });
    snapshot.check();
}

#[test]
fn rotations_go_wrong() {
    let mut snapshot = Snapshot::new("errors/rotate");
    let chain = format!("rotate {AUTHORITY}");
    snapshot.both("rotate/on-a-board", "rotate", || on_a_board(Place::served().after("provision")));
    snapshot.both("rotate/on-a-board, with the chain strategy", &chain, || on_a_board(at_connect()));
    let cut = || {
        let place = at_connect().served_anew(|config| config.faults = vec!["no-connack".parse().unwrap()]);
        place.after_failed(&format!("{chain} --timeout 1s --wait 0s"))
    };
    snapshot.both("rotate/unfinished: connect", "connect", cut);
    snapshot.both("rotate/unfinished: deleting", &format!("rotate --discard {NAME}"), cut);
    snapshot.both("without the authority", "rotate", at_connect);
    snapshot.both("a token", "rotate", || Place::served().after("provision --credentials-type access-token"));
    snapshot.both("not proved", "rotate", || Place::served().after("provision --no-verify-connect"));
    snapshot.both("no way back", &format!("rotate --roll-back {NAME}"), at_connect);
    snapshot.both("no such device", "rotate nobody", at_connect);
    snapshot.both("the server does not have it by hand", "rotate --wait 1s", || {
        Place::served().after("provision")
    });
    snapshot
        .both("the server does not accept it; it is put back", "rotate --wait 1s", || of_account("refuse=3"));
    snapshot.both("and that fails too", "rotate --wait 1s", || of_account("refuse=9"));
    snapshot.both("verify/not-stored", "rotate", || of_account("rest-not-applied"));
    snapshot.both("one cause for all", "rotate --all", || of_account("rest-second-factor"));
    let place = Place::empty();
    for (title, line) in [
        ("all, and one", "rotate --all a"),
        ("an authority without its key", "rotate --ca-cert a"),
        ("no time", "rotate --expiring soon"),
        ("two ways back", "rotate --roll-back a --discard b"),
        ("a way back for all", "rotate --all --roll-back a"),
        ("an empty store", "rotate"),
    ] {
        snapshot.both_in(&place, title, line);
    }
    snapshot.check();
}
