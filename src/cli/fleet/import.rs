//! `tbprov fleet import`

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::ledger_args::{DEFAULT_LEDGER, store_flag};
use super::super::shell::quoted_path;
use super::FleetArgs;
use tbprov::error::Hint;
use tbprov::event::Event;
use tbprov::fleet::manifest::{Manifest, Numbered};
use tbprov::fleet::{import, store};
use tbprov::ledger::roster::Imported;
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Step, blocking};

/// Take the rows of a manifest into the ledger: all of them, or none.
///
/// The rows come from a file, from --count with --name, or from the store that --store names. A ledger is made where there
/// is none.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// CSV with a header, separated by comma, semicolon or tab, or one JSON object on each line; - is standard input.
    #[arg(value_name = "MANIFEST")]
    manifest: Option<PathBuf>,
    /// Make this many rows in place of a manifest, named by --name.
    #[arg(long, value_name = "N", requires = "name")]
    count: Option<u64>,
    /// With --count: the name of each row, such as sensor-{:05}, where {} is its number and {:05} has five digits.
    #[arg(long, value_name = "PATTERN", requires = "count")]
    name: Option<String>,
    /// With --count: the first number.
    #[arg(long, value_name = "K", requires = "count", default_value_t = 1)]
    start: u64,
    /// Replace rows that differ from those of the ledger, where nothing was done for the device yet.
    #[arg(long)]
    update: bool,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    ledger: FleetArgs,
}

impl ImportArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let (manifest, imported) = match self.manifest(context).await? {
            Some(manifest) => (manifest.name().to_owned(), self.import(manifest, context).await?),
            None => (shown_path(&context.store), self.import_store(context).await?),
        };
        let Imported { added, updated, unchanged } = imported;
        let ledger = self.ledger.path();
        let result = ImportResult {
            manifest,
            rows: added + updated + unchanged,
            added,
            updated,
            unchanged,
            ledger: shown_path(ledger),
            dry_run: self.dry_run,
            next: next(ledger),
        };
        context.output.result("fleet import", &result);
        Ok(ExitCode::SUCCESS)
    }

    /// The manifest, or nothing where a store is the source.
    async fn manifest(&self, context: &Context) -> Result<Option<Manifest>> {
        let store = store_flag(context).map(|_| "--store");
        let given = [self.manifest.as_ref().map(|_| "MANIFEST"), self.count.map(|_| "--count"), store];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (None, _) => {
                let message = "nothing to import: no manifest was named";
                let ways = "MANIFEST, --count N --name PATTERN, or --store DIR";
                return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveBy(ways)));
            }
            (Some(one), Some(other)) => return Err(both(one, other)),
            (Some(_), None) => {}
        }
        if let (Some(count), Some(pattern)) = (self.count, &self.name) {
            let numbered = Numbered::new(pattern, self.start, count)?;
            return Ok(Some(Manifest::numbered(pattern, numbered)));
        }
        let Some(path) = self.manifest.clone() else {
            return if self.update { Err(both("--update", "--store")) } else { Ok(None) };
        };
        let open = move || if path == Path::new("-") { Manifest::stdin() } else { Manifest::file(&path) };
        blocking(open).await.map(Some)
    }

    /// Imports the rows of the manifest, once every line was checked.
    async fn import(&self, manifest: Manifest, context: &Context) -> Result<Imported> {
        let progress = &context.progress;
        let what = format!("checking {}", manifest.name());
        progress.event(&Event::Started { step: Step::Plan, what });
        let rows = {
            let (manifest, progress) = (manifest.clone(), progress.clone());
            blocking(move || manifest.check(&progress)).await?
        };
        if self.dry_run && !self.has_ledger()? {
            return Ok(Imported { added: rows, ..Imported::default() });
        }
        let what = format!("importing {rows} rows");
        progress.event(&Event::Started { step: Step::Ledger, what });
        let roster = context.roster_to_fill(self.ledger.path(), self.dry_run).await?;
        import::manifest(&manifest, &*roster, self.update, self.dry_run, progress).await
    }

    /// Imports the devices of the store, once all were read.
    async fn import_store(&self, context: &Context) -> Result<Imported> {
        let devices = store::read(&*context.ledger, &context.progress).await?;
        if !self.dry_run {
            let roster = context.roster_to_fill(self.ledger.path(), false).await?;
            return roster.take_in(devices, &shown_path(&context.store)).await;
        }
        if !self.has_ledger()? {
            return Ok(Imported { added: devices.len() as u64, ..Imported::default() });
        }
        import::foreseen(&devices, &*context.roster_to_fill(self.ledger.path(), true).await?).await
    }

    fn has_ledger(&self) -> Result<bool> {
        let path = self.ledger.path();
        path.try_exists().map_err(|error| {
            let message = format!("cannot look for the ledger {}: {error}", shown_path(path));
            Error::new(ErrorCode::LedgerIo, message).source(error)
        })
    }
}

fn both(one: &str, other: &str) -> Error {
    Error::new(ErrorCode::UsageConflict, format!("{one} and {other} cannot be used together"))
}

/// The command that comes next.
fn next(ledger: &Path) -> String {
    let named = if ledger == Path::new(DEFAULT_LEDGER) {
        String::new()
    } else {
        format!(" --ledger={}", quoted_path(ledger))
    };
    format!("tbprov fleet run{named}")
}

/// The result. Documented in `docs/protocol.md`.
#[derive(Debug, Serialize)]
struct ImportResult {
    /// The manifest's path, `-`, the pattern of the names, or the store.
    manifest: String,
    rows: u64,
    added: u64,
    updated: u64,
    unchanged: u64,
    ledger: String,
    dry_run: bool,
    #[serde(skip)]
    next: String,
}

impl fmt::Display for ImportResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manifest, rows, added, updated, unchanged, ledger, dry_run, next } = self;
        let row = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        if rows == unchanged {
            writeln!(formatter, "{manifest} changes nothing: {ledger} has its {} already", row(*rows))?;
        } else if *dry_run {
            let rows = row(*added);
            writeln!(
                formatter,
                "{manifest} can be imported into {ledger}: {rows} to add, {updated} to replace, {unchanged} as they are"
            )?;
            return writeln!(formatter, "nothing was changed (--dry-run)");
        } else {
            let rows = row(*added);
            writeln!(
                formatter,
                "imported {manifest} into {ledger}: {rows} added, {updated} replaced, {unchanged} as they were"
            )?;
        }
        writeln!(formatter, "\nnext: {next}")
    }
}
