//! One line, typed on a terminal. Ctrl-C, Ctrl-D and Esc end it.

use std::io;

use console::{Key, Term, measure_text_width};
use zeroize::Zeroizing;

use super::terminal;

/// Characters that can be typed. There is room for all of them, so that a secret leaves no copy behind when it grows.
const ROOM: usize = 4096;

const CONTROL_D: char = '\u{4}';
const CONTROL_U: char = '\u{15}';
const CONTROL_W: char = '\u{17}';

/// Asks with `prompt` for a line, which is shown unless it is a secret.
///
/// # Errors
/// `Interrupted` where the user ends it.
pub(super) fn read_line(prompt: &str, is_secret: bool) -> io::Result<Zeroizing<String>> {
    // For all of the line, and not key by key: between two keys the terminal would show what is typed.
    terminal::unbuffer_keys();
    let mut line = Line::new(prompt, is_secret);
    let typed = line.read();
    terminal::restore();
    line.terminal.write_str("\n")?;
    typed.map(|()| line.text())
}

struct Line<'a> {
    terminal: Term,
    prompt: &'a str,
    is_secret: bool,
    typed: Zeroizing<Vec<char>>,
    /// Before which character the next one comes.
    cursor: usize,
    /// How many rows the cursor is below the first one.
    row: usize,
}

impl<'a> Line<'a> {
    fn new(prompt: &'a str, is_secret: bool) -> Self {
        let typed = Zeroizing::new(Vec::with_capacity(ROOM));
        Self { terminal: Term::stderr(), prompt, is_secret, typed, cursor: 0, row: 0 }
    }

    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.typed.len() * char::MAX.len_utf8()));
        text.extend(self.typed.iter());
        text
    }

    fn read(&mut self) -> io::Result<()> {
        self.terminal.write_str(self.prompt)?;
        loop {
            match self.terminal.read_key_raw() {
                Ok(Key::Enter) => return Ok(()),
                Ok(Key::CtrlC | Key::Escape | Key::Char(CONTROL_D)) => {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(key) => self.press(&key)?,
                // The terminal has gone.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn press(&mut self, key: &Key) -> io::Result<()> {
        let (before, end) = (self.cursor, self.typed.len());
        match key {
            Key::Char(character) if !character.is_control() && end < ROOM => {
                self.typed.insert(before, *character);
                self.cursor += 1;
                if before == end {
                    return self.append(*character);
                }
            }
            Key::Backspace if before > 0 => {
                self.cursor -= 1;
                self.typed.remove(self.cursor);
            }
            Key::Del if before < end => drop(self.typed.remove(before)),
            Key::Char(CONTROL_U) => self.cut(0),
            Key::Char(CONTROL_W) => self.cut(self.word()),
            Key::ArrowLeft => self.cursor = before.saturating_sub(1),
            Key::ArrowRight => self.cursor = (before + 1).min(end),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = end,
            _ => return Ok(()),
        }
        self.draw()
    }

    /// Where the word before the cursor begins.
    fn word(&self) -> usize {
        let before = self.typed.get(..self.cursor).unwrap_or_default();
        let word_end = before.iter().rposition(|character| !character.is_whitespace()).unwrap_or(0);
        let blank = before.iter().take(word_end).rposition(|character| character.is_whitespace());
        blank.map_or(0, |blank| blank + 1)
    }

    /// Takes out what is between `from` and the cursor.
    fn cut(&mut self, from: usize) {
        self.typed.drain(from..self.cursor);
        self.cursor = from;
    }

    fn append(&mut self, character: char) -> io::Result<()> {
        if self.is_secret {
            return Ok(());
        }
        self.terminal.write_str(character.encode_utf8(&mut [0; 4]))?;
        self.row = self.rows_to(self.cursor);
        Ok(())
    }

    /// How many rows there are above the one that holds the place before the character `place`.
    fn rows_to(&self, place: usize) -> usize {
        self.width_to(place) / self.columns()
    }

    fn width_to(&self, place: usize) -> usize {
        let before: String = self.typed.iter().take(place).collect();
        measure_text_width(self.prompt) + measure_text_width(&before)
    }

    fn columns(&self) -> usize {
        usize::from(self.terminal.size().1).max(1)
    }

    fn draw(&mut self) -> io::Result<()> {
        if self.is_secret {
            return Ok(());
        }
        self.terminal.move_cursor_up(self.row)?;
        self.terminal.write_str("\r")?;
        self.terminal.clear_to_end_of_screen()?;
        self.terminal.write_str(self.prompt)?;
        self.terminal.write_str(&self.typed.iter().collect::<String>())?;
        let (last, row) = (self.rows_to(self.typed.len()), self.rows_to(self.cursor));
        self.terminal.move_cursor_up(last - row)?;
        self.terminal.write_str("\r")?;
        self.terminal.move_cursor_right(self.width_to(self.cursor) % self.columns())?;
        self.row = row;
        Ok(())
    }
}
