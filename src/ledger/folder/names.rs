//! How a device's name becomes a folder's.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization as _;

/// What some file system forbids, and `%` itself.
const FORBIDDEN: &AsciiSet = &CONTROLS
    .add(b'/')
    .add(b'\\')
    .add(b':')
    .add(b'*')
    .add(b'?')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'|')
    .add(b'%');

/// The longest folder name, in bytes; file systems allow 255, and a lock or a temporary name adds some.
const LONGEST: usize = 200;

/// Hex digits of the name's SHA-256 that tell shortened names apart.
const DIGEST_DIGITS: usize = 16;

/// The prefix of the folders of devices that the server names.
const UNNAMED: &str = "unnamed";

/// Names that Windows keeps for itself, with or without an extension; those of ports have a digit.
const RESERVED: &[&str] = &["con", "prn", "aux", "nul", "com", "lpt"];

/// Names of Windows's console: a device to open, and no name of a file.
const CONSOLE: &[&str] = &["conin$", "conout$"];

/// The folder of a device called `name`: the name itself wherever every file system allows it. Names that look the
/// same, because an accent is written in two ways, have one folder.
///
/// Forbidden characters are percent-encoded, as are a dot at the beginning (hidden, or `..`) and a dot or a
/// space at the end; a very long name is cut and told apart by a hash.
pub fn folder_name(name: &str) -> String {
    encoded(&name.nfc().collect::<String>(), is_reserved)
}

/// The folder of a device that the server names, with an identity of this name.
pub(super) fn unnamed(identity: &str) -> String {
    format!("{UNNAMED}-{identity}")
}

/// Whether `folder` is one that [`unnamed`] makes for an identity with this credentialsId.
pub(super) fn is_unnamed(folder: &str, credentials_id: &str) -> bool {
    let identity = folder.strip_prefix(UNNAMED).and_then(|rest| rest.strip_prefix('-'));
    identity.is_some_and(|identity| !identity.is_empty() && credentials_id.starts_with(identity))
}

/// The folders that a device called `name` may have: first that of this release, then those of earlier ones, which kept
/// a name, and one that looks the same, as it was written, and knew fewer of Windows's own names.
pub(super) fn folders_of(name: &str) -> Vec<String> {
    let mut folders = Vec::new();
    if !name.is_empty() {
        let [composed, decomposed]: [String; 2] = [name.nfc().collect(), name.nfd().collect()];
        for written in [composed.as_str(), name, decomposed.as_str()] {
            for reserved in RESERVATIONS {
                let folder = encoded(written, *reserved);
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
        }
    }
    folders
}

/// Whether `folder` is the one of a device called `name`, in this release or an earlier one. Some file systems spell a
/// name in their own way.
pub(super) fn is_folder_of(folder: &str, name: &str) -> bool {
    let composed = |text: &str| text.nfc().collect::<String>();
    folders_of(name).iter().any(|own| composed(own).eq_ignore_ascii_case(&composed(folder)))
}

/// As [`folder_name`], of the very characters of `name`.
fn encoded(name: &str, is_reserved: fn(&str) -> bool) -> String {
    let mut encoded: String = name.chars().map(encode).collect();
    if let Some(rest) = encoded.strip_prefix('.') {
        encoded = format!("%2E{rest}");
    }
    if let Some(last) = encoded.chars().last().filter(|last| ['.', ' '].contains(last)) {
        encoded.truncate(encoded.len() - 1);
        encoded.push_str(if last == '.' { "%2E" } else { "%20" });
    }
    if is_reserved(&encoded) {
        encoded.insert(0, '%');
    }
    if encoded.len() <= LONGEST {
        return encoded;
    }
    let digest = crate::identity::sha256_hex(name.as_bytes());
    let mut end = LONGEST - DIGEST_DIGITS - 1;
    while !encoded.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}%{}", &encoded[..end], &digest[..DIGEST_DIGITS])
}

fn encode(character: char) -> String {
    let mut buffer = [0u8; 4];
    let text = character.encode_utf8(&mut buffer);
    if character.is_ascii() { utf8_percent_encode(text, FORBIDDEN).to_string() } else { text.to_owned() }
}

/// Whether Windows keeps the name for itself. It does not count blanks before a dot, and takes `¹`, `²` and `³` for
/// digits.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_lowercase();
    let is_digit = |character: char| character.is_ascii_digit() || "¹²³".contains(character);
    CONSOLE.contains(&stem.as_str())
        || (RESERVED.contains(&stem.trim_end_matches(is_digit)) && stem.chars().count() <= 4)
}

/// How names were kept from Windows, in this release and up to 0.2. On Windows the latter is not looked for: a folder of
/// such a name cannot be there, and a look at it would open a device.
const RESERVATIONS: &[fn(&str) -> bool] =
    if cfg!(windows) { &[is_reserved] } else { &[is_reserved, was_reserved] };

/// As up to 0.2, of which there are stores.
fn was_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let letters = stem.trim_end_matches(|character: char| character.is_ascii_digit());
    RESERVED.contains(&letters) && stem.len() <= 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["sensor-01", "Temperatur Küche", "传感器"] {
            assert_eq!(folder_name(name), name);
        }
    }

    #[test]
    fn names_that_look_like_paths_are_harmless() {
        for (name, folder) in [
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("..", "%2E%2E"),
            (".hidden", "%2Ehidden"),
            ("C:\\x", "C%3A\\x".replace('\\', "%5C").as_str()),
            ("nul.txt", "%nul.txt"),
            ("tab\there", "tab%09here"),
        ] {
            assert_eq!(folder_name(name), folder);
        }
    }

    #[test]
    fn what_windows_keeps_for_itself_is_no_folder() {
        for reserved in [
            "CON",
            "prn",
            "Aux.log",
            "nul",
            "nul.tar.gz",
            "nul .x",
            "nul  .x",
            "COM1",
            "com9.txt",
            "LPT1",
            "COM¹",
            "com².x",
            "LPT³",
            "CONIN$",
            "conout$",
            "CONOUT$.txt",
            "conin$ .x",
        ] {
            assert_eq!(folder_name(reserved), format!("%{reserved}"));
        }
        for free in ["console", "nulls", "com10", "COM¹²", "conin", "CONIN$$", "my nul", "x.nul", "com⁴"]
        {
            assert_eq!(folder_name(free), free);
        }
    }

    #[test]
    fn the_folder_of_an_earlier_release_is_found() {
        for name in ["CONIN$", "nul .x", "COM¹", "conout$.ü"] {
            assert_eq!(folders_of(name)[0], format!("%{name}"));
            let is_looked_for = folders_of(name).contains(&name.to_owned()) && is_folder_of(name, name);
            assert_eq!(is_looked_for, !cfg!(windows), "{name}");
        }
        assert_eq!(folders_of("nul.txt"), ["%nul.txt"]);
        assert_eq!(folders_of("sensor-01"), ["sensor-01"]);
    }

    proptest! {
        #[test]
        fn every_name_is_one_folder_and_different_names_are_different_folders(first in ".{1,300}", second in ".{1,300}") {
            let folder = folder_name(&first);
            prop_assert!(folder.len() <= LONGEST && !folder.is_empty());
            prop_assert!(!folder.contains(['/', '\\', '\0']) && !folder.starts_with('.') && !folder.ends_with(['.', ' ']));
            let is_one = first.nfc().eq(second.nfc());
            prop_assert_eq!(is_one, folder == folder_name(&second));
        }
    }
}
