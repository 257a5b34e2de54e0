//! What the ledger holds: devices, rows, how many of each kind.

use std::time::Duration;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, Row as Found, params, params_from_iter};
use time::Date;

use super::device::{Wanted, entry};
use super::failure::{Done, corrupt};
use super::{millis, moment};
use crate::device::{DeviceId, DeviceName};
use crate::error::Result;
use crate::ledger::Entry;
use crate::ledger::roster::{Day, Interval, Listed, Row, RowId, RowState, Selection, Totals, Trouble};

/// The columns of [`row`] and [`state`].
pub(super) const ROW: &str =
    "device.id, coalesce(name, mark), label, serial, mac, key_type, days, gateway, fields, state";
pub(super) const COLUMNS_OF_ROW: usize = 10;

/// What is no row: held for a device that does not exist, or taken out.
const IS_ROW: &str = "(device.batch IS NOT NULL OR record IS NOT NULL) AND removed IS NULL";

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Reads a row.
pub(super) fn row(found: &Found<'_>) -> Done<(RowId, Row)> {
    let name: String = found.get(1)?;
    let shown = crate::text::shown(&name);
    let name = DeviceName::parse(&name).ok().flatten();
    let name = name.ok_or_else(|| corrupt(format!("'{shown}' in the ledger is no name of a device")))?;
    let key_type = match found.get::<_, Option<String>>(5)? {
        None => None,
        Some(text) => Some(
            text.parse().map_err(|_| corrupt(format!("the key type of '{shown}' in the ledger is none")))?,
        ),
    };
    let fields = match found.get_ref(8)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        None => crate::ledger::roster::Fields::default(),
        Some(json) => serde_json::from_str(json)
            .map_err(|error| corrupt(format!("the row '{shown}' of the ledger is damaged: {error}")))?,
    };
    let row = Row {
        name,
        label: found.get(2)?,
        serial: found.get(3)?,
        mac: found.get(4)?,
        key_type,
        days: found.get(6)?,
        gateway: found.get(7)?,
        fields,
    };
    Ok((RowId(found.get(0)?), row))
}

/// Reads the state of a row.
pub(super) fn state(found: &Found<'_>) -> Done<RowState> {
    let state = found.get_ref(9)?.as_str().map_err(rusqlite::Error::from)?;
    RowState::ALL
        .into_iter()
        .find(|known| known.as_str() == state)
        .ok_or_else(|| corrupt(format!("'{}' is no state of a row", crate::text::shown(state))))
}

type Devices = Vec<(DeviceId, Result<Entry>)>;

/// All devices by their ids, each readable or not. Those that have a name are in the order of its index.
pub(super) fn devices(db: &Connection) -> Done<Devices> {
    let sql = "SELECT name, record FROM device WHERE name IS NOT NULL AND record IS NOT NULL ORDER BY name";
    let named = read_devices(db, sql)?;
    let sql = "SELECT mark, record FROM device WHERE mark IS NOT NULL AND name IS NULL AND record IS NOT NULL \
               ORDER BY mark";
    let unnamed = read_devices(db, sql)?;
    if unnamed.is_empty() {
        return Ok(named);
    }
    let mut devices = named;
    devices.extend(unnamed);
    devices.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    Ok(devices)
}

/// Two devices, where there are so many: by their state, because most rows may be of devices that do not exist yet.
pub(super) fn two_devices(db: &Connection) -> Done<Devices> {
    let sql = "SELECT coalesce(name, mark), record FROM device \
               WHERE state IN ('staged', 'sent', 'accepted', 'proved', 'failed') AND record IS NOT NULL \
               AND removed IS NULL LIMIT 2";
    read_devices(db, sql)
}

fn read_devices(db: &Connection, sql: &str) -> Done<Devices> {
    let mut select = db.prepare_cached(sql)?;
    let mut rows = select.query([])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let record = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let entry = entry(&name, record);
        devices.push((DeviceId::new(name), entry));
    }
    Ok(devices)
}

