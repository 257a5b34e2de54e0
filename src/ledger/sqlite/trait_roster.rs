//! [`Sqlite`] as a [`Roster`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::{Sqlite, claims, history, report, take_in};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::ledger::Ledger as _;
use crate::ledger::roster::{
    Claim, Due, Ending, Happened, Imported, Interval, Line, Listed, Refused, Roster, RowId, Selection, Shown,
    Source, Totals, Walked, Whole,
};
use crate::text::shown;

#[async_trait]
impl Roster for Sqlite {
    async fn import(
        &self,
        lines: Box<dyn Iterator<Item = Line> + Send>,
        source: Source,
    ) -> Result<std::result::Result<Imported, Refused>> {
        self.0.writer.change_much(move |desk| desk.import(lines, &source)).await
    }

    async fn take_in(&self, devices: Vec<Whole>, source: &str) -> Result<Imported> {
        let source = source.to_owned();
        let devices = devices.into_iter().map(take_in::columns).collect::<Result<Vec<_>>>()?;
        self.0.writer.change_much(move |desk| desk.take_in(&devices, &source)).await
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claim>> {
        let core = Arc::clone(&self.0);
        self.0.writer.change(move |desk| desk.claim(&core, limit)).await
    }

    async fn finish(&self, claim: Claim, ending: Ending) -> Result<()> {
        let held = self.0.claim_on(claim.row.name.as_str());
        // The change that proved the device ended its row.
        if ending == Ending::Done && held.as_ref().is_some_and(|held| held.is_over.load(Ordering::SeqCst)) {
            return Ok(());
        }
        self.0
            .writer
            .change(move |desk| {
                desk.finish(claim.id, claim.lease.fence(), &ending)?;
                // The row is given free here, and not once more when the claim is dropped.
                if let Some(held) = held {
                    held.is_over.store(true, Ordering::SeqCst);
                }
                drop(claim);
                Ok(())
            })
            .await
    }

    async fn due(&self) -> Result<Due> {
        self.read(|db| claims::due(db, report::now())).await
    }

    async fn retry(&self, selection: Selection) -> Result<u64> {
        self.0.writer.change_much(move |desk| desk.retry(&selection)).await
    }

    async fn totals(&self) -> Result<Totals> {
        self.read(|db| report::totals(db, report::now())).await
    }

    async fn timeline(&self, width: Duration) -> Result<Vec<Interval>> {
        self.read(move |db| report::timeline(db, width)).await
    }

    async fn rows(&self, selection: &Selection, after: Option<RowId>, limit: usize) -> Result<Vec<Listed>> {
        let selection = selection.clone();
        self.read(move |db| report::rows(db, &selection, after, limit)).await
    }

    async fn sample(&self, share: f64) -> Result<Vec<RowId>> {
        self.read(move |db| report::sample(db, share)).await
    }

    async fn history(&self, name: &str) -> Result<Vec<Happened>> {
        let (name, ledger) = (name.to_owned(), self.shown());
        self.read(move |db| match report::number_of(db, &name)? {
            Some(id) => history::of_device(db, id),
            None => Err(not_found(&ledger, &name).into()),
        })
        .await
    }

    async fn walk(&self) -> Result<Walked> {
        self.read(history::walk).await
    }

    async fn show(&self, name: &str) -> Result<Shown> {
        let (name, ledger) = (name.trim().to_owned(), self.shown());
        self.read(move |db| {
            let selection = Selection { names: vec![name.clone()], ..Selection::default() };
            let listed = report::rows(db, &selection, None, 1)?.pop();
            let listed = listed.ok_or_else(|| not_found(&ledger, &name))?;
            let (history, broken) = (history::of_device(db, listed.id.0)?, history::check(db, listed.id.0)?);
            Ok(Shown { listed, history, broken })
        })
        .await
    }
}

fn not_found(ledger: &str, name: &str) -> Error {
    let message = format!("{ledger} has no device called '{}'", shown(name));
    Error::new(ErrorCode::StoreNotFound, message).hint(Hint::ListFleet)
}
