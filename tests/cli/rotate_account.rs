//! `rotate` with an account: the server is told over its REST API, and gets the old certificate back if the new one does
//! not connect.

use serde_json::Value;
use tbprov::sim::{Config, Event, Release};

use crate::support::{NAME, Ran, Running, Sandbox, Server, for_each_row, same};

/// A server with a REST API that keeps its devices between runs.
fn configure(sandbox: &Sandbox, config: &mut Config) {
    config.rest = Some("127.0.0.1:0".parse().unwrap());
    config.state = Some(sandbox.path("registry.json"));
}

/// A device that was registered by a request.
fn provisioned(change: impl FnOnce(&mut Config)) -> (Sandbox, Server) {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| {
        configure(&sandbox, config);
        change(config);
    });
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    (sandbox, server)
}

/// The same server, with these faults.
fn broken(sandbox: &Sandbox, server: Server, faults: &[&str]) -> Server {
    server.replace(|config| {
        configure(sandbox, config);
        config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    })
}

fn command(sandbox: &Sandbox, server: &Server, flags: &str) -> std::process::Command {
    let mut command = sandbox.bare();
    command.envs(server.account()).arg("rotate").args(flags.split_whitespace());
    command
}

fn rotate(sandbox: &Sandbox, server: &Server, flags: &str) -> Ran {
    let mut command = command(sandbox, server, "--json");
    Ran::from(command.args(flags.split_whitespace()).output().unwrap())
}

fn own(sandbox: &Sandbox) -> String {
    sandbox.identity(NAME).leaf.credentials_id()
}

fn candidate(sandbox: &Sandbox) -> Value {
    sandbox.record()["candidate"]["state"].clone()
}

/// What must hold after every rotation: one identity works, and it is the store's current one.
#[track_caller]
fn assert_current(sandbox: &Sandbox, server: &Server) {
    let record = sandbox.record();
    assert_eq!(server.device(NAME).credentials_id.as_deref(), record["credentials_id"].as_str());
    assert_eq!(record["credentials_id"].as_str(), Some(&*own(sandbox)));
    assert_eq!((&record["state"], &record["candidate"]), (&"proved".into(), &Value::Null));
    assert_eq!(sandbox.run(&format!("connect --json {NAME}")).outcome(), "connected");
}

#[test]
fn an_account_tells_every_release() {
    let releases = [Release::V3_4, Release::V3_6, Release::V3_8, Release::V4_3];
    for_each_row(&releases, |release| {
        let what = release.to_string();
        let (sandbox, server) = provisioned(|config| config.release = *release);
        let old = own(&sandbox);
        let done = rotate(&sandbox, &server, "").done();
        same(&what, done["outcome"].as_str().unwrap(), "rotated")?;
        let row = &done["devices"][0];
        same(&what, row["switch"].as_str().unwrap(), "account")?;
        same(&what, row["old_credentials_id"].as_str().unwrap(), &old)?;
        same(&what, row["new_credentials_id"].as_str().unwrap(), &own(&sandbox))?;
        same(&what, &sandbox.identity(NAME).intermediates.len().to_string(), "0")?;
        assert_current(&sandbox, &server);
        same(&what, &rotate(&sandbox, &server, &format!("--roll-back {NAME}")).outcome(), "rolled-back")?;
        same(&what, &own(&sandbox), &old)?;
        assert_current(&sandbox, &server);
        Ok(())
    });
}

#[test]
fn an_authority_may_issue_what_an_account_tells() {
    let (sandbox, server) = provisioned(|_| {});
    sandbox.run("certs ca --json --name factory").done();
    let done = rotate(&sandbox, &server, "--ca-cert ca.pem --ca-key ca_key.pem").done();
    assert_eq!((&done["outcome"], &done["devices"][0]["switch"]), (&"rotated".into(), &"account".into()));
    assert_eq!(sandbox.identity(NAME).intermediates.len(), 1);
    assert_current(&sandbox, &server);
}

/// A failure, what it comes to, and the candidate's state afterwards.
type Failing = (&'static [&'static str], &'static str, &'static str);

