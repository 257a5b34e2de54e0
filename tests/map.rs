//! The map in `docs/architecture.md`: each room uses only those above it, none in its own row.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The first and the last word of the block in the document.
const FIRST: &str = "text";
const LAST: &str = "cli";
/// What is no room: the crate's root, and the lines that start the command.
const ROOTS: [&str; 2] = ["lib", "main"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The row of each room, from the top.
fn map() -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let block = text.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).find(|block| {
        let word =
            |line: Option<&str>| line.and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        word(block.lines().next()) == FIRST && word(block.lines().last()) == LAST
    });
    let rows = block.unwrap().lines().map(|line| line.split("  ").next().unwrap());
    rows.enumerate()
        .flat_map(|(row, rooms)| rooms.split(' ').map(move |room| (room.to_owned(), row)))
        .collect()
}

/// Every file of the crate but those that are tests as a whole.
fn sources() -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(ending) if ending == "rs" && !path.ends_with("tests.rs") => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// The room of a file below `src`.
fn room_of(file: &Path) -> String {
    let below = file.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file: without its comments, and without the tests at its end.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = ["#[cfg(test)]\nmod ", "#[cfg(all(test, "]
        .iter()
        .fold(&*text, |text, tests| text.split(tests).next().unwrap());
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The rooms that a piece of code names after `crate::` or `tbprov::`; names of the crate's root are told by their
/// capital, and are those of rooms that may be used by all below them.
fn used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for path in ["crate::", "tbprov::"] {
        for (at, _) in code.match_indices(path) {
            let rest = &code[at + path.len()..];
            // A longer word ends with it, or it is a part of another path.
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
            {
                continue;
            }
            let list = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap(),
                None => rest.split(|end: char| !end.is_alphanumeric() && end != '_').next().unwrap(),
            };
            let words = list.split(',').map(|item| item.trim().split("::").next().unwrap());
            rooms.extend(words.filter(|word| word.starts_with(char::is_lowercase)).map(str::to_owned));
        }
    }
    rooms
}

#[test]
fn every_room_is_in_the_map_and_uses_only_those_above_it() {
    let map = map();
    let (mut wrong, mut uses, mut rooms) = (Vec::new(), 0, BTreeSet::new());
    for file in sources() {
        let (room, shown) = (room_of(&file), file.strip_prefix(root()).unwrap().display().to_string());
        if ROOTS.contains(&&*room) {
            continue;
        }
        let row = *map.get(&room).unwrap_or_else(|| panic!("{shown}: no such room in the map"));
        rooms.insert(room.clone());
        for used in used(&code_of(&file)) {
            uses += 1;
            match map.get(&used) {
                None => wrong.push(format!("{shown}: '{used}' is not in the map")),
                Some(_) if used == room => {}
                Some(above) if *above < row => {}
                Some(_) => wrong.push(format!("{shown}: {room} uses {used}, which is not above it")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(uses > 300, "only {uses} uses were found");
    let missing: Vec<_> = map.keys().filter(|room| !rooms.contains(*room)).collect();
    assert!(missing.is_empty(), "rooms without a file: {missing:?}");
}

/// What is two rooms away by `super` would not be seen.
#[test]
fn no_room_reaches_another_by_super() {
    for file in sources() {
        let below = file.strip_prefix(root().join("src")).unwrap().with_extension("");
        let depth = below.components().filter(|part| part.as_os_str() != "mod").count();
        let code = code_of(&file);
        // `mod unix { use super::… }` is a module within the file, one deeper.
        let reach = "super::".repeat(depth);
        let reaches = code.lines().any(|line| !line.starts_with(' ') && line.contains(&reach));
        assert!(!reaches, "{} names the crate's root by '{reach}'", file.display());
    }
}

#[test]
fn uses_are_read_as_they_are_written() {
    let code = "use crate::error::{Error, Result};\nuse tbprov::{Secret, sim, tls::Trust};\n\
                let x = crate::clock::now(); pub(crate) fn f() { othercrate::x() }\nuse crate::ErrorCode;";
    assert_eq!(used(code), ["error", "clock", "sim", "tls"]);
}
