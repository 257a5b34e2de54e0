//! The rows that are proved again.

use std::vec::IntoIter;

use super::Wanted;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::fleet::pages::{PAGE, Pages};
use crate::ledger::roster::{Listed, Roster, RowId, RowState, Selection};

pub(super) enum Source<'a> {
    /// Those that are proved.
    Proved(Pages<'a>),
    /// Those that were named; nothing once they were given.
    Named(Option<Vec<Listed>>),
    /// Those that were drawn.
    Drawn(&'a dyn Roster, IntoIter<RowId>),
}

impl<'a> Source<'a> {
    pub(super) async fn of(roster: &'a dyn Roster, wanted: &Wanted) -> Result<Self> {
        Ok(match wanted {
            Wanted::All => {
                let proved = Selection { state: Some(RowState::Proved), ..Selection::default() };
                Self::Proved(Pages::of(roster, proved))
            }
            Wanted::Named(names) => Self::Named(Some(named(roster, names).await?)),
            Wanted::Share(share) => Self::Drawn(roster, roster.sample(*share).await?.into_iter()),
        })
    }

    /// The next rows; nothing after the last ones.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<Listed>>> {
        match self {
            Self::Proved(pages) => pages.page().await,
            Self::Named(rows) => Ok(rows.take()),
            Self::Drawn(roster, ids) => drawn(*roster, ids).await,
        }
    }
}

async fn drawn(roster: &dyn Roster, ids: &mut IntoIter<RowId>) -> Result<Option<Vec<Listed>>> {
    let ids: Vec<_> = ids.by_ref().take(PAGE).collect();
    let mut rows = Vec::new();
    for id in &ids {
        let before = Some(RowId(id.0.saturating_sub(1)));
        let found = roster.rows(&Selection::default(), before, 1).await?;
        // One that was taken out meanwhile is not there.
        rows.extend(found.into_iter().filter(|row| row.id == *id));
    }
    Ok((!ids.is_empty()).then_some(rows))
}

/// The rows of these names, each with an identity.
async fn named(roster: &dyn Roster, names: &[String]) -> Result<Vec<Listed>> {
    let mut rows = Vec::new();
    for name in names {
        let selection = Selection { names: vec![name.clone()], ..Selection::default() };
        let Some(row) = roster.rows(&selection, None, 1).await?.pop() else {
            let message = format!("{} has no device called '{name}'", roster.shown());
            return Err(Error::new(ErrorCode::StoreNotFound, message).hint(Hint::ListFleet));
        };
        if row.entry.is_none() {
            let message = format!("'{name}' has no identity yet");
            return Err(Error::new(ErrorCode::StoreNotProved, message).hint(Hint::RunFleet));
        }
        rows.push(row);
    }
    Ok(rows)
}
