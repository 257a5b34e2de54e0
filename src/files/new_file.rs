//! A new file that is written piece by piece, and is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::blocked::patiently;
use super::write::{begin_new, beside};
use super::{Access, Failure, durable, sync_directory};

/// A file that grows under another name, and gets its own when it is [finished](NewFile::finish). Dropped before, it
/// leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    writer: BufWriter<File>,
}

impl NewFile {
    /// Begins the file at `path`. What a killed run left beside it is removed.
    ///
    /// # Errors
    /// `file/exists` where something has its name, and where the system refuses it.
    pub fn begin(path: &Path, access: Access) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new("create", path, io::ErrorKind::AlreadyExists.into()));
        }
        let beside = beside(path);
        let _ = fs::remove_file(&beside);
        let file = begin_new(&beside, access).map_err(|failure| match failure.is_existing() {
            true => Failure::taken(&beside),
            false => failure.of("create", path),
        })?;
        Ok(Self { path: path.to_owned(), beside, writer: BufWriter::new(file) })
    }

    /// Gives the file its name, durably; never over another one.
    ///
    /// # Errors
    /// `file/exists` where something has got its name meanwhile, and where the system refuses it.
    pub fn finish(mut self) -> Result<(), Failure> {
        let cannot = |error| Failure::new("write", &self.path, error);
        self.writer.flush().map_err(cannot)?;
        durable::sync(self.writer.get_ref(), &self.path).map_err(cannot)?;
        self.take_name().map_err(|error| Failure::new("create", &self.path, error))?;
        sync_directory(self.path.parent().unwrap_or(Path::new("")))
    }

    /// By a link, which fails where the name is taken. Not every file system has links.
    fn take_name(&self) -> io::Result<()> {
        match fs::hard_link(&self.beside, &self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                if self.path.symlink_metadata().is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                patiently(|| fs::rename(&self.beside, &self.path))
            }
            linked => linked,
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.beside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.csv");
        let mut file = NewFile::begin(&path, Access::Everybody).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(names(folder.path()), 0);
        let mut file = NewFile::begin(&path, Access::Everybody).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"whole".to_vec(), 1));
    }

    #[test]
    fn it_takes_no_name_that_another_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.csv");
        let file = NewFile::begin(&path, Access::Everybody).unwrap();
        super::super::write_new(&path, b"other", Access::Everybody).unwrap();
        assert!(file.finish().unwrap_err().is_existing());
        assert!(NewFile::begin(&path, Access::Everybody).unwrap_err().is_existing());
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"other".to_vec(), 1));
    }
}
