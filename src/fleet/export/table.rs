//! The table that ThingsBoard imports devices from (Devices > + > Import device, and `POST /api/device/bulk_import`).

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use csv::{Terminator, WriterBuilder};

use super::{Done, Exported};
use crate::error::{Error, ErrorCode, Result};
use crate::fleet::pages::Pages;
use crate::ledger::roster::{Listed, Roster, Selection};
use crate::ledger::{Kept, Which};

/// The names of the columns. The web page takes a name that equals a column type for that type, whatever its case, and
/// another one for a server attribute (ThingsBoard 3.3 and later, `import-dialog-csv.component.ts`).
const HEADER: [&str; 7] = ["NAME", "TYPE", "LABEL", "X509", "IS_GATEWAY", "serial", "mac"];

/// What the rows of the ledger do not say.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// The name of the device profile. The import makes one where there is none.
    pub profile: &'a str,
}

/// Writes the table: a line for each device that has a certificate.
///
/// A device is one line, because the web page splits the file at line ends before it looks at quotes. So the
/// certificate is the bare base64 of its DER: what ThingsBoard keeps of a PEM text too (`EncryptionUtil`,
/// `certTrimNewLines`).
///
/// # Errors
/// `ledger/…`; `file/io` when it cannot be written.
pub async fn table(
    roster: &dyn Roster,
    columns: Columns<'_>,
    out: &mut (dyn Write + Send),
) -> Result<Exported> {
    let mut exported = Exported::default();
    let mut table = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(out);
    table.write_record(HEADER).map_err(unwritten)?;
    let mut pages = Pages::of(roster, Selection::default());
    while let Some(rows) = pages.page().await? {
        for row in rows {
            match cells(roster, columns, row).await? {
                Some(cells) => {
                    table.write_record(cells).map_err(unwritten)?;
                    exported.count(Done::Written);
                }
                None => exported.count(Done::Skipped),
            }
        }
    }
    table.flush().map_err(unwritten)?;
    Ok(exported)
}

async fn cells(
    roster: &dyn Roster,
    columns: Columns<'_>,
    listed: Listed,
) -> Result<Option<[String; HEADER.len()]>> {
    let Some(entry) = listed.entry.filter(|entry| entry.record.identity.credentials_id.is_some()) else {
        return Ok(None);
    };
    let Kept::X509 { chain, .. } = roster.key(&entry, Which::Current).await? else { return Ok(None) };
    let Some(leaf) = chain.first() else { return Ok(None) };
    let row = listed.row;
    let is_gateway = row.gateway || entry.record.wishes.gateway;
    Ok(Some([
        one_line(row.name.as_str()),
        one_line(columns.profile),
        one_line(&row.label.unwrap_or_default()),
        STANDARD.encode(leaf.der()),
        is_gateway.to_string(),
        one_line(&row.serial.unwrap_or_default()),
        row.mac.unwrap_or_default(),
    ]))
}

/// Without line ends, which would end the device.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn unwritten(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let error = error.into();
    Error::new(ErrorCode::FileIo, format!("the table could not be written: {error}")).source(error)
}
