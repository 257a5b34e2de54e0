//! Many devices at once: manifests, the run that provisions what is due, reports. The order of one device is
//! [`flow`](crate::flow)'s; here are claims, rate and retries around it.

pub mod control;
pub mod export;
pub mod import;
pub mod manifest;
pub mod pages;
pub mod rate;
pub mod report;
pub mod run;
pub mod store;
pub mod verify;