#[test]
fn what_fails_on_the_way_leaves_one_identity_and_a_rerun_goes_on() {
    let rows: [Failing; 8] = [
        // The candidate is refused twice after a stranger was; then the old one is let in.
        (&["refuse=3"], "4 verify/refused verify", "staged"),
        // The old one is refused too: the server has it, and nothing is proved.
        (&["refuse=5"], "4 verify/refused verify", "sent"),
        (&["rest-not-applied"], "4 verify/not-stored rest", "staged"),
        (&["rest-html"], "1 rest/server-error rest", "staged"),
        (&["rest-redirect"], "4 rest/not-thingsboard rest", "staged"),
        (&["rest-second-factor"], "1 rest/second-factor rest", "staged"),
        (&["rest-conflict=9"], "1 rest/conflict rest", "staged"),
        (&["drop-before-tls"], "3 network/closed verify", "staged"),
    ];
    for_each_row(&rows, |(faults, ended, state)| {
        let (sandbox, server) = provisioned(|_| {});
        let old = own(&sandbox);
        let what = faults.join(" ");
        let server = broken(&sandbox, server, faults);
        let ran = rotate(&sandbox, &server, "--wait 1s --timeout 5s");
        same(&what, &ran.brief(), ended)?;
        same(&what, candidate(&sandbox).as_str().unwrap_or("none"), state)?;
        same(&what, &own(&sandbox), &old)?;
        // The REST API is not what fails here, or nothing was changed there.
        if *state == "staged" {
            same(&what, server.device(NAME).credentials_id.as_deref().unwrap_or_default(), &old)?;
        }
        let server = broken(&sandbox, server, &[]);
        let again = rotate(&sandbox, &server, "").outcome();
        same(&what, &["rotated", "recovered"].contains(&&*again).to_string(), "true")?;
        assert_current(&sandbox, &server);
        Ok(())
    });
}

/// The server has the new certificate, and its answer never comes: the run itself finds out.
#[test]
fn a_lost_answer_is_found_out_by_the_same_run() {
    for fault in [
        "rest-lost=1",
        "rest-cut=9",
        "rest-unavailable=1",
        "rest-limited=1",
        "rest-conflict=1",
        "rest-login-error=1",
    ] {
        let (sandbox, server) = provisioned(|_| {});
        let server = broken(&sandbox, server, &[fault]);
        let mut ran = rotate(&sandbox, &server, "");
        for _ in 0..9 {
            if fault == "rest-cut=9" && ran.code != Some(0) {
                ran = rotate(&sandbox, &server, "");
            }
        }
        let outcome = ran.outcome();
        assert!(["rotated", "recovered"].contains(&&*outcome), "{fault}: {outcome}");
        assert_current(&sandbox, &server);
    }
}

#[test]
fn credentials_that_somebody_else_changed_are_left_alone() {
    let (sandbox, server) = provisioned(|_| {});
    let other = Sandbox::trusting("san");
    // The same device of another store is rotated, as somebody else would.
    copy(&sandbox, &other);
    assert_eq!(rotate(&other, &server, "").outcome(), "rotated");
    let theirs = server.device(NAME).credentials_id;
    let ran = rotate(&sandbox, &server, "");
    assert_eq!(ran.brief(), "4 verify/not-stored rest");
    assert!(ran.help().contains(&format!("tbprov server register {NAME}")), "{ran:?}");
    assert!(ran.message().contains(theirs.as_deref().unwrap()), "{ran:?}");
    assert_eq!((server.device(NAME).credentials_id, candidate(&sandbox)), (theirs, "staged".into()));
    // A device that is gone is told so too.
    sandbox.run(&format!("devices remove --json --yes {NAME}")).done();
    let server = server.replace(|config| config.rest = Some("127.0.0.1:0".parse().unwrap()));
    assert_eq!(rotate(&other, &server, "").brief(), "1 rest/not-found rest");
}

