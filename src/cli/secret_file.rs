//! A secret that a flag gives, or that a file or stdin holds.

use std::convert::Infallible;
use std::io::{self, BufRead, ErrorKind, Read as _};
use std::path::Path;

use super::context::Context;
use tbprov::error::Hint;
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Secret, blocking};

/// Bytes of a provision secret's line, at the most; ThingsBoard's own have 20.
const LONGEST_SECRET: usize = 4096;

/// For clap, which would show a value of another type.
pub(super) fn clap_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// The first line of a file, or of stdin, without its end; `what` names it in errors. Read on a thread of its
/// own, because whoever types or pipes it may take long, or never do it: Ctrl-C ends the wait.
pub(super) async fn read(context: &Context, path: &Path, what: &str) -> Result<Secret> {
    let file = path.to_owned();
    let read = context.interruptible(blocking(move || Ok(first_line(&file)))).await?;
    read.map_err(|error| unreadable(path, what, error))
}

/// Where there is no such file, its name may be the secret itself: it is not shown.
fn unreadable(path: &Path, what: &str, error: io::Error) -> Error {
    let failed =
        |code, why: &str| Error::new(code, format!("cannot read {what} from {}: {why}", shown_path(path)));
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::InvalidFilename | ErrorKind::NotADirectory => {
            let message =
                format!("cannot read {what}: there is no file of the name that was given (it is not shown)");
            Error::new(ErrorCode::FileNotFound, message).hint(Hint::SecretFile).source(error)
        }
        ErrorKind::InvalidData => {
            failed(ErrorCode::FileIo, "its encoding is not UTF-8").hint(Hint::PlainText).source(error)
        }
        ErrorKind::FileTooLarge => {
            let why = format!("its first line has more than {LONGEST_SECRET} bytes");
            failed(ErrorCode::UsageInvalid, &why)
        }
        _ => failed(ErrorCode::FileIo, &error.to_string()).source(error),
    }
}

fn first_line(path: &Path) -> io::Result<Secret> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(io::BufReader::new(std::fs::File::open(path)?))
    };
    // With its end, and in one allocation, so that no copy of it is left behind by growing.
    let most = LONGEST_SECRET + "\r\n".len();
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(most + 1));
    reader.take(most as u64 + 1).read_until(b'\n', &mut line)?;
    let line = str::from_utf8(&line).map_err(|_| ErrorKind::InvalidData)?;
    // What Windows' editors call Unicode has a byte of zero beside each letter.
    if line.contains('\0') {
        return Err(ErrorKind::InvalidData.into());
    }
    let line = line.trim_end_matches(['\r', '\n']);
    if line.len() > LONGEST_SECRET {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(Secret::new(line.trim_start_matches('\u{feff}')))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;

    #[test]
    fn no_debug_of_the_arguments_shows_a_secret() {
        for line in [
            "provision --provision-secret hunter2",
            "sim --provision-secret hunter2",
            "sim --rest-port 0 --api-password hunter2",
            "firmware identity --device d --out o --wifi-ssid s --wifi-password hunter2",
        ] {
            let arguments =
                Cli::try_parse_from([&["tbprov"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
            let shown = format!("{:?}", arguments.unwrap());
            assert!(shown.contains("[secret]") && !shown.contains("hunter2"), "{shown}");
        }
    }
}
