//! Rows of one name, or for one board.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::ledger::roster::{Fault, Row};

/// The lines of the names and addresses so far, by hashes of 64 bits: a million rows take 70 MB so. Of a million names, two
/// have the same hash once in 30 million imports; the hashes of the next import are others.
#[derive(Debug, Default)]
pub(super) struct Twice {
    hasher: RandomState,
    names: HashMap<u64, u64>,
    macs: HashMap<u64, u64>,
}

impl Twice {
    /// What the row has in common with one before it.
    pub(super) fn faults(&mut self, line: u64, row: &Row) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |column: &str, first: Option<u64>| {
            if let Some(first) = first {
                let why = format!("is the same as in line {first}");
                faults.push(Fault { line, column: Some(column.to_owned()), why });
            }
        };
        let name = self.hasher.hash_one(row.name.as_str());
        check("name", earlier(&mut self.names, name, line));
        if let Some(mac) = &row.mac {
            let mac = self.hasher.hash_one(mac);
            check("mac", earlier(&mut self.macs, mac, line));
        }
        faults
    }
}

/// The line that had it before.
fn earlier(lines: &mut HashMap<u64, u64>, hash: u64, line: u64) -> Option<u64> {
    let first = *lines.entry(hash).or_insert(line);
    (first != line).then_some(first)
}
