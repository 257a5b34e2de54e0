//! The command line: one file a verb, each with its arguments (whose doc comments are the help) and its
//! function.

mod account_args;
mod advice;
mod arguments;
mod authority_file;
mod certs;
mod completions;
mod config;
mod config_words;
mod connect;
mod context;
mod conversions;
mod demo;
mod desk_advice;
mod devices;
mod doctor;
mod editor;
mod firmware;
#[cfg(feature = "fleet")]
mod fleet;
mod key_file;
mod key_password;
mod ledger_args;
mod limits;
mod man;
mod new_file;
mod prompt;
mod provision;
mod registration;
mod rest_advice;
mod results;
mod rotate;
mod secret_file;
mod server;
mod server_args;
mod shell;
mod sim;
mod telemetry_args;
mod terminal;
mod values;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::output::{Color, Format, Options, Output};
use context::Context;
use ledger_args::LedgerArgs;
use tbprov::{Error, ErrorCode, Result};

/// Gives IoT devices an X.509 identity in ThingsBoard: key, certificate, provisioning, proof, telemetry.
#[derive(Debug, Parser)]
#[command(name = "tbprov", bin_name = "tbprov", version, max_term_width = 100, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// The three commands to begin with.
macro_rules! first_commands {
    () => {
        "\
Try it without a server:      tbprov demo
A first device:               tbprov provision
Why does it not connect:      tbprov doctor --host HOST
"
    };
}

const AFTER_HELP: &str = concat!(
    first_commands!(),
    "
Exit codes: 0 done, 1 refused by the server, 2 usage or configuration, 3 network or TLS, 4 the answer or the \
identity does not verify, 5 store or files, 6 done in part, 7 firmware, 70 a bug, 130 interrupted (run again to continue)."
);

/// For a person who has typed nothing but `tbprov`.
const FIRST_WORDS: &str = concat!(
    "tbprov gives IoT devices an X.509 identity in ThingsBoard. To begin with:\n\n",
    first_commands!(),
    "
Every command:                tbprov --help
Every flag of a command:      tbprov COMMAND --help
The first steps, explained:   docs/first-steps.md, beside the README of tbprov
"
);

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Print one JSON object on stdout at the end.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print events as NDJSON on stdout, the result last.
    #[arg(long, global = true)]
    pub(crate) events: bool,
    /// Say nothing but the result and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; -vv adds the log of the libraries underneath.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colour on stderr; NO_COLOR is honoured.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// Never prompt; implied when stdin is no terminal.
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// The folder of devices [default: ./devices].
    #[arg(long, global = true, env = "TBPROV_STORE", value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The configuration file [default: ./tbprov.toml where it exists].
    #[arg(long, global = true, env = "TBPROV_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[cfg(feature = "fleet")]
    #[arg(skip)]
    pub(in crate::cli) flags: arguments::Flags,
}

