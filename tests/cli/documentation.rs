//! What the documentation promises, against what there is.

use std::path::Path;

use tbprov::ErrorCode;

#[test]
fn every_error_code_is_in_the_documentation_of_the_protocol_with_its_exit_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows =
        ErrorCode::ALL.iter().map(|code| format!("| `{}` | {} |", code.as_str(), code.kind().exit_code()));
    let missing: Vec<_> = rows.filter(|row| !text.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/protocol.md lacks {missing:?}");
}
