//! What the documentation promises, against what there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tbprov::ErrorCode;

#[test]
fn every_error_code_is_in_the_documentation_of_the_protocol_with_its_exit_code() {
    let text = read("docs/protocol.md");
    let rows =
        ErrorCode::ALL.iter().map(|code| format!("| `{}` | {} |", code.as_str(), code.kind().exit_code()));
    let missing: Vec<_> = rows.filter(|row| !text.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/protocol.md lacks {missing:?}");
}

/// The longest line of a document, in characters.
const LONGEST_LINE: usize = 120;

#[test]
fn no_line_of_a_document_is_too_long() {
    let documents = documents();
    assert!(documents.iter().any(|path| path.ends_with("README.zh-CN.md")), "{documents:?}");
    assert!(documents.iter().any(|path| path.ends_with("docs/protocol.md")), "{documents:?}");
    let long: Vec<_> = documents.iter().flat_map(|path| long_lines(path)).collect();
    assert!(long.is_empty(), "these lines have more than {LONGEST_LINE} characters:\n{}", long.join("\n"));
}

#[test]
fn tables_code_and_addresses_may_be_longer() {
    let words = "word ".repeat(30);
    let text = format!("| {words} |\n  ```sh\n  {words}\n  ```\n{words}\nhttps://example.com/{words}\n");
    assert_eq!(too_long(&text), [5]);
    assert_eq!(too_long(&"字".repeat(LONGEST_LINE)), [0_usize; 0]);
    assert_eq!(too_long(&"字".repeat(LONGEST_LINE + 1)), [1]);
}

#[test]
fn a_translation_has_the_same_sections_names_and_commands() {
    let translations: Vec<_> = documents().into_iter().filter(|path| is_translation(path)).collect();
    assert!(translations.len() >= 3, "{translations:?}");
    for translation in &translations {
        let original = translation.to_str().unwrap().replace(TRANSLATION, ".md");
        let [english, chinese] =
            [Path::new(&original), translation].map(|path| std::fs::read_to_string(path).unwrap());
        let sections = |text: &str| text.lines().filter(|line| line.starts_with("## ")).count();
        assert_eq!(sections(&english), sections(&chinese), "{original}");
        let [(names, code), (chinese_names, chinese_code)] =
            [&english, &chinese].map(|text| names_and_code(text));
        assert_eq!(names, chinese_names, "{original}");
        assert_eq!(code, chinese_code, "{original}");
    }
}

#[test]
fn downloads_are_named_as_this_release_makes_them() {
    for document in ["README.md", "README.zh-CN.md", "docs/install.md", "docs/install.zh-CN.md"] {
        let text = read(document);
        let begins_with_digit = |rest: &&str| rest.starts_with(|first: char| first.is_ascii_digit());
        let versions = ["tbprov-", "tbprov_", "tbprov-contract-"]
            .iter()
            .flat_map(|name| text.split(name).skip(1).filter(begins_with_digit));
        let versions: Vec<_> = versions.map(|rest| rest.get(..VERSION.len())).collect();
        assert!(versions.len() >= 4, "{document}: {versions:?}");
        assert!(versions.iter().all(|version| *version == Some(VERSION)), "{document}: {versions:?}");
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How the name of a translation ends.
const TRANSLATION: &str = ".zh-CN.md";

fn is_translation(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(TRANSLATION))
}

#[test]
fn every_page_of_the_documentation_is_in_the_contents_of_the_site() {
    let contents = read("docs/site/SUMMARY.md");
    let pages = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let missing: Vec<_> =
        pages.filter(|page| page.ends_with(".md") && !contents.contains(&format!("](../{page})"))).collect();
    assert!(missing.is_empty(), "docs/site/SUMMARY.md lacks {missing:?}");
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What a document has between backticks, and the lines of its code blocks without their comments.
fn names_and_code(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut prose, mut code) = (String::new(), Vec::new());
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            code.push(line.split(" # ").next().unwrap_or(line).trim_end().to_owned());
        } else {
            prose.push_str(line.trim());
            prose.push(' ');
        }
    }
    let names = prose.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    (names, code)
}

/// Every Markdown file of the repository, without those of folders that are built or hidden.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_built = ["target", "corpus", "artifacts"].contains(&name.as_str());
            // A symbolic link is not followed.
            if entry.file_type().unwrap().is_dir() && !is_built && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found
}

fn long_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    too_long(&text).iter().map(|line| format!("{}:{line}", path.display())).collect()
}

/// The numbers of the lines that are too long. Table rows, code blocks and lines with an address may be longer.
fn too_long(text: &str) -> Vec<usize> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start();
        if content.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let may_be_longer = in_code
            || content.starts_with('|')
            || content.contains("http://")
            || content.contains("https://");
        if !may_be_longer && line.chars().count() > LONGEST_LINE {
            found.push(index + 1);
        }
    }
    found
}
