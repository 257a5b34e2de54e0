//! A terminal's screen as an SVG: text that can be selected, in the reader's own fonts.

use std::fmt::Write as _;

use vt100::{Cell, Color, Screen};

/// Of one cell.
const WIDTH: usize = 9;
const HEIGHT: usize = 20;
/// Around the text; above it there is room for the window's buttons.
const MARGIN: usize = 18;
const TOP: usize = 44;

const BACKGROUND: &str = "#1c2128";
const FOREGROUND: &str = "#d5dbe3";
const BUTTONS: [&str; 3] = ["#ed6a5e", "#f5bf4f", "#62c554"];

/// The colours that a terminal shows for the numbers 0 to 7, bright enough on the background.
const COLORS: [&str; 8] =
    ["#768390", "#ff7b72", "#6bd968", "#e3b341", "#79b8ff", "#d2a8ff", "#56d4dd", "#d5dbe3"];

/// Cells of one row that look the same.
struct Run {
    column: usize,
    width: usize,
    text: String,
    color: &'static str,
    is_bold: bool,
}

/// The image of all that is on the screen.
pub(super) fn of(screen: &Screen) -> String {
    let rows: Vec<_> = (0..screen.size().0.get()).map(|row| runs(screen, row)).collect();
    let height = rows.iter().rposition(|runs| !runs.is_empty()).map_or(0, |last| last + 1);
    let columns = usize::from(screen.size().1.get());
    let (wide, high) = (columns * WIDTH + 2 * MARGIN, height * HEIGHT + TOP + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" width=\"{wide}\" height=\"{high}\">\n\
         <title>tbprov on a terminal</title>\n\
         <style>text {{ white-space: pre }}</style>\n\
         <rect width=\"{wide}\" height=\"{high}\" rx=\"9\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (number, color) in BUTTONS.into_iter().enumerate() {
        let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"20\" r=\"6\" fill=\"{color}\"/>", 22 + 20 * number);
    }
    let fonts = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
    // The style keeps blanks in browsers, the attribute in other programs.
    let _ = writeln!(
        svg,
        "<g font-family=\"{fonts}\" font-size=\"15\" fill=\"{FOREGROUND}\" xml:space=\"preserve\">"
    );
    for (row, runs) in rows.iter().take(height).enumerate() {
        for run in runs {
            let _ = writeln!(svg, "{}", run.element(row));
        }
    }
    svg + "</g>\n</svg>\n"
}

impl Run {
    fn element(&self, row: usize) -> String {
        let (x, y) = (MARGIN + self.column * WIDTH, TOP + row * HEIGHT + HEIGHT * 3 / 4);
        let color =
            if self.color == FOREGROUND { String::new() } else { format!(" fill=\"{}\"", self.color) };
        let weight = if self.is_bold { " font-weight=\"bold\"" } else { "" };
        // Each character gets its cell, whatever font the reader has.
        let length = self.width * WIDTH;
        let text = self.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!("<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\"{color}{weight}>{text}</text>")
    }
}

/// The row's cells, those that look the same together, without blanks at the end.
fn runs(screen: &Screen, row: u16) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..screen.size().1.get() {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
            continue;
        };
        let (color, is_bold) = (color(cell), cell.bold());
        let text = if cell.has_contents() { cell.contents() } else { " " };
        let width = if cell.is_wide() { 2 } else { 1 };
        match runs.last_mut().filter(|run| (run.color, run.is_bold) == (color, is_bold)) {
            Some(run) => {
                run.text.push_str(text);
                run.width += width;
            }
            None => {
                runs.push(Run { column: usize::from(column), width, text: text.to_owned(), color, is_bold });
            }
        }
    }
    runs.iter_mut().for_each(Run::trim);
    runs.retain(|run| run.width > 0);
    runs
}

impl Run {
    /// Takes away the blanks around the text.
    fn trim(&mut self) {
        let blanks = |text: &str, trimmed: &str| text.len() - trimmed.len();
        let before = blanks(&self.text, self.text.trim_start());
        self.column += before;
        self.width -= before;
        let text = self.text.trim_start();
        self.width -= blanks(text, text.trim_end());
        self.text = text.trim_end().to_owned();
    }
}

fn color(cell: &Cell) -> &'static str {
    match cell.fgcolor() {
        Color::Idx(number) if number < 16 => COLORS[usize::from(number % 8)],
        _ => FOREGROUND,
    }
}
