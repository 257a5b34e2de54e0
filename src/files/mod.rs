//! The only room that opens files for writing, renames and removes: final mode from the first moment, never over
//! another file, and on the disk before it returns (where a function does not say otherwise).
//!
//! Its errors are a [`Failure`] each: `file/…` for a caller that just uses `?`, `store/io` for one in a store.
#![allow(clippy::disallowed_methods, reason = "the room that the bans of clippy.toml send everybody to")]

mod blocked;
mod durable;
mod failure;
mod folder;
pub mod lock;
mod new_file;
mod privacy;
mod read;
mod write;

pub use durable::on_weak_sync;
pub use failure::Failure;
pub use folder::{
    create_directory, create_new_directory, create_open_directory, link_or_copy, move_aside, remove,
    remove_directory, remove_empty_directory, rename, sync_directory,
};
pub use new_file::NewFile;
pub use privacy::{Privacy, is_of_this_user, other_owner, privacy};
pub use read::read;
pub use write::{append, begin_new, replace, write_new, write_new_unsynced};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone (0600): keys and secrets.
    Owner,
    /// Everybody (0644): certificates and records.
    Everybody,
}

impl Access {
    #[cfg(unix)]
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}