impl GlobalArgs {
    fn output(&self) -> Options {
        let format = match (self.events, self.json) {
            (true, _) => Format::Events,
            (_, true) => Format::Json,
            _ => Format::Human,
        };
        let color = match self.color {
            ColorChoice::Auto => Color::Auto,
            ColorChoice::Always => Color::Always,
            ColorChoice::Never => Color::Never,
        };
        Options { format, quiet: self.quiet, verbose: self.verbose, color }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Provision(provision::ProvisionArgs),
    Connect(connect::ConnectArgs),
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    #[command(subcommand)]
    Devices(devices::DevicesCommand),
    Rotate(rotate::RotateArgs),
    #[cfg(feature = "fleet")]
    #[command(subcommand)]
    Fleet(fleet::FleetCommand),
    Doctor(doctor::DoctorArgs),
    #[command(subcommand)]
    Server(server::ServerCommand),
    #[command(subcommand)]
    Firmware(firmware::FirmwareCommand),
    Sim(sim::SimArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// The command's name in results.
    const fn name(&self) -> &'static str {
        match self {
            Self::Provision(_) => "provision",
            Self::Connect(_) => "connect",
            Self::Certs(command) => command.name(),
            Self::Devices(command) => command.name(),
            Self::Rotate(_) => "rotate",
            #[cfg(feature = "fleet")]
            Self::Fleet(command) => command.name(),
            Self::Doctor(_) => "doctor",
            Self::Server(command) => command.name(),
            Self::Firmware(command) => command.name(),
            Self::Sim(_) => "sim",
            Self::Demo(_) => "demo",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }

    /// Whether it serves many connections, and so profits from a thread for each core.
    const fn is_server(&self) -> bool {
        match self {
            Self::Firmware(command) => command.is_server(),
            #[cfg(feature = "fleet")]
            Self::Fleet(command) => command.is_server(),
            _ => matches!(self, Self::Sim(_) | Self::Demo(_)),
        }
    }

    /// Where a ledger may be named in place of the store.
    const fn ledger(&self) -> Option<&LedgerArgs> {
        match self {
            Self::Connect(args) => Some(&args.ledger),
            Self::Devices(command) => command.ledger(),
            Self::Rotate(args) => Some(&args.ledger),
            Self::Doctor(args) => Some(&args.ledger),
            Self::Firmware(command) => command.ledger(),
            _ => None,
        }
    }

    async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Provision(args) => args.run(context).await,
            Self::Connect(args) => args.run(context).await,
            Self::Certs(command) => context.interruptible(command.run(context)).await,
            Self::Devices(command) => command.run(context).await,
            Self::Rotate(args) => args.run(context).await,
            #[cfg(feature = "fleet")]
            Self::Fleet(command) => command.run(context).await,
            Self::Doctor(args) => context.interruptible(args.run(context)).await,
            Self::Server(command) => command.run(context).await,
            Self::Firmware(command) => command.run(context).await,
            Self::Sim(args) => args.run(context).await,
            Self::Demo(args) => args.run(context).await,
            Self::Completions(args) => args.run(context),
            Self::Man(args) => args.run(context),
        }
    }
}

/// Parses, runs, and maps the outcome to an exit code.
pub(crate) fn main() -> ExitCode {
    terminal::on_panic(report);
    if std::env::args_os().len() <= 1 && std::io::stderr().is_terminal() {
        return first_words();
    }
    let (cli, checked) = match arguments::parse() {
        Ok(parsed) => parsed,
        Err(refused) => return arguments::tell(refused, is_for_programs(), report),
    };
    terminal::log(cli.global.verbose);
    let output = Output::new(cli.global.output());
    let name = cli.command.name();
    let outcome = checked
        .and_then(|()| run(cli, output.clone()))
        .and_then(|code| output.check_written().map(|()| code));
    outcome.map_err(limits::named).map_err(values::explained).unwrap_or_else(|error| {
        output.error(name, &error, &advice::help(&error));
        ExitCode::from(error.exit_code())
    })
}

/// What to begin with. No command is still an error of usage, as without a terminal.
fn first_words() -> ExitCode {
    let options = Options { format: Format::Human, quiet: false, verbose: 0, color: Color::Never };
    Output::new(options).note(FIRST_WORDS);
    ExitCode::from(ErrorCode::UsageMissing.kind().exit_code())
}

fn run(cli: Cli, output: Output) -> Result<ExitCode> {
    terminal::save();
    limits::check()?;
    let context = Context::new(&cli.global, output)?;
    let context = match cli.command.ledger() {
        Some(ledger) => ledger.context(&context)?,
        None => context,
    };
    let runtime = limits::runtime(cli.command.is_server())?;
    let outcome = runtime.block_on(cli.command.run(&context));
    // Whatever no run inside has stamped failed at the step that the command had begun.
    let outcome = outcome.map_err(|error| error.stamped(context.progress.step()));
    terminal::restore();
    // A prompt or a pipe on stdin may be read by a thread that would never end.
    runtime.shutdown_background();
    outcome
}

/// Whether a machine format was asked for, by arguments that may not be readable.
fn is_for_programs() -> bool {
    std::env::args_os().any(|argument| argument == "--json" || argument == "--events")
}

/// A failure where there is no [`Output`]: of arguments that cannot be read, or of tbprov itself.
fn report(error: Error) {
    let format = if is_for_programs() { Format::Json } else { Format::Human };
    let options = Options { format, quiet: false, verbose: 0, color: Color::Never };
    Output::new(options).error("tbprov", &error, &advice::help(&error));
}
