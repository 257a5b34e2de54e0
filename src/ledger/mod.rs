//! Where devices are kept.

pub mod folder;
mod record;
