//! The scripts of the README do what it says.

use super::*;

/// The scripts, as they stand in the document: each code block that begins as a script does.
fn scripts(document: &str) -> Vec<String> {
    let text =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.filter(|block| block.starts_with("#!/bin/sh\n")).map(str::to_owned).collect()
}

#[test]
fn the_scripts_of_the_readme_run_to_their_end() {
    if installed("jq").is_none() {
        return;
    }
    let scripts = scripts("README.md");
    assert!(scripts.len() >= 2, "{scripts:?}");
    for script in scripts {
        let sandbox = Sandbox::new();
        std::fs::write(sandbox.path("script.sh"), &script).unwrap();
        // `tbprov` is the one that is tested.
        let folder = std::path::Path::new(env!("CARGO_BIN_EXE_tbprov")).parent().unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let ended = run(sandbox.command("sh").arg("script.sh").env("PATH", path));
        assert_eq!(ended.code, Some(0), "{script}\n{ended:?}");
    }
}
