//! What a run did.

use std::time::Duration;

use crate::error::Error;
use crate::flow::Outcome;

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// Nothing is due any more, or as many rows came to their end as were asked for.
    Done,
    /// The user ended it.
    Interrupted,
    /// A failure that is not of one device alone.
    Stopped(Error),
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// Devices that the server accepted in this run.
    pub provisioned: u64,
    /// Devices that the server had accepted before, which this run found out.
    pub recovered: u64,
    /// Devices that were proved before, and were not recorded as done.
    pub verified: u64,
    /// Devices that the server had before, with credentials of its own, which are kept.
    pub pre_provisioned: u64,
    /// Rows that failed by something of their own.
    pub failed: u64,
    /// Attempts after which a row is due again.
    pub postponed: u64,
    /// Rows that another run has taken over.
    pub lost: u64,
    /// Rows that are due still, those of other runs included; `None` where the ledger did not tell.
    pub left: Option<u64>,
    /// How long it took.
    pub elapsed: Duration,
    /// How many devices were worked on at once in the end.
    pub jobs: usize,
    /// `TLSv1.2` or `TLSv1.3`, where a device was proved.
    pub tls_version: Option<&'static str>,
}

impl Report {
    pub(super) const fn new() -> Self {
        Self {
            end: End::Done,
            provisioned: 0,
            recovered: 0,
            verified: 0,
            pre_provisioned: 0,
            failed: 0,
            postponed: 0,
            lost: 0,
            left: None,
            elapsed: Duration::ZERO,
            jobs: 0,
            tls_version: None,
        }
    }

    /// Rows that are done.
    pub const fn done(&self) -> u64 {
        self.provisioned + self.recovered + self.verified + self.pre_provisioned
    }

    pub(super) const fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Provisioned => self.provisioned += 1,
            Outcome::Recovered => self.recovered += 1,
            Outcome::Verified => self.verified += 1,
            Outcome::PreProvisioned => self.pre_provisioned += 1,
        }
    }
}
