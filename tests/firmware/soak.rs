//! Many sessions, one after the other: the heap does not grow.

use super::*;
use tbprov::sim::Fault;

/// Sessions. A leak of a few bytes in each shows after some; what happens rarely needs many.
const SESSIONS: usize = 200;
const MANY_SESSIONS: usize = 1000;

#[test]
fn sessions_do_not_grow_the_heap() {
    let Some(elf) = firmware() else { return };
    // Each connection is reset at its second reading: one acknowledged reading a session.
    let (server, sandbox) =
        (Server::start(|config| config.faults.push(Fault::ResetAlways(2))), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let sessions = if builder::is_all_required() { MANY_SESSIONS } else { SESSIONS };
    let count = sessions.to_string();
    let arguments = ["--count", &count, "--interval", "10ms", "--retry", "1ms", "--give-up-after", "30s"];
    let emulated = run(&mut emulate(&sandbox, elf, &arguments));
    assert_eq!(emulated.done()["acknowledged"], sessions);
    let free = free_before_sessions(&log(&emulated));
    assert!(free.len() >= sessions, "{} sessions", free.len());
    let (second, last) = (free[1], free[free.len() - 1]);
    println!("free before session 1: {}, 2: {second}, {}: {last}", free[0], free.len());
    assert!(last >= second, "the heap shrank from {second} to {last}");
}

/// The free bytes of the heap that the log tells before each session.
fn free_before_sessions(log: &[String]) -> Vec<u64> {
    let told = log.iter().filter_map(|line| line.strip_suffix(" bytes before the session"));
    told.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}
