//! Text that comes from elsewhere, made harmless to show.

/// The replacement character of Unicode.
const REPLACEMENT: char = '\u{FFFD}';

/// `text` on one line, at most `longest` characters: control characters (line ends too) and those that turn
/// the direction of writing are replaced, so that what a server or a file says can neither steer a terminal
/// nor pass for a line of ours. Nothing is removed, so a harmless text never comes out of another one.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    text.chars()
        .take(longest)
        .map(|character| if is_harmless(character) { character } else { REPLACEMENT })
        .collect()
}

fn is_harmless(character: char) -> bool {
    let turns_direction = matches!(character, '\u{061C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(character, '\u{2028}' | '\u{2029}');
    !(character.is_control() || turns_direction || breaks_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_lines_stay_on_their_line() {
        assert_eq!(
            one_line("x\n\u{2713} SUCCESS\u{202E}\x1b[1m", 40),
            "x\u{FFFD}\u{2713} SUCCESS\u{FFFD}\u{FFFD}[1m"
        );
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        assert_eq!(one_line("CN=传感器-01, O=Küche", 40), "CN=传感器-01, O=Küche");
    }

    #[test]
    fn length_has_an_end() {
        assert_eq!(one_line("abc", 2), "ab");
    }
}
