//! One tbprov on a device at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::io_error;
use crate::error::{Error, ErrorCode, Result};

/// Held while this process works on a device; the operating system frees it when the process ends, however
/// it ends. The file itself stays: removing it would let two processes hold 'the' lock.
#[derive(Debug)]
pub struct DeviceLock {
    _file: File,
    folder: String,
}

impl DeviceLock {
    pub(crate) fn take(root: &Path, folder: &str, device: &str) -> Result<Self> {
        let locks = root.join(".locks");
        super::create_directory(&locks)?;
        let path = locks.join(format!("{folder}.lock"));
        if path.is_symlink() {
            let error =
                std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is a link to somewhere else");
            return Err(io_error("lock", &path, error));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io_error("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {
                // Only for the message that another process shows: not worth failing for.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { _file: file, folder: folder.to_owned() })
            }
            Err(TryLockError::WouldBlock) => Err(held(file, device)),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path, error)),
        }
    }

    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }
}

fn held(file: File, device: &str) -> Error {
    let mut holder = String::new();
    let _ = file.take(20).read_to_string(&mut holder);
    let holder = match holder.trim().parse::<u32>() {
        Ok(process) => format!(" (process {process})"),
        Err(_) => String::new(),
    };
    let message = format!("another tbprov{holder} is working on the device '{device}'");
    Error::new(ErrorCode::StoreLocked, message)
}
