//! What is wrong with a line of `tbprov.toml`, and what to write instead, without what stands in it.

use super::values;

/// The names of lines.
const NAMES: &[&str] = &[
    "host",
    "port",
    "provision-key",
    "provision-secret",
    "provision-secret-file",
    "device-name",
    "server-cert",
    "skip-name-check",
    "key-type",
    "days",
    "credentials-type",
    "gateway",
    "timeout",
    "proxy",
    "store",
    "chip",
    "firmware-dir",
    "api-url",
    "api-user",
    "api-key-file",
    "api-password-file",
    "api-cert",
];

/// Lines whose value is a number.
const NUMBERS: &[&str] = &["port", "days"];
/// Lines whose value is true or false.
const SWITCHES: &[&str] = &["skip-name-check", "gateway"];

/// How alike two names are that may be the same, from 0 to 1.
const ALIKE: f64 = 0.7;

/// What `line` has to be instead, if that can be told; else what the parser says, without values.
pub(super) fn explained(line: &str, said: &str) -> String {
    let line = line.trim_start_matches('\u{feff}');
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (line.trim(), None),
    };
    if said.starts_with("duplicate key") && NAMES.contains(&name) {
        return format!("{name} stands in the file twice");
    }
    of_name(name, value.is_some(), said)
        .or_else(|| value.and_then(|value| of_value(name.trim_matches(['"', '\'']), value)))
        .unwrap_or_else(|| without_values(said))
}

/// What is wrong on the left of the equals sign.
fn of_name(name: &str, has_value: bool, said: &str) -> Option<String> {
    let bare = name.strip_prefix("export ").unwrap_or(name).trim_matches(['[', ']', '"', '\'', ' ']);
    if let Some(variable) = bare.strip_prefix("TBPROV_") {
        let line = variable.to_lowercase().replace('_', "-");
        let line = NAMES.iter().find(|name| **name == line)?;
        return Some(format!("TBPROV_… is the name of a variable; here the line is called {line} = …"));
    }
    if name.starts_with('[') && name.ends_with(']') {
        return Some("the file has no sections: leave out the line in brackets".to_owned());
    }
    if name.starts_with('{') {
        return Some("this is JSON; a line is NAME = \"VALUE\"".to_owned());
    }
    if !has_value {
        let colon = line_of_colon(name)?;
        return Some(format!("an equals sign is needed: {colon} = …"));
    }
    if !said.starts_with("unknown field") {
        return None;
    }
    let alike = |other: &&&str| strsim::jaro_winkler(bare, other);
    let nearest = NAMES.iter().max_by(|one, other| alike(one).total_cmp(&alike(other)))?;
    let name = if values::may_be_secret(bare) {
        "field".to_owned()
    } else {
        format!("field `{}`", tbprov::text::shown(bare))
    };
    if alike(&nearest) < ALIKE {
        return Some(format!("unknown {name}; one of {}", NAMES.join(", ")));
    }
    Some(format!("unknown {name}; did you mean `{nearest}`?"))
}

/// The name of a line that has a colon, as YAML has it, or nothing at all.
fn line_of_colon(line: &str) -> Option<&'static str> {
    let word = line.split([':', ' ']).next().unwrap_or_default().trim_matches('"');
    NAMES.iter().find(|name| **name == word).copied()
}

/// What is wrong on the right of the equals sign of the line `name`.
fn of_value(name: &str, value: &str) -> Option<String> {
    let name = NAMES.iter().find(|known| **known == name)?;
    let bare = value.trim_matches(['"', '\'', '“', '”', ' ']);
    let is_number = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
    if NUMBERS.contains(name) {
        let largest = if *name == "port" { "1 to 65535" } else { "1 or more" };
        return Some(match bare != value && is_number {
            true => format!("{name} is a number ({largest}), without quotes"),
            false => format!(
                "{name} is a number ({largest}), such as {name} = {}",
                if *name == "port" { 8883 } else { 3650 }
            ),
        });
    }
    if SWITCHES.contains(name) {
        return Some(format!("expected a boolean: {name} = true or {name} = false, without quotes"));
    }
    if value.starts_with('"') && value.contains('\\') {
        return Some(format!(
            "a backslash between double quotes begins an escape: write / instead, or single quotes: {name} = 'C:\\…'"
        ));
    }
    if !value.starts_with(['"', '\'', '[', '{']) {
        return Some(format!("a text needs quotes: {name} = \"…\""));
    }
    let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    match value.matches(quote).count() {
        1 => Some(format!("the quote at the end is missing: {name} = {quote}…{quote}")),
        2 => None,
        _ => Some(format!("a text with quotes in it needs the other kind around it: {name} = '…\"…'")),
    }
}

/// serde's messages on a wrong value quote it: `invalid type: string "…", expected u16`.
fn without_values(message: &str) -> String {
    let word = message.split('`').nth(1).unwrap_or_default();
    let quotes = message.starts_with("invalid ")
        || (message.starts_with("unknown variant") && values::may_be_secret(word));
    match (quotes, message.split_once(", expected ")) {
        (true, Some((_, expected))) => format!("expected {expected}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::NAMES;

    #[test]
    fn the_names_are_those_of_the_file() {
        let said = toml::from_str::<Config>("nonsense = 1").unwrap_err().to_string();
        let known: Vec<_> = said.split('`').skip(3).step_by(2).filter(|name| *name != "nonsense").collect();
        assert_eq!(known, NAMES, "{said}");
    }
}
