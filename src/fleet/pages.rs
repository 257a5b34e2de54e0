//! The rows of a ledger, one page after the other: a million of them need the memory of one page.

use crate::error::Result;
use crate::ledger::roster::{Listed, Roster, RowId, Selection};

/// Rows of a page, at the most.
pub const PAGE: usize = 500;

/// The rows of a selection, in their order. Rows that another process changes meanwhile appear once, as they were when
/// their page was read.
pub struct Pages<'a> {
    roster: &'a dyn Roster,
    selection: Selection,
    after: Option<RowId>,
    has_ended: bool,
}

impl<'a> Pages<'a> {
    /// Nothing is read yet.
    pub fn of(roster: &'a dyn Roster, selection: Selection) -> Self {
        Self { roster, selection, after: None, has_ended: false }
    }

    /// The next page; nothing after the last one.
    ///
    /// # Errors
    /// `ledger/…`.
    pub async fn page(&mut self) -> Result<Option<Vec<Listed>>> {
        if self.has_ended {
            return Ok(None);
        }
        let rows = self.roster.rows(&self.selection, self.after, PAGE).await?;
        self.has_ended = rows.len() < PAGE;
        self.after = rows.last().map(|row| row.id).or(self.after);
        Ok((!rows.is_empty()).then_some(rows))
    }
}
