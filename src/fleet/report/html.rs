//! A page for a browser: one file, without a script and without anything from elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use time::OffsetDateTime;

use super::chart::Chart;
use super::device::{Advise, Device, Why};
use super::{Head, unwritten};
use crate::clock::shown;
use crate::error::Result;
use crate::fleet::pages::Pages;
use crate::ledger::roster::{Listed, Roster, RowState, Selection};
use crate::text::escaped;

/// Devices of each of the two lists, at the most: a browser has to show them.
const MOST_LISTED: usize = 1000;

const STYLE: &str = include_str!("style.css");

/// Text from elsewhere, as HTML: what could be markup is escaped, and so is what cannot be seen.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in escaped(self.0).chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => write!(formatter, "{other}")?,
            }
        }
        Ok(())
    }
}

/// Writes the page.
///
/// # Errors
/// `ledger/…`; `file/io` when it cannot be written.
pub async fn write(
    out: &mut (dyn Write + Send),
    head: &Head,
    chart: &Chart,
    roster: &dyn Roster,
    advise: Advise,
) -> Result<()> {
    let failures = Failures::read(roster, advise).await?;
    write!(out, "{}{}", Top(head, chart), failures).map_err(unwritten)?;
    others(out, head, roster, advise).await?;
    out.write_all(b"</main>\n</body>\n</html>\n").map_err(unwritten)
}

/// The beginning: what it is, the totals and the chart.
struct Top<'a>(&'a Head, &'a Chart);

impl fmt::Display for Top<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(head, chart) = self;
        let ledger = Text(&head.ledger);
        writeln!(
            formatter,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Fleet report: {ledger}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Fleet report</h1>\n<p class=\"about\">{ledger}, {}</p>",
            shown(head.at)
        )?;
        totals(formatter, head)?;
        days(formatter, head)?;
        writeln!(formatter, "<h2>Rate</h2>")?;
        if chart.intervals.is_empty() {
            return writeln!(formatter, "<p>No device has come to its end yet.</p>");
        }
        writeln!(
            formatter,
            "<p class=\"legend\"><span class=\"key proved\"></span> proved <span class=\"key failed\"></span> failed</p>\n<figure>{chart}</figure>"
        )
    }
}

fn totals(formatter: &mut fmt::Formatter<'_>, head: &Head) -> fmt::Result {
    let counts = &head.counts;
    if counts.total == 0 {
        writeln!(formatter, "<p class=\"notice\">The ledger has no device yet.</p>")?;
    } else if !counts.finished {
        let (left, total) = (counts.left(), counts.total);
        writeln!(
            formatter,
            "<p class=\"notice\">This fleet is not finished: {left} of {total} devices have not come to their end.</p>"
        )?;
    }
    writeln!(formatter, "<ul class=\"totals\">\n<li><b>{}</b> devices</li>", counts.total)?;
    for state in [RowState::Proved, RowState::Failed] {
        let (count, name) = (counts.states.of(state), state.as_str());
        writeln!(formatter, "<li class=\"{name}\"><b>{count}</b> {name}</li>")?;
    }
    let under_way = RowState::ALL.into_iter().filter(|state| !is_end(*state));
    let under_way = under_way.map(|state| (state.as_str(), counts.states.of(state)));
    let beside = [("waiting", counts.waiting), ("worked on now", counts.claimed)];
    for (name, count) in under_way.chain(beside).filter(|(_, count)| *count > 0) {
        writeln!(formatter, "<li><b>{count}</b> {name}</li>")?;
    }
    writeln!(formatter, "</ul>")
}

const fn is_end(state: RowState) -> bool {
    matches!(state, RowState::Proved | RowState::Failed)
}

/// Where there was more than one.
fn days(formatter: &mut fmt::Formatter<'_>, head: &Head) -> fmt::Result {
    if head.counts.days.len() < 2 {
        return Ok(());
    }
    writeln!(
        formatter,
        "<h2>Days</h2>\n<table class=\"narrow\">\n<thead><tr><th>day (UTC)</th><th>proved</th><th>failed</th></tr></thead>\n<tbody>"
    )?;
    for day in &head.counts.days {
        writeln!(formatter, "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", day.date, day.proved, day.failed)?;
    }
    writeln!(formatter, "</tbody>\n</table>")
}

/// What failed: each cause with its help, and the first devices.
#[derive(Default)]
struct Failures {
    count: u64,
    /// By code: how many, and what helps.
    causes: BTreeMap<String, (u64, String)>,
    devices: Vec<Device>,
}

impl Failures {
    async fn read(roster: &dyn Roster, advise: Advise) -> Result<Self> {
        let mut failures = Self::default();
        let failed = Selection { state: Some(RowState::Failed), ..Selection::default() };
        let mut pages = Pages::of(roster, failed);
        while let Some(rows) = pages.page().await? {
            for row in rows {
                failures.add(row, advise);
            }
        }
        Ok(failures)
    }

