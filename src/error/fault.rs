//! What is wrong with the lines of a file.

use serde::Serialize;

/// What is wrong with a line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The line, counted from 1, where the header is the first.
    pub line: u64,
    /// The column's name, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong. It quotes no cell.
    #[serde(rename = "message")]
    pub why: String,
}

/// The faults of a file: the first ones, and how many more there are, so that no file takes all memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    first: Vec<Fault>,
    more: u64,
    lines: u64,
    last_line: u64,
}

impl Faults {
    /// How many are kept.
    pub const MOST: usize = 1_000;

    /// Adds one. Those of a line follow each other.
    pub fn add(&mut self, fault: Fault) {
        if fault.line != self.last_line || self.lines == 0 {
            self.lines += 1;
            self.last_line = fault.line;
        }
        if self.first.len() < Self::MOST {
            self.first.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The first ones, in the order in which they were found.
    pub fn first(&self) -> &[Fault] {
        &self.first
    }

    /// How many there are beside the first ones.
    pub const fn more(&self) -> u64 {
        self.more
    }

    /// How many lines have one.
    pub const fn lines(&self) -> u64 {
        self.lines
    }
}
