//! `tbprov completions`

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::context::Context;
use tbprov::Result;
use tbprov::firmware::Chip;
use tbprov::identity::CredentialsType;
use tbprov::keys::KeyType;
use tbprov::sim::{Fault, Release};

/// Print the completions for a shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut with_words(Cli::command()), "tbprov", &mut script);
        context.output.data(&String::from_utf8_lossy(&script));
        Ok(ExitCode::SUCCESS)
    }
}

/// Tells the completions the words that a value can be. The values themselves are read by types that say more about a
/// wrong one than clap does.
fn with_words(command: Command) -> Command {
    let command = command.mut_args(|argument| match argument.get_long().and_then(words) {
        Some(words) => argument.value_parser(PossibleValuesParser::new(words)),
        None => argument,
    });
    command.mut_subcommands(with_words)
}

/// The words that are values of a flag, where they are few.
fn words(flag: &str) -> Option<Vec<&'static str>> {
    Some(match flag {
        "chip" => Chip::ALL.iter().map(|chip| chip.name()).collect(),
        "credentials-type" => CredentialsType::ALL.iter().map(|kind| kind.as_str()).collect(),
        "fault" => Fault::ALL.iter().map(|fault| until_its_value(fault.syntax)).collect(),
        "key-type" => KeyType::ALL.iter().map(|key_type| key_type.as_str()).collect(),
        "release" => Release::ALL.iter().map(|release| release.as_str()).collect(),
        _ => return None,
    })
}

/// `rate-limit=` of `rate-limit=N`.
fn until_its_value(syntax: &str) -> &str {
    syntax.split_inclusive('=').next().unwrap_or(syntax)
}
