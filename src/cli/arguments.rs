//! Reads the arguments and the variables that belong to them. What must not be shown is refused first, by the name of its
//! flag or variable; and what clap refuses is told without values that may be secrets.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::Cli;
use super::values::{self, Source};
use tbprov::error::Hint;
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result};

/// Values that are no names: JSON and expressions may hold line ends and tabs, and a topic has a check of its own.
const FREE: &[&str] = &["JSON", "JSON|@FILE|-", "REGEX", "TOPIC"];

/// How long a mistyped name of a flag or command is, at the most.
const LONGEST_NAME: usize = 40;

/// Why there is nothing to run.
pub(super) enum Refused {
    /// In clap's words, which may be help that was asked for.
    ByClap(clap::Error),
    /// In ours.
    Ours(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// The command line, and whether its values can be used: told apart, since what is wrong with a value is a failure of
/// its command.
pub(super) fn parse() -> Result<(Cli, Result<()>), Refused> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut command = command();
    no_text_of_a_file(&command, &arguments)?;
    let arguments = all_text(arguments)?;
    let mut matches =
        command.try_get_matches_from_mut(&arguments).map_err(|error| refused(error, &command, &arguments))?;
    let checked = check(&command, &matches);
    #[cfg(feature = "fleet")]
    let flags = Flags { store: is_flag(&matches, "store"), ledger: is_flag(&matches, "ledger") };
    let cli = Cli::from_arg_matches_mut(&mut matches);
    let cli = cli.map_err(|error| refused(error, &command, &arguments))?;
    #[cfg(feature = "fleet")]
    let cli = Cli { global: super::GlobalArgs { flags, ..cli.global }, ..cli };
    Ok((cli, checked))
}

/// Which values that a variable may give too were given by a flag.
#[cfg(feature = "fleet")]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) store: bool,
    pub(super) ledger: bool,
}

/// Whether a flag of the command gave the value.
#[cfg(feature = "fleet")]
fn is_flag(matches: &ArgMatches, id: &str) -> bool {
    let mut command = matches;
    while let Some((_, under)) = command.subcommand() {
        command = under;
    }
    let is_known = command.try_get_raw(id).is_ok_and(|given| given.is_some());
    is_known && command.value_source(id) == Some(ValueSource::CommandLine)
}

/// The command, whose help shows the names of variables and not their values.
fn command() -> Command {
    fn without_values(command: Command) -> Command {
        command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(without_values)
    }
    without_values(Cli::command())
}

/// Refuses the text of a key where its file's name is wanted, before anything can show it.
fn no_text_of_a_file(command: &Command, arguments: &[OsString]) -> Result<()> {
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if name.starts_with("TBPROV_") && values::holds_a_file(&value) {
            return Err(Source::variable(&name).holds_a_file());
        }
    }
    for (position, argument) in arguments.iter().enumerate().skip(1) {
        let argument = argument.to_string_lossy();
        if is_free(command, arguments, position) && !values::holds_a_private_key(&argument) {
            continue;
        }
        if values::holds_a_file(argument.split_once('=').map_or(&*argument, |(_, value)| value))
            || values::holds_a_file(&argument)
        {
            return Err(source_at(command, arguments, position).holds_a_file());
        }
    }
    Ok(())
}

/// Who the argument at `position` belongs to.
fn source_at(command: &Command, arguments: &[OsString], position: usize) -> Source {
    let text = |position: usize| arguments.get(position).map(|text| text.to_string_lossy().into_owned());
    let argument = text(position).unwrap_or_default();
    if let Some((flag, _)) = argument.split_once('=')
        && is_name(flag)
    {
        return Source::flag(flag);
    }
    match position.checked_sub(1).and_then(text) {
        Some(before) if before.strip_prefix("--").is_some_and(|name| takes_value(command, name)) => {
            Source::Flag(before)
        }
        _ => Source::Other(format!("argument {position}")),
    }
}

/// Whether the argument at `position` is a value that may be any text, such as a reading.
fn is_free(command: &Command, arguments: &[OsString], position: usize) -> bool {
    match source_at(command, arguments, position) {
        Source::Flag(flag) => flag.strip_prefix("--").is_some_and(|name| takes_free_text(command, name)),
        _ => false,
    }
}

/// Whether some command has a flag of this name whose value may be any text.
fn takes_free_text(command: &Command, name: &str) -> bool {
    let is_it = |argument: &Arg| argument.get_long() == Some(name) && FREE.contains(&kind_of(argument));
    command.get_arguments().any(is_it) || command.get_subcommands().any(|under| takes_free_text(under, name))
}

