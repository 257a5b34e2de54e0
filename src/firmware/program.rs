//! Other programs, which get nothing of ours that they have no use for.

use std::process::Command;

/// Every variable of tbprov begins so: some hold secrets.
const OURS: &str = "TBPROV_";

/// Keeps tbprov's own variables from a program: its environment is for everything that runs as the same user to see.
pub(super) fn without_our_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(OURS)) {
        command.env_remove(name);
    }
    command
}
