//! Words as a shell takes them: every command that is shown can be pasted.
//!
//! On Unix the shell is sh (what holds for bash, zsh, dash and BusyBox alike). On Windows it is PowerShell; what stands in
//! double quotes there is the same for cmd, and only a word with `"`, `$`, `` ` `` or `%` is PowerShell's alone. A word
//! with `"` comes to a program unharmed from PowerShell 7.3 on, and an empty word after a blank too: so an empty value
//! follows an equals sign.

use std::path::Path;

use tbprov::text::native_path;

/// The kind of machine that somebody sits at: it decides the shell, and which programs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Desk {
    /// Linux, and what else is like it.
    Linux,
    MacOs,
    Windows,
}

impl Desk {
    /// This one.
    pub(super) const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::MacOs
    } else {
        Self::Linux
    };

    /// `text` as one word of a command.
    pub(super) fn quoted(self, text: &str) -> String {
        if self == Self::Windows { for_powershell(text) } else { for_sh(text) }
    }

    /// The path as one word, which no program takes for a flag.
    pub(super) fn quoted_path(self, path: &Path) -> String {
        let path = native_path(path);
        let text = path.to_string_lossy();
        let here = if self == Self::Windows { r".\" } else { "./" };
        if text.starts_with('-') { self.quoted(&format!("{here}{text}")) } else { self.quoted(&text) }
    }

    /// One command, and another after it. Windows PowerShell has no `&&`.
    pub(super) const fn then(self) -> &'static str {
        if matches!(self, Self::Windows) { "; " } else { " && " }
    }
}

/// `text` as one word of a command, here.
pub(super) fn quoted(text: &str) -> String {
    Desk::HERE.quoted(text)
}

/// The path as one word, which no program takes for a flag, here.
pub(super) fn quoted_path(path: &Path) -> String {
    Desk::HERE.quoted_path(path)
}

/// The last words of a command: one that is no flag, also where it begins with a dash.
pub(super) fn operand(text: &str) -> String {
    let word = quoted(text);
    if text.starts_with('-') { format!("-- {word}") } else { word }
}

/// A command that is given a variable.
pub(super) fn with_variable(name: &str, value: &str, command: &str) -> String {
    let value = quoted(value);
    match Desk::HERE {
        Desk::Windows => format!("$env:{name} = {value}; {command}"),
        Desk::MacOs | Desk::Linux => format!("{name}={value} {command}"),
    }
}

/// The command of Windows that leaves the file or the folder of this word to the user who runs it, and to nobody else.
/// `rights` are icacls's words for what that user may do.
pub(super) fn for_this_user_alone(word: &str, rights: &str) -> String {
    format!(r#"icacls {word} /inheritance:r /grant:r "${{env:USERDOMAIN}}\${{env:USERNAME}}:{rights}""#)
}

fn for_sh(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-./:,@+".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if tbprov::text::escaped(text) != text {
        return format!("\"$(printf %b '{}')\"", for_printf(text));
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What printf's `%b` turns into `text`: visible, though the text holds what cannot be seen. A line end at the very end is
/// lost in the shell.
fn for_printf(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        let shown = tbprov::text::escaped(character.encode_utf8(&mut [0; 4]));
        if shown.starts_with(character) && !['\'', '\\'].contains(&character) {
            written.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            written.push_str(&format!("\\0{byte:03o}"));
        }
    }
    written
}

fn for_powershell(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-./\\:".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    // Typographic quotes end a word too; and a backslash at the end would escape the quote for the program.
    if text.contains(['"', '$', '`', '%', '“', '”', '„']) || text.ends_with('\\') {
        let mut word = "'".to_owned();
        for character in text.chars() {
            word.extend(std::iter::repeat_n(character, if "'‘’‚‛".contains(character) { 2 } else { 1 }));
        }
        return word + "'";
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that do harm, or get lost, in a command without quotes.
    const NASTY: &[&str] = &[
        "x'; echo INJECTED; echo '",
        "my dir",
        "$(echo INJECTED)",
        "`echo INJECTED`",
        "a\nb",
        "a\r",
        "\ttab",
        "*",
        "[a-z]?",
        "~",
        "~root",
        "#no comment",
        "a;b&c|d<e>f",
        "\"double\"",
        "back\\slash\\",
        "!history",
        "Küche 传感器",
        "a\u{200b}b\u{202e}",
        "{a,b}",
        "=ls",
        "100%",
        "%s%n",
        "",
        "-x",
        "it's\n\\0101",
        "\u{1b}[31mred",
    ];

    #[cfg(unix)]
    #[test]
    fn a_shell_gets_the_word_itself() {
        for shell in ["sh", "bash", "dash", "zsh", "busybox"] {
            for word in NASTY {
                let script = format!("printf '<%s>' {}", for_sh(word));
                let arguments: &[&str] = if shell == "busybox" { &["sh", "-c"] } else { &["-c"] };
                let ran = std::process::Command::new(shell).args(arguments).arg(&script).output();
                // Not every system has every shell; each has sh.
                let Ok(ran) = ran else { continue };
                assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("<{word}>"), "{shell}: {script}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_visible_and_on_one_line() {
        for word in NASTY {
            let shown = for_sh(word);
            assert_eq!(tbprov::text::escaped(&shown), shown);
        }
    }

    #[test]
    fn plain_words_stay_bare() {
        for word in ["sensor-01", "./devices/a_b.pem", "a@b:8883,c+d"] {
            assert_eq!(for_sh(word), word);
        }
        assert_eq!(for_powershell(r"C:\certs\server.pem"), r"C:\certs\server.pem");
    }

    #[test]
    fn powershell_has_quotes_of_its_own() {
        for (word, written) in [
            ("my dir", "\"my dir\""),
            ("x'; rm y", "\"x'; rm y\""),
            ("a$(b)", "'a$(b)'"),
            ("it's $5", "'it''s $5'"),
            ("’$", "'’’$'"),
            ("a b\\", "'a b\\'"),
            ("", "\"\""),
            ("%TEMP%", "'%TEMP%'"),
        ] {
            assert_eq!(for_powershell(word), written);
        }
    }

    #[test]
    fn a_dash_at_the_beginning_makes_no_flag() {
        assert_eq!(operand("-x"), "-- -x");
        assert_eq!(operand("x"), "x");
        assert_eq!(Desk::Linux.quoted_path(Path::new("-x.pem")), "./-x.pem");
        assert_eq!(Desk::Windows.quoted_path(Path::new("-x.pem")), r".\-x.pem");
    }
}