/// Up to `limit` rows after `after`.
pub(super) fn rows(
    db: &Connection,
    selection: &Selection,
    after: Option<RowId>,
    limit: usize,
) -> Done<Vec<Listed>> {
    let mut conditions = vec![IS_ROW.to_owned()];
    let mut values = Vec::new();
    let mut value = |value: Sql| {
        values.push(value);
        values.len()
    };
    if let Some(after) = after {
        conditions.push(format!("device.id > ?{}", value(Sql::Integer(after.0))));
    }
    if let Some(state) = selection.state {
        conditions.push(format!("state = ?{}", value(Sql::Text(state.as_str().to_owned()))));
    }
    if let Some(code) = &selection.code {
        conditions.push(format!("code = ?{}", value(Sql::Text(code.clone()))));
    }
    if !selection.names.is_empty() {
        let names = serde_json::to_string(&selection.names).map_err(|error| corrupt(error.to_string()))?;
        let names = format!("(SELECT value FROM json_each(?{}))", value(Sql::Text(names)));
        conditions.push(format!("(name IN {names} OR mark IN {names})"));
    }
    let limit = value(Sql::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    let sql = format!(
        "SELECT {ROW}, record, source, line, attempts, code, step, message, due, retry_at, ended \
         FROM device LEFT JOIN batch ON batch.id = batch WHERE {} ORDER BY device.id LIMIT ?{limit}",
        conditions.join(" AND ")
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut found = select.query(params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(found) = found.next()? {
        rows.push(listed(found)?);
    }
    Ok(rows)
}

fn listed(found: &Found<'_>) -> Done<Listed> {
    let (id, row) = row(found)?;
    let state = state(found)?;
    let record: Option<String> = found.get(10)?;
    let entry = record.map(|record| entry(row.name.as_str(), &record)).transpose()?;
    let source = found.get::<_, Option<String>>(11)?.zip(found.get::<_, Option<i64>>(12)?);
    let source = source.map(|(source, line)| (source, u64::try_from(line).unwrap_or_default()));
    let code: Option<String> = found.get(14)?;
    let trouble = match code {
        Some(code) => Some(Trouble {
            code,
            step: found.get::<_, Option<String>>(15)?.unwrap_or_default(),
            message: found.get::<_, Option<String>>(16)?.unwrap_or_default(),
        }),
        None => None,
    };
    let (is_due, retry_at): (bool, i64) = (found.get(17)?, found.get(18)?);
    Ok(Listed {
        id,
        row,
        source,
        state,
        entry,
        attempts: found.get(13)?,
        trouble,
        retry_at: (is_due && retry_at > 0).then(|| moment(retry_at)),
        ended: found.get::<_, Option<i64>>(19)?.map(moment),
    })
}

/// How many rows there are, by state and by day.
pub(super) fn totals(db: &Connection, now: i64) -> Done<Totals> {
    let mut totals = Totals::default();
    for state in RowState::ALL {
        let count = count(db, "SELECT count(*) FROM device WHERE state = ?1", params![state.as_str()])?;
        if count > 0 {
            totals.states.insert(state, count);
        }
    }
    totals.days = days(db)?;
    totals.waiting = count(
        db,
        "SELECT count(*) FROM device WHERE due = 1 AND run IS NULL AND retry_at > ?1",
        params![now],
    )?;
    totals.claimed = count(db, "SELECT count(*) FROM device WHERE run IS NOT NULL AND due = 1", [])?;
    Ok(totals)
}

fn count(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Done<u64> {
    let count: i64 = db.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn days(db: &Connection) -> Done<Vec<Day>> {
    let date = |interval: Interval| -> Date { interval.begin.date() };
    let days = intervals(db, DAY)?;
    Ok(days.into_iter().map(|day| Day { date: date(day), proved: day.proved, failed: day.failed }).collect())
}

/// How many rows came to their end in each interval of this length.
pub(super) fn timeline(db: &Connection, width: Duration) -> Done<Vec<Interval>> {
    intervals(db, i64::try_from(width.as_millis()).unwrap_or(i64::MAX).max(1))
}

/// Each interval is counted in the index, which costs less than to look at each row.
fn intervals(db: &Connection, width: i64) -> Done<Vec<Interval>> {
    let mut counted = std::collections::BTreeMap::<i64, [u64; 2]>::new();
    for (which, state) in [RowState::Proved, RowState::Failed].into_iter().enumerate() {
        let mut from = i64::MIN;
        while let Some(first) = first_ended(db, state, from)? {
            let begin = first.div_euclid(width).saturating_mul(width);
            let end = begin.saturating_add(width);
            let count = count(
                db,
                "SELECT count(*) FROM device WHERE state = ?1 AND ended >= ?2 AND ended < ?3",
                params![state.as_str(), begin, end],
            )?;
            if let Some(place) = counted.entry(begin).or_default().get_mut(which) {
                *place = count;
            }
            from = end;
        }
    }
    let interval =
        |(begin, [proved, failed]): (i64, [u64; 2])| Interval { begin: moment(begin), proved, failed };
    Ok(counted.into_iter().map(interval).collect())
}

fn first_ended(db: &Connection, state: RowState, from: i64) -> Done<Option<i64>> {
    let mut select = db
        .prepare_cached("SELECT ended FROM device WHERE state = ?1 AND ended >= ?2 ORDER BY ended LIMIT 1")?;
    Ok(select.query_row(params![state.as_str(), from], |row| row.get(0)).optional()?)
}

/// A random part of the rows that are proved.
pub(super) fn sample(db: &Connection, share: f64) -> Done<Vec<RowId>> {
    // So many of 65,536, drawn for each row.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 65,536")]
    let bound = (share.clamp(0.0, 1.0) * 65_536.0).ceil() as u32;
    let mut select = db.prepare_cached("SELECT id FROM device WHERE state = 'proved' ORDER BY id")?;
    let ids: Vec<i64> = select.query_map([], |row| row.get(0))?.collect::<std::result::Result<_, _>>()?;
    let mut random = vec![0_u8; ids.len() * 2 + 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| crate::Error::no_randomness())?;
    let drawn = random.chunks_exact(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let chosen: Vec<_> =
        ids.iter().zip(drawn).filter(|(_, drawn)| *drawn < bound).map(|(id, _)| RowId(*id)).collect();
    if chosen.is_empty() && !ids.is_empty() {
        let place = random.iter().rev().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let place = usize::try_from(place % ids.len() as u64).unwrap_or_default();
        return Ok(ids.get(place).map(|id| RowId(*id)).into_iter().collect());
    }
    Ok(chosen)
}

/// The number of the device called `name`, or with this mark.
pub(super) fn number_of(db: &Connection, name: &str) -> Done<Option<i64>> {
    let row = super::device::Held::find(db, &Wanted::Named(name.trim().to_owned()))?;
    Ok(row.map(|row| row.id))
}

/// Now, as the ledger keeps times.
pub(super) fn now() -> i64 {
    millis(crate::clock::now())
}
