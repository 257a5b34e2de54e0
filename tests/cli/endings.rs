//! A server certificate that is believed and ends soon: who says so, and when.

use crate::authorities::{Days, make, server};
use crate::support::{NAME, Sandbox, Server, for_each_row};

/// `(from and until when each certificate of the file is valid, the outcome of doctor's check, what it says, and
/// whether provision warns)`; the first is the server's own.
type Row = (&'static [Days], &'static str, &'static str, bool);

const ROWS: &[Row] = &[
    (&[(-10, 400)], "passed", "server.pem: one certificate, valid to ", false),
    (&[(-10, 31)], "passed", "server.pem: one certificate, valid to ", false),
    (&[(-10, 30)], "warning", "'CN=localhost' ends in 29 days, on ", true),
    (&[(-10, 1)], "warning", "'CN=localhost' ends in 0 days, on ", true),
    // The next one is there already.
    (&[(-10, 5), (-1, 400)], "passed", "2 certificates; 'CN=localhost' ends in 4 days", false),
    (&[(-10, 400), (-20, -1)], "passed", "2 certificates; 'CN=localhost' has ended on ", false),
    (&[(-10, 5), (-20, -1)], "warning", "ends in 4 days", true),
];

#[test]
fn doctor_and_provision_say_that_a_pin_ends_soon() {
    for_each_row(ROWS, |(days, outcome, says, warns)| {
        let sandbox = Sandbox::new();
        let made: Vec<_> = days.iter().map(|days| make("localhost", *days, None, server)).collect();
        sandbox.write("server.pem", made.iter().map(|made| made.certificate.as_str()).collect::<String>());
        sandbox.write("presented.pem", &made[0].certificate);
        sandbox.write("presented_key.pem", &made[0].key);
        let server = Server::start(|config| config.server = Some(sandbox.server_identity("presented")));
        let doctor = sandbox.run(&format!("doctor --json {}", server.flags())).json();
        let checks = doctor["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == "server-cert").unwrap();
        if check["outcome"] != *outcome || !check["detail"].as_str().unwrap().contains(says) {
            return Err(format!("{days:?}: {check}"));
        }
        let mut command = sandbox.bare_in_time();
        command.envs(server.environment()).args(["provision", "--events", "--device-name", NAME]);
        let ran = crate::support::Ran::from(command.output().unwrap());
        let warned = ran.stdout.contains("the server certificate in server.pem ends in");
        if ran.code != Some(0) || warned != *warns {
            return Err(format!("{days:?}: {ran:?}"));
        }
        let stored = sandbox.run("doctor --json").json();
        let device =
            stored["checks"].as_array().unwrap().iter().find(|check| check["check"] == "device").unwrap();
        if (device["outcome"] == "warning") == *warns { Ok(()) } else { Err(format!("{days:?}: {device}")) }
    });
}