/// What the value of an argument is called in the help.
fn kind_of(argument: &Arg) -> &str {
    argument.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

/// Whether some command has a flag of this name that takes a value.
fn takes_value(command: &Command, name: &str) -> bool {
    let has_it = |argument: &Arg| argument.get_long() == Some(name) && argument.get_action().takes_values();
    command.get_arguments().any(has_it) || command.get_subcommands().any(|under| takes_value(under, name))
}

/// Whether a word can be shown as the name of a flag or a command.
fn is_name(word: &str) -> bool {
    let bare = word.trim_start_matches('-');
    (1..=LONGEST_NAME).contains(&bare.len())
        && bare
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte) || byte.is_ascii_digit())
        && !values::may_be_secret(bare)
}

/// Paths and names go into JSON and into records, where there is nothing but UTF-8.
fn all_text(arguments: Vec<OsString>) -> Result<Vec<String>> {
    let invalid = |what: &str| Error::new(ErrorCode::UsageInvalid, format!("{what} is not UTF-8 text"));
    for (name, value) in std::env::vars_os() {
        match name.to_str() {
            Some(name) if name.starts_with("TBPROV_") && value.to_str().is_none() => {
                return Err(invalid(name));
            }
            _ => {}
        }
    }
    let text = |argument: OsString| argument.into_string().map_err(|_| invalid("an argument"));
    arguments.into_iter().map(text).collect()
}

/// Checks each value that was given by flag or variable.
fn check(command: &Command, matches: &ArgMatches) -> Result<()> {
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let Ok(Some(given)) = matches.try_get_raw(id) else { continue };
        let Some(source) = source(argument, matches.value_source(id)) else { continue };
        for value in given {
            check_value(argument, &source, &value.to_string_lossy())?;
        }
    }
    match matches.subcommand() {
        Some((name, under)) => command.find_subcommand(name).map_or(Ok(()), |command| check(command, under)),
        None => Ok(()),
    }
}

fn source(argument: &Arg, given: Option<ValueSource>) -> Option<Source> {
    match given? {
        ValueSource::EnvVariable => argument.get_env().map(|name| Source::variable(&name.to_string_lossy())),
        ValueSource::CommandLine => Some(named(argument)),
        _ => None,
    }
}

/// The name of a flag, or what stands for an argument in the help.
fn named(argument: &Arg) -> Source {
    match argument.get_long() {
        Some(long) => Source::Flag(format!("--{long}")),
        None => Source::Other(format!("the argument {}", argument.get_id().as_str().to_uppercase())),
    }
}

fn check_value(argument: &Arg, source: &Source, value: &str) -> Result<()> {
    let kind = kind_of(argument);
    if !argument.get_action().takes_values() || argument.is_last_set() || FREE.contains(&kind) {
        return Ok(());
    }
    source.check(value)?;
    match kind {
        "FILE" | "DIR" if values::is_no_path(value) => Err(source.holds_a_file()),
        "FILE" | "DIR" if value.is_empty() => Err(source.is_empty()),
        _ => Ok(()),
    }
}

/// What clap refuses, in its words wherever these show nothing that may be a secret.
fn refused(mut error: clap::Error, command: &Command, arguments: &[String]) -> Refused {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (argument, value) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue));
    match error.kind() {
        ErrorKind::UnknownArgument if !is_shown(command, arguments, &argument) => {
            Refused::Ours(one_too_many(command, arguments, &argument))
        }
        ErrorKind::InvalidSubcommand if !is_name(&context(ContextKind::InvalidSubcommand)) => {
            let message =
                "there is no command of the name that was given (it is not shown: it may be a secret)";
            Refused::Ours(Error::new(ErrorCode::UsageInvalid, message))
        }
        ErrorKind::TooManyValues => {
            let flag = argument.split([' ', '=']).next().unwrap_or_default();
            Refused::Ours(Error::new(ErrorCode::UsageInvalid, format!("{flag} takes no value")))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let source = source_of(command, arguments, &argument);
            if let Some(refused) = refused_value(&source, &value, &error) {
                return Refused::Ours(refused);
            }
            if let Source::Variable(name) = source {
                error.insert(ContextKind::InvalidArg, ContextValue::String(name));
            }
            Refused::ByClap(error)
        }
        _ => Refused::ByClap(error),
    }
}

