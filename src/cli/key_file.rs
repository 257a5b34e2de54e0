//! A private key that a flag names.

use std::path::Path;
use std::sync::Once;

use clap::Args;

use super::context::Context;
use tbprov::Result;
use tbprov::files::{self, Privacy};
use tbprov::identity::SoftwareIdentity;

/// What is said about the file of a private key.
#[derive(Debug, Args)]
pub(super) struct KeyFileArgs {
    /// Do not warn where others can read the file of a private key.
    #[arg(long)]
    allow_readable_key: bool,
}

/// Said once: there is nothing that could be done for each file.
static NO_MODES: Once = Once::new();

impl KeyFileArgs {
    /// Reads a certificate and its key, and warns where others can read the key.
    pub(super) fn read_pair(
        &self,
        context: &Context,
        certificate: &Path,
        key: &Path,
    ) -> Result<SoftwareIdentity> {
        let identity = SoftwareIdentity::read(certificate, key)?;
        self.warn_of_readers(context, key);
        Ok(identity)
    }

    /// Warns where others than this user can read the private key in the file `key`.
    pub(super) fn warn_of_readers(&self, context: &Context, key: &Path) {
        if self.allow_readable_key {
            return;
        }
        let file = key.display();
        match files::privacy(key) {
            Ok(Privacy::Readable { mode }) => context.progress.warn(format!(
                "others can read the private key {file} (mode {mode:04o}): 'chmod 600 {file}', or --allow-readable-key"
            )),
            Ok(Privacy::OwnedByAnother { uid }) => context.progress.warn(format!(
                "the private key {file} belongs to another user ({uid}), who can read and change it; --allow-readable-key says that this is meant"
            )),
            Ok(Privacy::NoModes) => NO_MODES.call_once(|| {
                context.progress.warn(format!(
                    "nobody can say who may read the private key {file}: its file system keeps no modes"
                ));
            }),
            // One that cannot be looked at could not be read either, which is an error of its own.
            Ok(Privacy::Private) | Err(_) => {}
        }
    }
}
