//! What a run has to do: rows that are due, and how the work on them ends.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::json;

use super::Core;
use super::device::{FAILED, Wanted, one};
use super::failure::{Done, corrupt};
use super::history::Line;
use super::report::{ROW, row, state};
use super::session::{LONGEST_WAIT, Run};
use super::worker::Desk;
use super::{millis, report};
use crate::error::{Error, ErrorCode, Hint};
use crate::ledger::lease_lost;
use crate::ledger::roster::{Claim, Due, Ending, RowId, RowState, Selection, Trouble};

impl Desk<'_> {
    /// Claims up to `limit` rows that are due.
    pub(super) fn claim(&mut self, core: &Arc<Core>, limit: usize) -> Done<Vec<Claim>> {
        let mut claims = Vec::new();
        if self.is_due()? {
            claims = self.take(core, limit)?;
        }
        if (claims.len() < limit || self.runs.is_time_to_look()) && self.free_the_ended()? {
            let more = self.take(core, limit - claims.len())?;
            claims.extend(more);
        }
        Ok(claims)
    }

    fn is_due(&self) -> Done<bool> {
        let mut select = self.db.prepare_cached(
            "SELECT 1 FROM device WHERE due = 1 AND run IS NULL AND retry_at <= ?1 LIMIT 1",
        )?;
        Ok(select.exists([millis(self.now)])?)
    }

    fn take(&mut self, core: &Arc<Core>, limit: usize) -> Done<Vec<Claim>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (run, fence) = (self.run()?, self.next_fence()?);
        let mut update = self.db.prepare_cached(&format!(
            "UPDATE device SET run = ?1, fence = ?2, attempts = attempts + 1 WHERE id IN \
             (SELECT id FROM device WHERE due = 1 AND run IS NULL AND retry_at <= ?3 \
              ORDER BY retry_at, id LIMIT ?4) \
             RETURNING {ROW}, attempts"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = update.query(params![run.word, fence, millis(self.now), limit])?;
        let mut claims = Vec::new();
        while let Some(found) = rows.next()? {
            claims.push(self.claimed(core, &run, fence, found)?);
        }
        claims.sort_by_key(|claim| claim.id);
        Ok(claims)
    }

    fn claimed(
        &self,
        core: &Arc<Core>,
        run: &Arc<Run>,
        fence: i64,
        found: &rusqlite::Row<'_>,
    ) -> Done<Claim> {
        let (id, row) = row(found)?;
        let (state, attempts) = (state(found)?, found.get(report::COLUMNS_OF_ROW)?);
        let lease = core.claimed(run, id, &row, state, fence);
        Ok(Claim { id, state, row, attempts, lease })
    }

    /// Records how the work on a row ended, and frees it.
    pub(super) fn finish(&self, id: RowId, fence: u64, ending: &Ending) -> Done<()> {
        let fence = i64::try_from(fence).unwrap_or_default();
        let now = millis(self.now);
        let done = match ending {
            Ending::GivenBack => self
                .db
                .prepare_cached(
                    "UPDATE device SET run = NULL, attempts = max(attempts - 1, 0) \
                     WHERE id = ?1 AND fence = ?2 AND run IS NOT NULL",
                )?
                .execute(params![id.0, fence])?,
            Ending::Done => self
                .db
                .prepare_cached(
                    "UPDATE device SET run = NULL, due = 0, retry_at = 0, code = NULL, step = NULL, message = NULL, \
                     ended = coalesce(ended, ?3) WHERE id = ?1 AND fence = ?2 AND run IS NOT NULL",
                )?
                .execute(params![id.0, fence, now])?,
            Ending::Failed(trouble) => self.fail(id, fence, trouble, None)?,
            Ending::Later(trouble, wait) => self.fail(id, fence, trouble, Some(*wait))?,
        };
        if done == 0 { Err(lease_lost().into()) } else { Ok(()) }
    }

    /// The row is not done: it waits, or somebody has to look at it.
    fn fail(&self, id: RowId, fence: i64, trouble: &Trouble, wait: Option<Duration>) -> Done<usize> {
        let now = millis(self.now);
        let retry_at =
            wait.map(|wait| now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
        let detail = json!({
            "code": trouble.code, "step": trouble.step, "message": trouble.message, "retry_at": retry_at,
        });
        let kind = if wait.is_some() { "waits" } else { FAILED };
        let Some(head) = self.tell_of_row(id, fence, kind, &detail.to_string())? else { return Ok(0) };
        let mut update = self.db.prepare_cached(
            "UPDATE device SET run = NULL, due = ?3, retry_at = ?4, code = ?5, step = ?6, message = ?7, \
             state = CASE WHEN ?3 THEN state ELSE 'failed' END, ended = CASE WHEN ?3 THEN NULL ELSE ?8 END, \
             head = ?9 WHERE id = ?1 AND fence = ?2",
        )?;
        let due = i64::from(wait.is_some());
        let Trouble { code, step, message } = trouble;
        Ok(update.execute(params![
            id.0,
            fence,
            due,
            retry_at.unwrap_or_default(),
            code,
            step,
            message,
            now,
            head
        ])?)
    }

    /// Adds a line to the history of a claimed row. `None` where the claim is lost.
    fn tell_of_row(&self, id: RowId, fence: i64, kind: &str, detail: &str) -> Done<Option<[u8; 32]>> {
        let mut select = self.db.prepare_cached(
            "SELECT run, head FROM device WHERE id = ?1 AND fence = ?2 AND run IS NOT NULL",
        )?;
        let mut rows = select.query(params![id.0, fence])?;
        let Some(found) = rows.next()? else { return Ok(None) };
        let (run, head): (Option<String>, Option<Vec<u8>>) = (found.get(0)?, found.get(1)?);
        let line = Line {
            device: Some(id.0),
            at: millis(self.now),
            kind,
            detail: Some(detail),
            run: run.as_deref(),
            fence,
        };
        line.add(self.db, head.as_deref()).map(Some)
    }

    /// Makes rows that failed, and rows that wait, due.
    pub(super) fn retry(&self, selection: &Selection) -> Done<u64> {
        for name in &selection.names {
            let found = super::device::Held::find(self.db, &Wanted::Named(name.trim().to_owned()))?;
            if found.is_none() {
                let message = format!("the ledger has no device called '{name}'");
                return Err(Error::new(ErrorCode::StoreNotFound, message).hint(Hint::ListFleet).into());
            }
        }
        let ids = self.retryable(selection)?;
        for id in &ids {
            self.check_wanted()?;
            self.retry_one(*id)?;
        }
        Ok(ids.len() as u64)
    }

    fn retryable(&self, selection: &Selection) -> Done<Vec<i64>> {
        let mut select = self.db.prepare(
            "SELECT id, name, state, code FROM device WHERE state = 'failed' AND run IS NULL \
             UNION ALL \
             SELECT id, name, state, code FROM device WHERE due = 1 AND run IS NULL AND retry_at > 0 \
             ORDER BY id",
        )?;
        let mut rows = select.query([])?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, state, code): (Option<String>, String, Option<String>) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            let is_meant = selection.state.is_none_or(|wanted| wanted.as_str() == state)
                && (selection.code.is_none() || selection.code == code)
                && (selection.names.is_empty()
                    || selection.names.iter().any(|wanted| Some(wanted.trim()) == name.as_deref()));
            if is_meant {
                ids.push(row.get(0)?);
            }
        }
        Ok(ids)
    }

    fn retry_one(&self, id: i64) -> Done<()> {
        let mut select = self.db.prepare_cached("SELECT head, record, fence FROM device WHERE id = ?1")?;
        let (head, record, fence): (Option<Vec<u8>>, Option<String>, i64) =
            select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let state = match record {
            None => RowState::Queued.as_str().to_owned(),
            Some(record) => {
                let record: crate::ledger::Record = serde_json::from_str(&record)
                    .map_err(|error| corrupt(format!("a record cannot be read: {error}")))?;
                record.state().as_str().to_owned()
            }
        };
        let line =
            Line { device: Some(id), at: millis(self.now), kind: "retried", detail: None, run: None, fence };
        let head = line.add(self.db, head.as_deref())?;
        let mut update = self.db.prepare_cached(
            "UPDATE device SET state = ?2, due = 1, retry_at = 0, attempts = 0, ended = NULL, head = ?3 \
             WHERE id = ?1 AND fence = ?4 AND run IS NULL",
        )?;
        one(update.execute(params![id, state, head, fence])?)
    }
}

/// What is left to do.
pub(super) fn due(db: &Connection, now: i64) -> Done<Due> {
    let mut free = db.prepare_cached(
        "SELECT count(*), coalesce(min(retry_at), 0) FROM device WHERE due = 1 AND run IS NULL",
    )?;
    let (free, first): (u32, i64) = free.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut claimed = db.prepare_cached("SELECT count(*) FROM device WHERE run IS NOT NULL AND due = 1")?;
    let claimed: u32 = claimed.query_row([], |row| row.get(0))?;
    let wait = u64::try_from(first.saturating_sub(now)).unwrap_or_default();
    let wait = Duration::from_millis(wait);
    // What waits for longer was set by a clock that was ahead: the next claim puts it right.
    let wait = if wait > LONGEST_WAIT { Duration::ZERO } else { wait };
    Ok(Due { free: free.into(), claimed: claimed.into(), wait })
}
