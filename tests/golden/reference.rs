//! `docs/reference.md`: the help of every command, in one page.

use std::path::Path;

use crate::help::{Help, every_help};
use crate::snapshot::same_as_file;

const HEAD: &str = "\
# Reference of the command line

What `--help` says of every command, of the same binary that the tests run. Generated: do not edit this page, change the
help in `src/cli` and run `SNAPSHOTS=overwrite cargo test --test golden`.

| command | what it is for |
|---|---|
";

/// GitHub's own anchor of a heading.
fn anchor(title: &str) -> String {
    title.replace(' ', "-")
}

/// The first line of the help: what the command is for.
fn purpose(help: &Help) -> String {
    let paragraph = help.text.lines().take_while(|line| !line.is_empty());
    paragraph.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

fn reference() -> String {
    let every = every_help();
    let mut page = HEAD.to_owned();
    for help in &every {
        let title = help.title();
        let purpose = purpose(help).replace('|', "\\|");
        page.push_str(&format!("| [`{title}`](#{}) | {purpose} |\n", anchor(&title)));
    }
    for help in &every {
        page.push_str(&format!("\n## {}\n\n```text\n", help.title()));
        for line in help.text.lines() {
            page.push_str(line.trim_end());
            page.push('\n');
        }
        page.push_str("```\n");
    }
    page
}

#[test]
fn the_reference_is_the_help_of_every_command() {
    same_as_file(&reference(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md"));
}
