//! How many devices came to their end, over time: a chart as SVG that stands within a page.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::error::Result;
use crate::ledger::roster::{Interval, Roster, Totals};

/// Bars of a chart, at the most, as long as [`WIDTHS`] has one that is wide enough.
const MOST_BARS: u64 = 60;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Seconds of a bar.
const WIDTHS: [u64; 20] = [
    1,
    2,
    5,
    10,
    15,
    30,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    7 * DAY,
    28 * DAY,
];

/// How many devices came to their end, by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chart {
    /// Seconds of a bar.
    pub seconds: u64,
    /// The bars that are not empty, in order.
    pub intervals: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// When it begins.
    #[serde(with = "rfc3339")]
    pub begin: OffsetDateTime,
    /// Rows that were proved in it.
    pub proved: u64,
    /// Rows that failed in it.
    pub failed: u64,
}

impl From<Interval> for Bar {
    fn from(Interval { begin, proved, failed }: Interval) -> Self {
        Self { begin, proved, failed }
    }
}

impl Bar {
    const fn height(&self) -> u64 {
        self.proved + self.failed
    }
}

impl Chart {
    /// The chart of a ledger, in bars whose width fits the time that it took.
    ///
    /// # Errors
    /// `ledger/…`.
    pub async fn of(roster: &dyn Roster, totals: &Totals) -> Result<Self> {
        let days = match (totals.days.first(), totals.days.last()) {
            (Some(first), Some(last)) => (last.date - first.date).whole_days().unsigned_abs(),
            _ => return Ok(Self { seconds: 1, intervals: Vec::new() }),
        };
        let read = async |seconds| roster.timeline(Duration::from_secs(seconds)).await;
        // When within a day it began and ended, coarse bars tell.
        let coarse = if days > 1 { (days + 1) * DAY } else { span(&read(MINUTE).await?, MINUTE) };
        let mut seconds = width(coarse);
        let mut intervals = read(seconds).await?;
        let finer = width(span(&intervals, seconds));
        if finer < seconds {
            seconds = finer;
            intervals = read(seconds).await?;
        }
        Ok(Self { seconds, intervals: intervals.into_iter().map(Bar::from).collect() })
    }

    /// In words: `second`, `10 seconds`, `5 minutes`, `day`.
    pub fn width(&self) -> String {
        let (number, unit) = match self.seconds {
            seconds if seconds >= DAY => (seconds / DAY, "day"),
            seconds if seconds >= HOUR => (seconds / HOUR, "hour"),
            seconds if seconds >= MINUTE => (seconds / MINUTE, "minute"),
            seconds => (seconds, "second"),
        };
        if number == 1 { unit.to_owned() } else { format!("{number} {unit}s") }
    }

    /// The bar's place, counted from 0.
    fn place(&self, bar: &Bar) -> u64 {
        let first = self.intervals.first().map_or(bar.begin, |first| first.begin);
        seconds_between(first, bar.begin) / self.seconds.max(1)
    }
}

fn seconds_between(first: OffsetDateTime, last: OffsetDateTime) -> u64 {
    u64::try_from((last - first).whole_seconds()).unwrap_or(0)
}

/// From the beginning of the first to the end of the last.
fn span(intervals: &[Interval], seconds: u64) -> u64 {
    match (intervals.first(), intervals.last()) {
        (Some(first), Some(last)) => seconds_between(first.begin, last.begin) + seconds,
        _ => seconds,
    }
}

/// The narrowest bars that are not too many.
fn width(span: u64) -> u64 {
    let [.., widest] = WIDTHS;
    WIDTHS.into_iter().find(|width| span.div_ceil(*width) <= MOST_BARS).unwrap_or(widest)
}

/// The drawing, in units of about a pixel.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;

/// Labels of the axis of time, at the most.
const MOST_LABELS: u64 = 7;

/// Lines across, about.
const LINES: u64 = 4;

impl fmt::Display for Chart {
    /// As an `svg` element.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plot = Plot::of(self);
        writeln!(
            formatter,
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="rate"><title id="rate">Devices per {}, over time</title>"#,
            self.width()
        )?;
        plot.lines(formatter)?;
        for bar in &self.intervals {
            plot.bar(formatter, bar)?;
        }
        plot.times(formatter)?;
        plot.axes(formatter)?;
        writeln!(formatter, "</svg>")
    }
}

/// Where what is drawn.
struct Plot<'a> {
    chart: &'a Chart,
    /// Places for bars.
    places: u64,
    /// The distance of the lines across.
    step: u64,
    /// The upper end.
    top: u64,
}

#[allow(clippy::cast_precision_loss, reason = "places in a drawing")]
impl<'a> Plot<'a> {
    fn of(chart: &'a Chart) -> Self {
        let highest = chart.intervals.iter().map(Bar::height).max().unwrap_or(0).max(1);
        let step = step(highest);
        let places = chart.intervals.last().map_or(1, |last| chart.place(last) + 1);
        Self { chart, places, step, top: highest.div_ceil(step) * step }
    }

    fn x(&self, place: u64) -> f64 {
        (WIDTH - LEFT - RIGHT).mul_add(place as f64 / self.places as f64, LEFT)
    }

    fn y(&self, count: u64) -> f64 {
        (HEIGHT - TOP - BOTTOM).mul_add(1.0 - count as f64 / self.top as f64, TOP)
    }

