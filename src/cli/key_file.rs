//! A private key that a flag names.

use std::path::Path;
use std::sync::Once;

use clap::Args;

use super::context::Context;
use super::key_password::KeyPasswordArgs;
use super::shell::quoted_path;
use tbprov::files::{self, Privacy};
use tbprov::identity::{SoftwareIdentity, read_certificate_file};
use tbprov::keys::{SoftwareKey, pem};
use tbprov::text::shown_path;
use tbprov::{ErrorCode, Result, blocking};

/// What is said about the file of a private key.
#[derive(Debug, Args)]
pub(super) struct KeyFileArgs {
    /// Do not warn where others can read the file of a private key.
    #[arg(long)]
    allow_readable_key: bool,
    #[command(flatten)]
    pub(super) password: KeyPasswordArgs,
}

/// Said once: there is nothing that could be done for each file.
static NO_MODES: Once = Once::new();

impl KeyFileArgs {
    /// Reads a certificate and its key, and warns where others can read the key.
    pub(super) async fn read_pair(
        &self,
        context: &Context,
        certificate: &Path,
        key: &Path,
    ) -> Result<SoftwareIdentity> {
        self.read(context, certificate, key).await.map(|(identity, _)| identity)
    }

    /// The same for a pair that the store shall keep: an encrypted key does not stay so.
    pub(super) async fn read_pair_to_keep(
        &self,
        context: &Context,
        certificate: &Path,
        key: &Path,
    ) -> Result<SoftwareIdentity> {
        let (identity, was_encrypted) = self.read(context, certificate, key).await?;
        if was_encrypted {
            context.progress.warn(format!(
                "the private key {} is encrypted; the store keeps it unencrypted, in a file that this user alone can read",
                shown_path(key)
            ));
        }
        Ok(identity)
    }

    /// The pair, and whether its key was encrypted.
    async fn read(
        &self,
        context: &Context,
        certificate: &Path,
        key: &Path,
    ) -> Result<(SoftwareIdentity, bool)> {
        let (shown, key_shown) = (shown_path(certificate), shown_path(key));
        let chain = read_certificate_file(certificate)?;
        // Once alone: it may be a pipe.
        let text = pem::read_file(key)?;
        let (read, was_encrypted) = match SoftwareKey::from_pem(&text, &key_shown) {
            Err(error) if error.code == ErrorCode::FileEncrypted => {
                let password = self.password.password(context, error).await?;
                let decrypt = move || SoftwareKey::from_encrypted_pem(&text, &key_shown, &password);
                // A password is made slow to try.
                (context.interruptible(blocking(decrypt)).await.map_err(|error| error.about_file(key))?, true)
            }
            read => (read.map_err(|error| error.about_file(key))?, false),
        };
        let identity = SoftwareIdentity::of(chain, &shown, read, &shown_path(key))?;
        self.warn_of_readers(context, key);
        Ok((identity, was_encrypted))
    }

    /// Warns where others than this user can read the private key in the file `key`.
    pub(super) fn warn_of_readers(&self, context: &Context, key: &Path) {
        if self.allow_readable_key {
            return;
        }
        let file = shown_path(key);
        match files::privacy(key) {
            Ok(Privacy::Readable { mode }) => context.progress.warn(format!(
                "others can read the private key {file} (mode {mode:04o}): chmod 600 {} (--allow-readable-key says that this is meant)",
                quoted_path(key)
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
            Ok(Privacy::Private | Privacy::Unchecked) | Err(_) => {}
        }
    }
}
