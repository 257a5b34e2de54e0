//! Rows without a manifest: names that count.

use crate::device::DeviceName;
use crate::error::{Error, ErrorCode, Result};
use crate::ledger::roster::{Fault, Line, Row};

/// The most digits of a number.
const WIDEST: usize = 20;

/// Names from a pattern such as `sensor-{:05}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    before: String,
    after: String,
    width: usize,
    next: u64,
    left: u64,
    line: u64,
}

impl Numbered {
    /// How many rows there can be at once.
    pub const MOST: u64 = 10_000_000;

    /// `count` names from the number `start` on. `{}` in `pattern` is the number, `{:05}` the number with five digits.
    ///
    /// # Errors
    /// `usage/invalid-value` when the pattern has no such place, or two; when it makes no name of a device; when there
    /// are more than [`Numbered::MOST`].
    pub fn new(pattern: &str, start: u64, count: u64) -> Result<Self> {
        let invalid = |why: &str| Err(Error::new(ErrorCode::UsageInvalid, why));
        let place = pattern.split_once('{').and_then(|(before, rest)| {
            let (inside, after) = rest.split_once('}')?;
            Some((before, width(inside)?, after))
        });
        let Some((before, width, after)) = place else {
            return invalid("the pattern of names has no {} or {:05}, where the number goes");
        };
        if before.contains('}') || after.contains(['{', '}']) {
            return invalid("the pattern of names has more braces than those of one {} or {:05}");
        }
        if count == 0 || count > Self::MOST {
            return invalid("the number of devices is not from 1 to 10000000");
        }
        let Some(last) = start.checked_add(count - 1) else {
            return invalid("the last number is beyond 64 bits");
        };
        let numbered = Self {
            before: before.to_owned(),
            after: after.to_owned(),
            width,
            next: start,
            left: count,
            line: 0,
        };
        // The first and the last are as good as all.
        for number in [start, last] {
            DeviceName::parse(&numbered.text(number))?;
        }
        Ok(numbered)
    }

    fn text(&self, number: u64) -> String {
        let Self { before, after, width, .. } = self;
        format!("{before}{number:0width$}{after}")
    }

    fn row(&self, number: u64) -> Line {
        let fault = |why: String| Fault { line: self.line, column: Some("name".to_owned()), why };
        let name = DeviceName::parse(&self.text(number)).map_err(|error| fault(error.message))?;
        let name = name.ok_or_else(|| fault("is empty".to_owned()))?;
        Ok((self.line, Row::named(name)))
    }
}

/// The digits that `{}` or `{:05}` asks for.
fn width(inside: &str) -> Option<usize> {
    if inside.is_empty() {
        return Some(0);
    }
    let digits = inside.strip_prefix(":0")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|width| is_number && (1..=WIDEST).contains(width))
}

impl Iterator for Numbered {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        self.left = self.left.checked_sub(1)?;
        self.line += 1;
        let row = self.row(self.next);
        self.next = self.next.saturating_add(1);
        Some(row)
    }
}
