//! Words as a shell takes them: every command that is shown can be pasted.
//!
//! On Unix the shell is sh (what holds for bash, zsh, dash and BusyBox alike). On Windows it is PowerShell; what stands in
//! double quotes there is the same for cmd. Only a word with `"`, `$`, `` ` ``, `%` or a character that cannot be seen is
//! PowerShell's alone. A word with `"` comes to a program unharmed from PowerShell 7.3 on, and an empty word after a blank
//! too: so an empty value follows an equals sign.

use std::path::Path;
use std::sync::OnceLock;

use tbprov::text::{between_commands, escaped, native_path};

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

    /// The last words of a command: one that is no flag, also where it begins with a dash.
    fn operand(self, text: &str) -> String {
        let word = self.quoted(text);
        if text.starts_with('-') { format!("-- {word}") } else { word }
    }

    /// What stands between two commands, the second of which needs the first.
    pub(super) const fn then(self) -> &'static str {
        between_commands(matches!(self, Self::Windows))
    }

    /// A command that is given a variable.
    pub(super) fn with_variable(self, name: &str, value: &str, command: &str) -> String {
        match self {
            // A bare word after an equals sign would be a command there.
            Self::Windows => format!("$env:{name} = {}{}{command}", powershell_string(value), self.then()),
            Self::MacOs | Self::Linux => format!("{name}={} {command}", for_sh(value)),
        }
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

/// The last words of a command: one that is no flag, also where it begins with a dash, here.
pub(super) fn operand(text: &str) -> String {
    Desk::HERE.operand(text)
}

/// The flags that named the store and the ledger of this run, where flags did.
static STORE: OnceLock<String> = OnceLock::new();
static LEDGER: OnceLock<String> = OnceLock::new();

/// Every command about a device of the store that is shown from now on names `store`.
#[cfg(feature = "fleet")]
pub(super) fn name_store(store: &Path) {
    let _ = STORE.set(format!("--store {} ", quoted_path(store)));
}

/// Every command about a device that is shown from now on names `ledger`, if it takes one.
#[cfg(feature = "fleet")]
pub(super) fn name_ledger(ledger: &Path) {
    let _ = LEDGER.set(format!("--ledger {} ", quoted_path(ledger)));
}

/// The flag of a command that names where the devices of this run are, with a blank behind; else nothing.
fn place() -> &'static str {
    LEDGER.get().or_else(|| STORE.get()).map_or("", String::as_str)
}

/// A device as the last words of a command, after the flag that names where it is.
pub(super) fn device(name: &str) -> String {
    format!("{}{}", place(), operand(name))
}

/// The same, as the value of a flag.
pub(super) fn device_flag(flag: &str, name: &str) -> String {
    format!("{}{flag}={}", place(), quoted(name))
}

/// A device of a command that knows the store alone, as its last words.
pub(super) fn stored_device(name: &str) -> String {
    format!("{}{}", STORE.get().map_or("", String::as_str), operand(name))
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
    if !is_visible(text) {
        return format!("\"$(printf %b '{}')\"", for_printf(text));
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What printf's `%b` turns into `text`: visible, though the text holds what cannot be seen. A line end at the very end is
/// lost in the shell.
fn for_printf(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        if is_seen(character) && !['\'', '\\'].contains(&character) {
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
    // A bare word that begins with a dash is cut at its first dot.
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    // Typographic quotes end a word too; and a backslash at the end would escape the quote for the program.
    if text.contains(['"', '$', '`', '%', '“', '”', '„']) || text.ends_with('\\') || !is_visible(text) {
        return powershell_string(text);
    }
    format!("\"{text}\"")
}

/// `text` as a string of PowerShell, in quotes. Every character of it can be seen.
fn powershell_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    if is_visible(text) {
        for character in text.chars() {
            string.extend(std::iter::repeat_n(character, if "'‘’‚‛".contains(character) { 2 } else { 1 }));
        }
        return format!("'{string}'");
    }
    for character in text.chars() {
        if !is_seen(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                string.push_str(&format!("$([char]0x{unit:04X})"));
            }
            continue;
        }
        if "\"“”„$`".contains(character) {
            string.push('`');
        }
        string.push(character);
    }
    format!("\"{string}\"")
}

fn is_visible(text: &str) -> bool {
    text.chars().all(is_seen)
}

fn is_seen(character: char) -> bool {
    escaped(character.encode_utf8(&mut [0; 4])).starts_with(character)
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
            for desk in [Desk::Linux, Desk::Windows] {
                let shown = [desk.quoted(word), desk.with_variable("X", word, "tbprov")];
                for shown in shown {
                    assert_eq!(escaped(&shown), shown);
                }
            }
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
            ("-x.pem", "\"-x.pem\""),
            ("a\u{202e}b", "\"a$([char]0x202E)b\""),
            ("it's\n\"$x`” '", "\"it's$([char]0x000A)`\"`$x```” '\""),
            ("\u{e0041}", "\"$([char]0xDB40)$([char]0xDC41)\""),
        ] {
            assert_eq!(for_powershell(word), written);
        }
    }

    #[test]
    fn the_value_of_a_variable_is_no_command() {
        for (value, on_linux, on_windows) in [
            ("x7", "X=x7 tbprov sim", "$env:X = 'x7'; tbprov sim"),
            ("it's", r"X='it'\''s' tbprov sim", "$env:X = 'it''s'; tbprov sim"),
            ("a’b", "X='a’b' tbprov sim", "$env:X = 'a’’b'; tbprov sim"),
            ("a b", "X='a b' tbprov sim", "$env:X = 'a b'; tbprov sim"),
            ("", "X='' tbprov sim", "$env:X = ''; tbprov sim"),
        ] {
            assert_eq!(Desk::Linux.with_variable("X", value, "tbprov sim"), on_linux);
            assert_eq!(Desk::Windows.with_variable("X", value, "tbprov sim"), on_windows);
        }
    }

    #[test]
    fn a_dash_at_the_beginning_makes_no_flag() {
        assert_eq!(Desk::Linux.operand("-x"), "-- -x");
        assert_eq!(Desk::Linux.operand("x"), "x");
        assert_eq!(Desk::Windows.operand("-x.y"), "-- \"-x.y\"");
        assert_eq!(Desk::Linux.quoted_path(Path::new("-x.pem")), "./-x.pem");
        assert_eq!(Desk::Windows.quoted_path(Path::new("-x.pem")), r".\-x.pem");
    }
}