fn copy(from: &Sandbox, to: &Sandbox) {
    for file in ["key.pem", "cert.pem", "server.pem", "device.json"] {
        let path = format!("devices/{NAME}/{file}");
        to.write(&path, from.read(&path));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(to.path(&path), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

#[test]
fn a_rotation_that_is_killed_at_any_event_is_finished_by_a_rerun() {
    let (sandbox, server) = provisioned(|_| {});
    let undisturbed = Ran::from(command(&sandbox, &server, "--events").output().unwrap());
    undisturbed.done();
    for wanted in
        [r#""state":"staged""#, r#""state":"sent""#, "server-told", r#""state":"proved""#, "promoted"]
    {
        assert!(undisturbed.stdout.contains(wanted), "no {wanted}: {undisturbed:?}");
    }
    for event in 0..undisturbed.stdout.lines().count() {
        let old = own(&sandbox);
        let mut running = Running::start(&mut command(&sandbox, &server, "--events"));
        for _ in 0..=event {
            running.line();
        }
        running.kill();
        let outcome = rotate(&sandbox, &server, "").outcome();
        assert!(["rotated", "recovered"].contains(&&*outcome), "{event}: {outcome}");
        assert_ne!(own(&sandbox), old, "{event}");
        assert_current(&sandbox, &server);
    }
}

/// The candidate was told, and the command that gives it up tells the server of the old one.
#[test]
fn a_candidate_that_the_server_has_is_given_up() {
    let (sandbox, server) = provisioned(|_| {});
    let old = own(&sandbox);
    // The stranger is refused, and then nobody is answered with yes or no.
    let server = broken(&sandbox, server, &["refuse=1", "unavailable=99"]);
    let mut running = Running::start(&mut command(&sandbox, &server, "--events --wait 1m"));
    running.until("server-told");
    running.kill();
    let server = broken(&sandbox, server, &[]);
    assert_eq!(candidate(&sandbox), "sent");
    assert_ne!(server.device(NAME).credentials_id.as_deref(), Some(&*old));
    let looked = sandbox.run("connect --json");
    assert_eq!(looked.failure().0, 1, "{looked:?}");
    assert_eq!(rotate(&sandbox, &server, &format!("--roll-back {NAME}")).outcome(), "rolled-back");
    assert_eq!(own(&sandbox), old);
    assert_current(&sandbox, &server);
}

/// A candidate that was shown by hand was never tried together with a stranger.
#[test]
fn an_account_that_goes_on_by_hand_begun_finds_out_first_whether_strangers_are_refused() {
    let (sandbox, server) = provisioned(|_| {});
    assert_eq!(sandbox.run("rotate --json").outcome(), "waiting");
    let refused = || server.events().iter().filter(|event| matches!(event, Event::Refused { .. })).count();
    let before = refused();
    assert_eq!(rotate(&sandbox, &server, "").outcome(), "recovered");
    assert_eq!(refused(), before + 1);
    assert_current(&sandbox, &server);
}

#[test]
fn many_devices_cost_one_login_and_one_connection() {
    let (sandbox, server) = provisioned(|_| {});
    for name in ["a", "b", "c"] {
        assert_eq!(server.provision_as(&sandbox, name, "").outcome(), "provisioned");
    }
    let ran = Ran::from(command(&sandbox, &server, "--events --all").output().unwrap());
    let done = ran.done();
    assert_eq!((&done["outcome"], done["devices"].as_array().unwrap().len()), (&"rotated".into(), 4));
    let connections = ran.stdout.matches("tcp-connected").count();
    // One of the REST API, and one for each device; the throw-away identity's is not told.
    assert_eq!(connections, 5, "{ran:?}");
    // What is wrong with the account is wrong for all.
    let wrong = Ran::from(
        command(&sandbox, &server, "--json --all").env("TBPROV_API_PASSWORD", "another").output().unwrap(),
    );
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let rows = wrong.json()["devices"].clone();
    assert_eq!(rows[0]["error"]["code"], "rest/unauthorized");
    assert_eq!((&rows[1]["outcome"], &rows[3]["outcome"]), (&"skipped".into(), &"skipped".into()));
    let secrets = format!("{wrong:?}{ran:?}");
    assert!(!secrets.contains(&server.account()[2].1), "the password is shown");
    assert_current(&sandbox, &server);
}

/// Nobody has the candidate then, and the one command that every message names brings the device back.
#[test]
fn a_device_that_is_deleted_during_its_rotation_is_registered_again() {
    let (sandbox, server) = provisioned(|_| {});
    assert_eq!(sandbox.run("rotate --json").outcome(), "waiting");
    assert_eq!(candidate(&sandbox), "sent");
    let run = |line: &str| {
        let mut command = sandbox.bare();
        let words = line.split_whitespace().chain(["--yes", "--json"]);
        Ran::from(command.envs(server.account()).arg("server").args(words).output().unwrap())
    };
    run(&format!("remove {NAME}")).done();
    let refused = rotate(&sandbox, &server, "");
    refused.failed(1, "rest/not-found");
    assert!(refused.help().contains("server register"), "{refused:?}");
    run(&format!("register {NAME}")).done();
    assert_current(&sandbox, &server);
    assert_eq!(rotate(&sandbox, &server, "").outcome(), "rotated");
}
