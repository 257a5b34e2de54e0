//! The whole help of every command, found by asking each for its own commands.

use std::collections::BTreeSet;

use crate::redactions::redact;
use crate::snapshot::{folder, same_as_file};
use crate::support::Sandbox;

/// A command, as it is typed after `tbprov`, and what `--help` says of it.
pub(crate) struct Help {
    pub(crate) command: Vec<String>,
    pub(crate) text: String,
}

impl Help {
    /// `tbprov certs gen`.
    pub(crate) fn title(&self) -> String {
        [&["tbprov".to_owned()], self.command.as_slice()].concat().join(" ")
    }

    fn file(&self) -> String {
        format!("{}.txt", self.title().replace(' ', "-"))
    }
}

/// Every command below the one of no name, each before its own.
pub(crate) fn every_help() -> Vec<Help> {
    let sandbox = Sandbox::new();
    let mut to_ask = vec![Vec::new()];
    let mut found = Vec::new();
    while let Some(command) = to_ask.pop() {
        let help = ask(&sandbox, &command, "--help");
        for name in commands(&help.text).into_iter().rev() {
            to_ask.push([command.as_slice(), &[name]].concat());
        }
        found.push(help);
    }
    found
}

fn ask(sandbox: &Sandbox, command: &[String], flag: &str) -> Help {
    let ran = sandbox.run_all(command.iter().map(String::as_str).chain([flag]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command:?}");
    Help { command: command.to_vec(), text: redact(&ran.stdout, &sandbox.path("")) }
}

/// The names below `Commands:`, but `help`.
fn commands(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let entries = listed.filter_map(|line| line.strip_prefix("  ").filter(|entry| !entry.starts_with(' ')));
    entries
        .filter_map(|entry| entry.split(' ').next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_commands_help() {
    let every = every_help();
    assert!(every.len() > 20, "{} commands", every.len());
    for help in &every {
        same_as_file(&help.text, &folder().join("help").join(help.file()));
    }
    let expected: BTreeSet<_> = every.iter().map(Help::file).collect();
    let kept = std::fs::read_dir(folder().join("help")).unwrap();
    let kept: BTreeSet<_> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(kept, expected, "a help of what is no command");
}

/// `-h` has the same in short; once is enough.
#[test]
fn the_short_help() {
    let help = ask(&Sandbox::new(), &[], "-h");
    same_as_file(&help.text, &folder().join("short-help.txt"));
}