    fn lines(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for count in (0..=self.top / self.step).map(|line| line * self.step) {
            let (y, right) = (self.y(count), WIDTH - RIGHT);
            writeln!(
                formatter,
                r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/><text class="count" x="{:.1}" y="{:.1}">{count}</text>"#,
                LEFT - 8.0,
                y + 4.0
            )?;
        }
        Ok(())
    }

    /// What was proved, and what failed on top of it.
    fn bar(&self, formatter: &mut fmt::Formatter<'_>, bar: &Bar) -> fmt::Result {
        let place = self.chart.place(bar);
        let (left, right) = (self.x(place), self.x(place + 1));
        let gap = if right - left > 6.0 { 1.0 } else { 0.0 };
        let Bar { begin, proved, failed } = bar;
        let time = self.label(*begin, true);
        writeln!(formatter, "<g><title>{time}: {proved} proved, {failed} failed</title>")?;
        for (class, from, to) in [("proved", 0, *proved), ("failed", *proved, bar.height())] {
            if to > from {
                let (x, wide, y) = (left + gap, right - left - 2.0 * gap, self.y(to));
                let high = self.y(from) - y;
                writeln!(
                    formatter,
                    r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{wide:.1}" height="{high:.1}"/>"#
                )?;
            }
        }
        writeln!(formatter, "</g>")
    }

    fn times(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.chart.intervals.first() else { return Ok(()) };
        let every = usize::try_from(self.places.div_ceil(MOST_LABELS)).unwrap_or(1).max(1);
        for place in (0..=self.places).step_by(every) {
            let (x, y) = (self.x(place), HEIGHT - BOTTOM);
            let time = first.begin + Duration::from_secs(place * self.chart.seconds);
            writeln!(
                formatter,
                r#"<line class="axis" x1="{x:.1}" y1="{y}" x2="{x:.1}" y2="{}"/><text class="time" x="{x:.1}" y="{}">{}</text>"#,
                y + 5.0,
                y + 19.0,
                self.label(time, false)
            )?;
        }
        Ok(())
    }

    fn axes(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let (middle, across) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, low));
        let day = match self.chart.intervals.first() {
            Some(first) if self.is_of_one_day() => format!(" on {}", first.begin.date()),
            _ => String::new(),
        };
        writeln!(
            formatter,
            r#"<line class="axis" x1="{LEFT}" y1="{low}" x2="{right}" y2="{low}"/><text class="name" x="{middle}" y="{}">time (UTC){day}</text><text class="name" transform="translate(16 {across}) rotate(-90)">devices per {}</text>"#,
            HEIGHT - 10.0,
            self.chart.width()
        )
    }

    fn is_of_one_day(&self) -> bool {
        match (self.chart.intervals.first(), self.chart.intervals.last()) {
            (Some(first), Some(last)) => first.begin.date() == last.begin.date(),
            _ => false,
        }
    }

    fn label(&self, time: OffsetDateTime, is_alone: bool) -> String {
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let clock = match self.chart.seconds {
            seconds if seconds >= MINUTE => format!("{hour:02}:{minute:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}"),
        };
        let (month, day) = (u8::from(time.month()), time.day());
        match self.chart.seconds {
            seconds if seconds >= DAY && (is_alone || !self.is_within_a_year()) => time.date().to_string(),
            seconds if seconds >= DAY => format!("{month:02}-{day:02}"),
            _ if is_alone => format!("{} {clock}", time.date()),
            _ if self.is_of_one_day() => clock,
            _ => format!("{month:02}-{day:02} {clock}"),
        }
    }

    const fn is_within_a_year(&self) -> bool {
        self.places * self.chart.seconds < 365 * DAY
    }
}

/// The distance of the lines across: 1, 2 or 5 with zeros after it.
fn step(highest: u64) -> u64 {
    let rough = highest.div_ceil(LINES).max(1);
    let power = 10_u64.pow(rough.ilog10());
    [1, 2, 5].into_iter().map(|digit| digit * power).find(|step| *step >= rough).unwrap_or(10 * power)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn bars_are_as_wide_as_the_time_needs() {
        for (span, seconds) in
            [(1, 1), (60, 1), (61, 2), (3600, MINUTE), (DAY, 30 * MINUTE), (30 * DAY, 12 * HOUR)]
        {
            assert_eq!(width(span), seconds, "{span}");
        }
        assert_eq!(width(u64::MAX), 28 * DAY);
    }

    #[test]
    fn lines_across_are_at_round_numbers() {
        for (highest, distance) in [
            (1, 1),
            (4, 1),
            (5, 2),
            (40, 10),
            (41, 20),
            (999, 500),
            (u64::MAX / 8, 1_000_000_000_000_000_000),
        ] {
            assert_eq!(step(highest), distance, "{highest}");
        }
    }

    #[test]
    fn a_bar_stands_where_its_time_is() {
        let bar = |begin, proved, failed| Bar { begin, proved, failed };
        let intervals = vec![
            bar(datetime!(2026-11-28 10:00:00 UTC), 10, 0),
            bar(datetime!(2026-11-28 10:00:30 UTC), 4, 6),
        ];
        let chart = Chart { seconds: 10, intervals };
        let svg = chart.to_string();
        assert!(svg.contains("devices per 10 seconds") && svg.contains("time (UTC) on 2026-11-28"), "{svg}");
        assert!(svg.contains("2026-11-28 10:00:30: 4 proved, 6 failed"), "{svg}");
        // Four places of 165 units, the second and the third of them empty.
        assert!(svg.contains(r#"x="67.0" y="14.0" width="163.0" height="194.0""#), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3);
        assert_eq!(svg.matches(r#"class="failed""#).count(), 1);
    }
}