    fn add(&mut self, row: Listed, advise: Advise) {
        self.count += 1;
        if let Some(trouble) = &row.trouble {
            let new = || (0, advise(&trouble.code));
            self.causes.entry(trouble.code.clone()).or_insert_with(new).0 += 1;
        }
        if self.devices.len() < MOST_LISTED {
            self.devices.push(Device::new(row, advise));
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return Ok(());
        }
        let plural = if self.count == 1 { "device" } else { "devices" };
        writeln!(formatter, "<h2>Failed: {} {plural}</h2>", self.count)?;
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (code, (count, help)) in causes {
            writeln!(
                formatter,
                "<section class=\"cause\"><h3><code>{}</code> <span>{count}</span></h3><p>{}</p></section>",
                Text(code),
                Text(help)
            )?;
        }
        writeln!(
            formatter,
            "<table>\n<thead><tr><th>device</th><th>code</th><th>step</th><th>what happened</th><th>tries</th><th>when (UTC)</th></tr></thead>\n<tbody>"
        )?;
        for device in &self.devices {
            failed_row(formatter, device)?;
        }
        writeln!(formatter, "</tbody>\n</table>")?;
        more(formatter, self.count, self.devices.len())
    }
}

fn failed_row(formatter: &mut fmt::Formatter<'_>, device: &Device) -> fmt::Result {
    let none = Why { code: String::new(), step: String::new(), message: String::new(), help: String::new() };
    let why = device.error.as_ref().unwrap_or(&none);
    writeln!(
        formatter,
        "<tr><td>{}{}</td><td class=\"whole\"><code>{}</code></td><td class=\"whole\">{}</td><td>{}</td><td>{}</td><td class=\"whole\">{}</td></tr>",
        Text(&device.device),
        Label(device),
        Text(&why.code),
        Text(&why.step),
        Text(&why.message),
        device.attempts,
        When(device.ended)
    )
}

/// What else names a device, under its name.
struct Label<'a>(&'a Device);

impl fmt::Display for Label<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Device { label, serial, mac, .. } = self.0;
        let known: Vec<_> = [label, serial, mac].into_iter().flatten().map(String::as_str).collect();
        match known.is_empty() {
            true => Ok(()),
            false => write!(formatter, "<br><small>{}</small>", Text(&known.join(" · "))),
        }
    }
}

struct When(Option<OffsetDateTime>);

impl fmt::Display for When {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |time| formatter.write_str(shown(time).trim_end_matches(" UTC")))
    }
}

fn more(formatter: &mut impl fmt::Write, count: u64, shown: usize) -> fmt::Result {
    let left = count.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if left == 0 {
        return Ok(());
    }
    writeln!(
        formatter,
        "<p class=\"more\">{left} more are not shown here: the reports in CSV and JSON have all.</p>"
    )
}

/// The devices that did not fail, up to a limit.
async fn others(
    out: &mut (dyn Write + Send),
    head: &Head,
    roster: &dyn Roster,
    advise: Advise,
) -> Result<()> {
    let count = head.counts.total - head.counts.states.failed;
    if count == 0 {
        return Ok(());
    }
    let title = if head.counts.states.failed > 0 { "The other devices" } else { "Devices" };
    writeln!(
        out,
        "<h2>{title}</h2>\n<table>\n<thead><tr><th>device</th><th>state</th><th>credentialsId</th><th>valid until</th><th>when (UTC)</th></tr></thead>\n<tbody>"
    )
    .map_err(unwritten)?;
    let mut shown = 0;
    let mut pages = Pages::of(roster, Selection::default());
    'pages: while let Some(rows) = pages.page().await? {
        for row in rows.into_iter().filter(|row| row.state != RowState::Failed) {
            if shown == MOST_LISTED {
                break 'pages;
            }
            shown += 1;
            write!(out, "{}", OtherRow(&Device::new(row, advise))).map_err(unwritten)?;
        }
    }
    let mut end = "</tbody>\n</table>\n".to_owned();
    more(&mut end, count, shown).map_err(unwritten)?;
    out.write_all(end.as_bytes()).map_err(unwritten)
}

struct OtherRow<'a>(&'a Device);

impl fmt::Display for OtherRow<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(device) = self;
        let id = device.credentials_id.as_deref().unwrap_or_default();
        let end = device.not_after.map(|end| end.date().to_string()).unwrap_or_default();
        write!(
            formatter,
            "<tr><td>{}{}</td><td>{}",
            Text(&device.device),
            Label(device),
            device.state.as_str()
        )?;
        if let Some(why) = &device.error {
            write!(formatter, "<br><small>{}: {}</small>", Text(&why.code), Text(&why.message))?;
        }
        let when = When(device.ended.or(device.retry_at));
        writeln!(
            formatter,
            "</td><td><code class=\"id\">{}</code></td><td class=\"whole\">{end}</td><td class=\"whole\">{when}</td></tr>",
            Text(id)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        let text = Text("<script>alert('1')</script> & \"x\"\u{202e}\n").to_string();
        assert_eq!(text, r"&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;\u{202e}\n");
    }
}