/// The flag before an argument that nobody expected, where that flag takes a value. clap names a word of letters behind one
/// dash by its first letter.
fn flag_before<'a>(command: &Command, arguments: &'a [String], argument: &str) -> Option<&'a str> {
    let before = place_of(arguments, argument)?.checked_sub(1).and_then(|before| arguments.get(before))?;
    before.strip_prefix("--").is_some_and(|name| takes_value(command, name)).then_some(before)
}

fn place_of(arguments: &[String], argument: &str) -> Option<usize> {
    let is_it = |given: &String| {
        given == argument || (argument.len() == 2 && !given.starts_with("--") && given.starts_with(argument))
    };
    arguments.iter().position(is_it)
}

/// Whether an argument that nobody expected can be shown: it has the form of a flag, and is not the value of one.
fn is_shown(command: &Command, arguments: &[String], argument: &str) -> bool {
    let is_flag = argument.starts_with('-') && (argument.len() == 2 || is_name(argument));
    is_flag && flag_before(command, arguments, argument).is_none()
}

/// An argument that is not expected, which may be a secret that stands in the wrong place.
fn one_too_many(command: &Command, arguments: &[String], argument: &str) -> Error {
    match flag_before(command, arguments, argument) {
        Some("--send-telemetry") => {
            let message = "what follows --send-telemetry belongs to no flag";
            Error::new(ErrorCode::UsageInvalid, message).hint(Hint::TelemetryAfterEquals)
        }
        Some(flag) if argument.starts_with('-') => {
            let message =
                format!("the value of {flag} begins with a dash: it has to follow an equals sign ({flag}=…)");
            Error::new(ErrorCode::UsageInvalid, message)
        }
        _ => {
            let place = place_of(arguments, argument);
            let which = place.map_or_else(|| "an argument".to_owned(), |place| format!("argument {place}"));
            let message = format!("{which} is not expected (it is not shown: it may be a secret)");
            Error::new(ErrorCode::UsageInvalid, message)
        }
    }
}

/// Where the value of an argument that clap calls `--port <PORT>` comes from.
fn source_of(command: &Command, arguments: &[String], argument: &str) -> Source {
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    let is_given = arguments
        .iter()
        .any(|given| given.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')));
    match flag.strip_prefix("--").and_then(|name| variable_of(command, name)) {
        Some(variable) if !is_given && std::env::var_os(&variable).is_some() => Source::Variable(variable),
        _ => Source::Flag(if flag.starts_with('-') { flag } else { argument }.to_owned()),
    }
}

fn variable_of(command: &Command, name: &str) -> Option<String> {
    let own = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(name) && argument.get_env().is_some());
    let own = own.and_then(Arg::get_env).map(|variable| variable.to_string_lossy().into_owned());
    own.or_else(|| command.get_subcommands().find_map(|under| variable_of(under, name)))
}

/// A value that is told in our words: an empty one, one that holds what no value does, one that is too long to be shown.
fn refused_value(source: &Source, value: &str, error: &clap::Error) -> Option<Error> {
    let is_of_variable = matches!(source, Source::Variable(_));
    if value.is_empty() && is_of_variable {
        return Some(source.is_empty());
    }
    if let Err(refused) = source.check(value) {
        return Some(refused);
    }
    if values::may_be_key_material(value) {
        let message = format!("the value of {source} cannot be used (it is not shown: it may be a secret)");
        return Some(Error::new(ErrorCode::UsageInvalid, message));
    }
    let short = shown(value);
    if short == value {
        return None;
    }
    let why = std::error::Error::source(error).map(|why| why.to_string().replace(value, &short));
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Some(Error::new(ErrorCode::UsageInvalid, format!("invalid value '{short}' for {source}{}", shown(&why))))
}

/// clap's own message, or the same in JSON where that was asked for.
pub(super) fn tell(refused: Refused, is_for_programs: bool, report: fn(Error)) -> ExitCode {
    let error = match refused {
        Refused::Ours(error) => error,
        Refused::ByClap(error) if is_for_programs && error.use_stderr() => usage_error(&error),
        Refused::ByClap(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let exit_code = error.exit_code();
    report(error);
    ExitCode::from(exit_code)
}

/// clap's first paragraph, which may name several arguments, in one line.
fn usage_error(error: &clap::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::ArgumentConflict => ErrorCode::UsageConflict,
        ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand => ErrorCode::UsageMissing,
        _ => ErrorCode::UsageInvalid,
    };
    let text = error.render().to_string();
    let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    Error::new(code, lines.join(" ").trim_start_matches("error: "))
}
