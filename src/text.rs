//! Text that comes from elsewhere (a server, a client, a file, a board), made harmless to show: what could steer a
//! terminal, hide, or pass for a line of ours is escaped, and nothing is ever dropped.

use std::borrow::Cow;
use std::path::Path;

/// `text` on one line. Control characters (line ends too), line and paragraph separators, and characters that turn
/// the direction of writing or cannot be seen appear as in a Rust string: `\n`, `\u{202e}`.
///
/// ```
/// assert_eq!(tbprov::text::escaped("x\n✓ prod\u{202e}"), r"x\n✓ prod\u{202e}");
/// ```
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if character.is_control() => shown.extend(character.escape_debug()),
            _ if is_unseen(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    shown
}

/// As [`escaped`], for a text whose line ends are ours.
pub fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// As [`escaped`], and no more than the first `longest` characters of `text`.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let end = text.char_indices().nth(longest).map_or(text.len(), |(end, _)| end);
    escaped(&text[..end])
}

/// Characters of a text that is shown within a message, at the most.
pub const LONGEST_SHOWN: usize = 200;

/// As [`escaped`], and at most [`LONGEST_SHOWN`] characters: of a longer text its beginning and its end.
pub fn shown(text: &str) -> String {
    const MARK: &str = " … ";
    const END: usize = 60;
    // Escaping makes no text shorter, so the middle of a long one is not looked at.
    let escaped = match text.char_indices().nth(4 * LONGEST_SHOWN) {
        Some((beginning, _)) => {
            let end =
                text.char_indices().nth_back(LONGEST_SHOWN).map_or(beginning, |(end, _)| end.max(beginning));
            escaped(&text[..beginning]) + &escaped(&text[end..])
        }
        None => escaped(text),
    };
    let count = escaped.chars().count();
    if count <= LONGEST_SHOWN {
        return escaped;
    }
    let beginning: String = escaped.chars().take(LONGEST_SHOWN - END - MARK.chars().count()).collect();
    let end: String = escaped.chars().skip(count - END).collect();
    beginning + MARK + &end
}

/// Whether the first line of PEM is in it, however its blanks and dashes survived, or its beginning in base64.
pub fn holds_pem(text: &str) -> bool {
    ["-----BEGIN", "-----END", "---- BEGIN", "LS0tLS1CRUdJTi"].iter().any(|mark| text.contains(mark))
}

/// A path within a message: as [`shown`], and as this system writes it.
pub fn shown_path(path: impl AsRef<Path>) -> String {
    shown(&native_path(path.as_ref()).to_string_lossy())
}

/// The path as this system writes it. Windows takes `/` too, and what is joined to a path gets `\`: shown, they would
/// be mixed.
pub fn native_path(path: &Path) -> Cow<'_, Path> {
    match path.to_str().filter(|text| cfg!(windows) && text.contains('/')) {
        Some(text) => Cow::Owned(as_windows_writes(text).into()),
        None => Cow::Borrowed(path),
    }
}

/// What stands between two commands, the second of which needs the first. Windows PowerShell has no `&&`.
pub const fn between_commands(on_windows: bool) -> &'static str {
    if on_windows { "; " } else { " && " }
}

/// After `\\?\` a `/` separates nothing.
fn as_windows_writes(path: &str) -> String {
    if path.starts_with(r"\\?\") { path.to_owned() } else { path.replace('/', r"\") }
}

/// Separators of lines, and what has no shape of its own: marks of direction, joiners, fillers, tags (Unicode's
/// category Cf without the Arabic and other signs that are drawn, and the Hangul fillers).
pub(crate) const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E007F}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_lines_stay_on_their_line() {
        assert_eq!(
            escaped("x\r\n\u{2713} SUCCESS\u{202E}\u{2029}\x1b[1m\u{9b}31m\0\t"),
            r"x\r\n✓ SUCCESS\u{202e}\u{2029}\u{1b}[1m\u{9b}31m\0\t"
        );
    }

    /// Whatever it is, it is seen: two texts that differ look different.
    #[test]
    fn what_cannot_be_seen_is_escaped() {
        for unseen in
            ['\u{AD}', '\u{34F}', '\u{200B}', '\u{200D}', '\u{2066}', '\u{3164}', '\u{FEFF}', '\u{E0041}']
        {
            let shown = escaped(&format!("a{unseen}b"));
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(unseen)));
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["CN=传感器-01, O=Küche", r#"C:\devices {"a":'1'}"#, "e\u{301}", "🌡"] {
            assert_eq!(escaped(text), text);
        }
    }

    #[test]
    fn line_ends_of_ours_stay() {
        assert_eq!(escaped_lines("one\n  two\r\x07\n"), "one\n  two\\r\\u{7}\n");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        for text in ["x".repeat(200), "\n".repeat(100), "ab".to_owned()] {
            assert_eq!(shown(&text), escaped(&text));
        }
        for middle in ["x".repeat(500), "\u{202e}".repeat(5000), "传".repeat(900)] {
            let shown = shown(&format!("/begin{middle}end.pem"));
            assert_eq!(shown.chars().count(), LONGEST_SHOWN, "{shown}");
            assert!(shown.starts_with("/begin") && shown.contains(" … ") && shown.ends_with("end.pem"));
        }
        assert_eq!(shown_path(Path::new("a\nb")), r"a\nb");
    }

    #[test]
    fn a_path_has_the_separators_of_its_system() {
        for (path, written) in [
            (r"./devices\x/key.pem", r".\devices\x\key.pem"),
            ("C:/keys", r"C:\keys"),
            ("//server/share/x", r"\\server\share\x"),
            (r"\\?\C:\a/b", r"\\?\C:\a/b"),
            ("fleet.db", "fleet.db"),
        ] {
            assert_eq!(as_windows_writes(path), written);
        }
        let shown = if cfg!(windows) { r".\devices\x" } else { "./devices/x" };
        assert_eq!(shown_path(Path::new("./devices").join("x")), shown);
    }

    #[test]
    fn length_has_an_end() {
        assert_eq!(one_line("abc", 2), "ab");
        assert_eq!(one_line("\u{202e}bc", 2), r"\u{202e}b");
        assert_eq!(one_line("ab", usize::MAX), "ab");
    }
}
