//! What the documentation promises, against what there is.

use std::path::Path;

use tbprov::ErrorCode;

#[test]
fn every_error_code_is_in_the_documentation_of_the_protocol() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    // A published package has no documentation beside it.
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let missing: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| code.as_str())
        .filter(|code| !text.contains(&format!("`{code}`")))
        .collect();
    assert!(missing.is_empty(), "docs/protocol.md lacks {missing:?}");
}
