//! Registration at connect, by a certificate that an authority issued.

use tbprov::identity::read_certificates;
use tbprov::sim::{Config, NamePattern, Strategy};

use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::fixture_text;

pub(crate) const PROVISION: &str = "provision --ca-cert ca.pem --ca-key ca_key.pem";

/// A profile with the authority `ca.pem` and this pattern.
fn profile(pattern: &str) -> impl Fn(&mut Config) {
    let pattern = pattern.to_owned();
    move |config| {
        let authority = read_certificates(&fixture_text("server/ca.pem"), "ca.pem").unwrap().remove(0);
        let name_pattern = NamePattern::new(&pattern);
        config.strategy = Strategy::Chain { authority, name_pattern, allow_create: true };
    }
}

pub(crate) fn of(pattern: &str) -> Place {
    let place = Place::with(profile(pattern));
    let place = place.file("ca.pem", fixture_text("server/ca.pem"));
    let place = place.file("ca_key.pem", fixture_text("server/ca_key.pem"));
    place.unset("TBPROV_PROVISION_KEY").unset("TBPROV_PROVISION_SECRET")
}

#[test]
fn at_connect() {
    let mut snapshot = Snapshot::new("results/at-connect");
    let served = || of("(.*)");
    snapshot.both("a new device", PROVISION, served);
    snapshot.case("its events").ran(&served(), &format!("{PROVISION} --events"));
    snapshot.both("again: nothing but a proof", PROVISION, || served().after(PROVISION));
    snapshot.both("a common name of one's own", &format!("{PROVISION} --common-name plant-7,pump"), served);
    snapshot.both("days that the authority does not have", &format!("{PROVISION} --days 36500"), served);
    snapshot.both("a profile that nobody asks", PROVISION, || served().set("TBPROV_PROVISION_KEY", "key"));
    snapshot.both("what would be done", &format!("{PROVISION} --dry-run"), served);
    snapshot.check();
}

#[test]
fn at_connect_goes_wrong() {
    let mut snapshot = Snapshot::new("errors/at-connect");
    snapshot.both("server/not-authorized", PROVISION, || of("^plant-(.*)$"));
    snapshot.both("server/not-authorized, for the second time", PROVISION, || {
        of("^plant-(.*)$").after_failed(PROVISION)
    });
    let place = of("(.*)").pair();
    for (title, flags) in [
        ("a provision key", "--provision-key k"),
        ("a gateway", "--gateway"),
        ("no proof", "--no-verify-connect"),
        ("a pair from elsewhere", "--cert device.pem --key device_key.pem"),
        ("a token", "--credentials-type access-token"),
        ("no name", "--device-name="),
        ("a common name that is too long", &format!("--common-name {}", "n".repeat(65))),
    ] {
        snapshot.both_in(&place, title, &format!("{PROVISION} {flags}"));
    }
    snapshot.both_in(&place, "an authority without its key", "provision --ca-cert ca.pem");
    let device = "provision --ca-cert device.pem --ca-key device_key.pem";
    snapshot.both_in(&place, "no authority", device);
    snapshot.both("store/exists: another authority", PROVISION, || {
        of("(.*)")
            .after("certs ca --name another --out other")
            .after_failed("provision --ca-cert other/ca.pem --ca-key other/ca_key.pem")
    });
    snapshot.check();
}
