//! The firmware's sources: in a folder, and in this very program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Progress;
use crate::files::{self, Access};

/// What is written out, as `build.rs` packed it.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firmware-sources.bin"));

/// Where the sources are looked for when nobody names a folder.
const DEFAULT: &str = "./firmware";
const MANIFEST: &str = "Cargo.toml";
const PARTITIONS: &str = "partitions.csv";

/// A folder with the firmware's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    directory: PathBuf,
    partitions: String,
}

impl Sources {
    /// The sources in `named`, else in `./firmware`.
    ///
    /// # Errors
    /// `firmware/sources` when there are none, or when their partition table cannot be read.
    pub fn find(named: Option<&Path>) -> Result<Self> {
        let directory = named.unwrap_or(Path::new(DEFAULT));
        for file in [MANIFEST, PARTITIONS] {
            if !directory.join(file).is_file() {
                let message =
                    format!("no firmware in {}: there is no {file}", crate::text::shown_path(directory));
                return Err(Error::new(ErrorCode::FirmwareSources, message));
            }
        }
        let path = directory.join(PARTITIONS);
        let partitions = fs::read_to_string(&path).map_err(|error| {
            let message = format!("{} cannot be read: {error}", crate::text::shown_path(path));
            Error::new(ErrorCode::FirmwareSources, message).source(error)
        })?;
        Ok(Self { directory: directory.to_owned(), partitions })
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The text of their partition table.
    pub fn partitions(&self) -> &str {
        &self.partitions
    }
}

/// The partition table of the embedded sources.
///
/// # Errors
/// `internal/bug` when it is not among them.
pub fn embedded_partitions() -> Result<String> {
    embedded()?.remove(PARTITIONS).ok_or_else(|| damaged("no partition table"))
}

/// Every embedded file with its path in a new folder.
fn embedded() -> Result<BTreeMap<String, String>> {
    let mut text = String::new();
    let read = DeflateDecoder::new(EMBEDDED).read_to_string(&mut text);
    read.map_err(|error| damaged("no text").source(error))?;
    let (mut files, mut rest) = (BTreeMap::new(), text.as_str());
    while !rest.is_empty() {
        let (name, content, others) = first(rest).ok_or_else(|| damaged("no files"))?;
        files.insert(name.to_owned(), content.to_owned());
        rest = others;
    }
    Ok(files)
}

/// The name and the content of the first file, and what follows it.
fn first(text: &str) -> Option<(&str, &str, &str)> {
    let (head, after) = text.split_once('\n')?;
    let (length, name) = head.split_once(' ')?;
    let (content, others) = after.split_at_checked(length.parse().ok()?)?;
    Some((name, content, others))
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorCode::Bug, format!("the embedded sources are damaged: {what}"))
}

/// Writes the embedded sources to `directory`, which is not there or empty, and tells how many files they are:
/// beside it first and renamed when complete, so that what is there is whole.
///
/// # Errors
/// `file/exists` when something is there, `store/io`.
pub fn write_out(directory: &Path, progress: &Progress) -> Result<usize> {
    refuse_what_is_used(directory)?;
    let Some(name) = directory.file_name() else {
        let message = format!("{} is no name for a new folder", crate::text::shown_path(directory));
        return Err(Error::new(ErrorCode::UsageInvalid, message));
    };
    progress.begin(Step::Stage);
    let above = directory.parent().unwrap_or(Path::new(""));
    let beside = above.join(format!(".{}.tbprov-init", name.to_string_lossy()));
    // What a killed run left; the name is nobody else's.
    let _ = files::remove_directory(&beside);
    let written = write_all(&beside).and_then(|count| put_in_place(&beside, directory).map(|()| count));
    if written.is_err() {
        let _ = files::remove_directory(&beside);
    }
    let count = written?;
    files::sync_directory(above)?;
    Ok(count)
}

fn refuse_what_is_used(directory: &Path) -> Result<()> {
    if directory.is_file() {
        return Err(used(directory, "is a file"));
    }
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(used(directory, "is in a file")),
        Err(error) => Err(failed("read", directory, error)),
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(used(directory, "is not empty"))),
    }
}

fn used(directory: &Path, why: &str) -> Error {
    Error::new(ErrorCode::FileExists, format!("{} {why}", crate::text::shown_path(directory)))
        .hint(Hint::SourcesExist)
}

fn write_all(directory: &Path) -> Result<usize> {
    let sources = embedded()?;
    for (name, content) in &sources {
        let path = directory.join(name);
        files::create_open_directory(path.parent().unwrap_or(directory))?;
        files::write_new(&path, content.as_bytes(), Access::Everybody)?;
    }
    files::sync_directory(directory)?;
    Ok(sources.len())
}

/// Over an empty folder too, which only Unix replaces by itself.
fn put_in_place(beside: &Path, directory: &Path) -> Result<()> {
    let _ = files::remove_empty_directory(directory);
    Ok(files::rename(beside, directory)?)
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {what} {}: {error}", crate::text::shown_path(path));
    Error::new(ErrorCode::StoreIo, message).source(error).hint(Hint::WriteSources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_out(directory: &Path) -> Result<usize> {
        super::write_out(directory, &Progress::silent())
    }

    #[test]
    fn sources_are_written_whole_and_never_over_others() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("firmware");
        let count = write_out(&directory).unwrap();
        assert_eq!(count, embedded().unwrap().len());
        assert_eq!(Sources::find(Some(&directory)).unwrap().directory(), directory);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(write_out(&directory).unwrap_err().code, ErrorCode::FileExists);
    }

    #[test]
    fn an_empty_folder_and_what_a_killed_run_left_are_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("firmware");
        files::create_directory(&directory).unwrap();
        files::create_directory(&folder.path().join(".firmware.tbprov-init/src")).unwrap();
        write_out(&directory).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_to_a_file_or_to_no_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(write_out(file.path()).unwrap_err().code, ErrorCode::FileExists);
        let above = tempfile::tempdir().unwrap().path().join("..");
        assert!(write_out(&above).is_err());
    }

    #[test]
    fn the_embedded_table_is_the_repositorys() {
        assert_eq!(embedded_partitions().unwrap(), include_str!("../../firmware/partitions.csv"));
    }
}
