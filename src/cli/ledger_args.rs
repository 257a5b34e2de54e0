//! The flag that names the ledger of a fleet, in place of the store or for `tbprov fleet`.

use clap::Args;

use super::context::Context;
use tbprov::Result;

#[cfg(feature = "fleet")]
pub(super) use named::{DEFAULT_LEDGER, FleetArgs, store_flag};

/// In place of the store.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LedgerArgs {
    /// Take the device from this ledger of a fleet, in place of the store.
    #[cfg(feature = "fleet")]
    #[arg(long, env = named::LEDGER, value_name = "FILE")]
    ledger: Option<std::path::PathBuf>,
}

#[cfg(not(feature = "fleet"))]
impl LedgerArgs {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "as with the feature fleet")]
    pub(super) fn context(&self, context: &Context) -> Result<Context> {
        Ok(context.clone())
    }
}

#[cfg(feature = "fleet")]
impl LedgerArgs {
    /// The same context, with the ledger in place of the store if one is named.
    pub(super) fn context(&self, context: &Context) -> Result<Context> {
        let Some(ledger) = &self.ledger else { return Ok(context.clone()) };
        match named::store_flag(context) {
            Some(store) if context.flags.ledger => Err(named::both(store)),
            // A flag is stronger than a variable.
            Some(_) => Ok(context.clone()),
            None => context.with_ledger(ledger),
        }
    }
}

#[cfg(feature = "fleet")]
mod named {
    use std::path::{Path, PathBuf};

    use clap::Args;

    use super::Context;
    use tbprov::text::shown_path;
    use tbprov::{Error, ErrorCode, Result};

    /// The variable of the ledger.
    pub(super) const LEDGER: &str = "TBPROV_LEDGER";
    /// Where a fleet is, when nothing names it.
    pub(in crate::cli) const DEFAULT_LEDGER: &str = if cfg!(windows) { r".\fleet.db" } else { "./fleet.db" };

    /// The ledger of a fleet.
    #[derive(Debug, Clone, Args)]
    pub(in crate::cli) struct FleetArgs {
        /// The ledger of the fleet [default: ./fleet.db].
        #[arg(long, env = LEDGER, value_name = "FILE")]
        ledger: Option<PathBuf>,
    }

    impl FleetArgs {
        pub(in crate::cli) fn path(&self) -> &Path {
            self.ledger.as_deref().unwrap_or(Path::new(DEFAULT_LEDGER))
        }

        /// Fails where a store is named by a flag: this command has no use for one.
        pub(in crate::cli) fn alone(&self, context: &Context) -> Result<()> {
            store_flag(context).map_or(Ok(()), |store| Err(both(store)))
        }
    }

    /// The store, where a flag names it.
    pub(in crate::cli) fn store_flag(context: &Context) -> Option<&Path> {
        context.named_store.as_deref().filter(|_| context.flags.store)
    }

    pub(super) fn both(store: &Path) -> Error {
        let message = format!("--store {} and a ledger cannot be used together", shown_path(store));
        Error::new(ErrorCode::UsageConflict, message)
    }
}
