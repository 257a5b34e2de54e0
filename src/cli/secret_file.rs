//! A secret that a flag gives, or that a file or stdin holds.

use std::convert::Infallible;
use std::io::{BufRead, Read as _};
use std::path::Path;

use super::context::Context;
use tbprov::{Error, ErrorCode, Result, Secret};

/// Bytes of a provision secret's line, at the most; ThingsBoard's own have 20.
const LONGEST_SECRET: usize = 4096;

/// For clap: a secret that no `Debug` of the arguments shows.
pub(super) fn clap_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// The first line of a file, or of stdin, without its end; `what` names it in errors. Read on a thread of its
/// own, because whoever types or pipes it may take long, or never do it: Ctrl-C ends the wait.
pub(super) async fn read(context: &Context, path: &Path, what: &str) -> Result<Secret> {
    let file = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || first_line(&file));
    let read = context
        .interruptible(async {
            reading
                .await
                .map_err(|error| Error::new(ErrorCode::Bug, format!("reading {what} failed")).source(error))
        })
        .await?;
    read.map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound {
            ErrorCode::FileNotFound
        } else {
            ErrorCode::FileIo
        };
        let message = format!("cannot read {what} from {}: {error}", path.display());
        Error::new(code, message).source(error)
    })
}

fn first_line(path: &Path) -> std::io::Result<Secret> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::io::BufReader::new(std::fs::File::open(path)?))
    };
    let mut line = zeroize::Zeroizing::new(String::with_capacity(LONGEST_SECRET));
    reader.take(LONGEST_SECRET as u64).read_line(&mut line)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).trim_start_matches('\u{feff}')))
}
