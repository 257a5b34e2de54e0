//! Each error code has a case in words and one as JSON, or a reason why it has none.

use tbprov::ErrorCode;

use crate::snapshot::folder;

/// The codes without a case, and why.
const WITHOUT: &[(ErrorCode, &str)] = &[
    (
        ErrorCode::FirmwareChip,
        "needs a board that answers, or one that is silent for all of the tries: tests/flash.rs",
    ),
    (ErrorCode::FirmwareFlash, "needs a board whose cable is pulled: tests/flash.rs"),
    (ErrorCode::FirmwareReadBack, "needs a board with a worn flash: tests/flash.rs"),
    (ErrorCode::LedgerReadOnly, "needs a user who is not root: tests/ledger/bad.rs"),
    (ErrorCode::LedgerNetwork, "needs a network drive: src/ledger/sqlite/network.rs"),
    (
        ErrorCode::LedgerBusy,
        "needs a program that holds the ledger for as long as it is waited for: tests/ledger",
    ),
    (ErrorCode::SystemLimit, "needs a system that gives no thread: tests/cli/limits.rs"),
    (ErrorCode::IdentityClock, "needs a clock that is wrong: tests/peers/issuing.rs"),
    (ErrorCode::Bug, "nothing from outside leads to a defect, or it would be mended"),
];

/// All snapshots of results and errors.
fn every_snapshot() -> String {
    let files =
        ["results", "errors"].iter().flat_map(|group| std::fs::read_dir(folder().join(group)).unwrap());
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_code_has_a_case_or_a_reason() {
    let snapshots = every_snapshot();
    let wrong: Vec<_> = ErrorCode::ALL
        .iter()
        .filter_map(|code| {
            let code_text = code.as_str();
            let in_words = snapshots.contains(&format!("error[{code_text}]"));
            let as_json = snapshots.contains(&format!("\"code\":\"{code_text}\""))
                || snapshots.contains(&format!("\"code\": \"{code_text}\""));
            match (in_words, as_json, WITHOUT.iter().any(|(without, _)| without == code)) {
                (true, true, false) | (false, false, true) => None,
                (_, _, true) => Some(format!("{code_text} has a case, and a reason for none")),
                (..) => Some(format!("{code_text}: in words {in_words}, as JSON {as_json}")),
            }
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
