//! Identities and the certificates of servers, as they are kept.

use rusqlite::{Connection, OptionalExtension as _, params};
use zeroize::Zeroizing;

use super::failure::{Done, Failed, corrupt};
use crate::error::{Error, ErrorCode};
use crate::identity::{Certificate, CredentialsType, read_certificates, sha256_hex};
use crate::keys::Stored;
use crate::ledger::{Entry, IdentityRecord, Kept, Which, secrets};
use crate::secret::Secret;
use crate::tls::{Trust, TrustSource};

const HERE: &str = "here";
const TOKEN: &str = "token";
const CHIP: &str = "chip";

/// An identity as its row has it.
#[derive(Clone)]
pub(super) struct Columns {
    kind: CredentialsType,
    leaf: Option<String>,
    above: Option<String>,
    place: Option<&'static str>,
    secret: Option<Zeroizing<String>>,
}

impl Columns {
    pub(super) fn of(kept: &Kept) -> crate::Result<Self> {
        let kind = kept.credentials_type();
        let Kept::X509 { chain, key } = kept else {
            let json = secrets::to_json(kept)?;
            let json = String::from_utf8_lossy(&json).into_owned();
            return Ok(Self { kind, leaf: None, above: None, place: None, secret: Some(json.into()) });
        };
        let (place, secret) = match key {
            Stored::Bytes(pem) => (HERE, Some(pem)),
            Stored::Token(uri) => (TOKEN, Some(uri)),
            Stored::OnChip => (CHIP, None),
        };
        Ok(Self {
            kind,
            leaf: chain.first().map(Certificate::to_pem),
            above: pem_of(chain.get(1..).unwrap_or_default()),
            place: Some(place),
            secret: secret.map(|secret| Zeroizing::new(secret.expose().to_owned())),
        })
    }

    /// Adds the identity to a device. Fine when it is there already.
    pub(super) fn add(&self, db: &Connection, device: i64, name: &str) -> Done<()> {
        let above = self.above.as_deref().map(|pem| bundle(db, pem)).transpose()?;
        let mut insert = db.prepare_cached(
            "INSERT INTO identity (device, name, kind, leaf, above, place, secret) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?;
        let values = params![device, name, self.kind.as_str(), self.leaf, above, self.place, secret(self)];
        if insert.execute(values)? == 1 {
            return Ok(());
        }
        let mut select = db.prepare_cached(
            "SELECT 1 FROM identity WHERE device = ?1 AND name = ?2 AND kind = ?3 AND leaf IS ?4 \
             AND above IS ?5 AND place IS ?6 AND secret IS ?7",
        )?;
        if select.exists(params![
            device,
            name,
            self.kind.as_str(),
            self.leaf,
            above,
            self.place,
            secret(self)
        ])? {
            return Ok(());
        }
        let message = format!("the ledger has other credentials of the name {name} already");
        Err(Error::new(ErrorCode::StoreExists, message).into())
    }
}

fn secret(columns: &Columns) -> Option<&str> {
    columns.secret.as_ref().map(|secret| secret.as_str())
}

/// The certificates as one PEM text; `None` where there are none.
fn pem_of(certificates: &[Certificate]) -> Option<String> {
    (!certificates.is_empty()).then(|| certificates.iter().map(Certificate::to_pem).collect())
}

/// The certificates of a server that are kept; `None` if the system's roots are trusted.
pub(super) fn server_pem(trust: &Trust) -> Option<String> {
    match trust.source {
        TrustSource::System => None,
        TrustSource::File(_) => Some(trust.certificates.iter().map(Certificate::to_pem).collect()),
    }
}

/// The number of a list of certificates, which is kept once.
pub(super) fn bundle(db: &Connection, pem: &str) -> Done<i64> {
    let sha256 = sha256_hex(pem.as_bytes());
    let mut select = db.prepare_cached("SELECT id FROM bundle WHERE sha256 = ?1")?;
    if let Some(id) = select.query_row([&sha256], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    db.prepare_cached("INSERT INTO bundle (sha256, pem) VALUES (?1, ?2)")?.execute([&sha256, pem])?;
    Ok(db.last_insert_rowid())
}

/// The identity of a device, checked against its record.
pub(super) fn read(db: &Connection, device: i64, entry: &Entry, which: Which) -> Done<Kept> {
    let (name, identity) = entry.identity(which)?;
    let mut select = db.prepare_cached(
        "SELECT kind, leaf, pem, place, secret FROM identity LEFT JOIN bundle ON bundle.id = above \
         WHERE device = ?1 AND (?2 IS NULL OR name = ?2)",
    )?;
    let kept = select.query_row(params![device, name], |row| Ok(kept(row, entry))).optional()?;
    let Some(kept) = kept else {
        return Err(damaged(entry, "the credentials that its record names are missing"));
    };
    let kept = kept?;
    match fits(&kept, identity) {
        true => Ok(kept),
        false => Err(damaged(entry, "its credentials are not those of its record")),
    }
}

/// A token or basic credentials that the record of the device does not name.
pub(super) fn left_behind(db: &Connection, device: i64, entry: &Entry) -> Done<Option<Kept>> {
    let named = entry.record.identity_names();
    let mut select = db.prepare_cached(
        "SELECT kind, leaf, NULL, place, secret, name FROM identity WHERE device = ?1 AND kind <> 'x509'",
    )?;
    let mut rows = select.query([device])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(5)?;
        if entry.record.identity_name.is_some() && !named.contains(&name.as_str()) {
            return kept(row, entry).map(Some);
        }
    }
    Ok(None)
}

fn damaged(entry: &Entry, why: &str) -> Failed {
    Error::new(ErrorCode::StoreCorrupt, format!("'{}' is damaged: {why}", entry.shown_name())).into()
}

fn fits(kept: &Kept, identity: &IdentityRecord) -> bool {
    match kept {
        Kept::X509 { chain, .. } => {
            identity.credentials_type == CredentialsType::X509
                && chain.first().map(Certificate::credentials_id) == identity.credentials_id
        }
        other => other.credentials_type() == identity.credentials_type,
    }
}

/// Reads `kind, leaf, above, place, secret`.
fn kept(row: &rusqlite::Row<'_>, entry: &Entry) -> Done<Kept> {
    let origin = entry.place();
    let secret = row.get::<_, Option<String>>(4)?.map(Zeroizing::new);
    if row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? != CredentialsType::X509.as_str() {
        let json = secret.unwrap_or_default();
        return Ok(secrets::from_json(json.as_bytes(), &origin)?);
    }
    let mut pem: String = row.get(1)?;
    pem.push_str(&row.get::<_, Option<String>>(2)?.unwrap_or_default());
    let chain = read_certificates(&pem, &origin)
        .map_err(|error| Error::new(ErrorCode::StoreCorrupt, error.message))?;
    let key = match (row.get::<_, String>(3)?.as_str(), secret) {
        (HERE, Some(pem)) => Stored::Bytes(Secret::from(pem)),
        (TOKEN, Some(uri)) => Stored::Token(Secret::from(uri)),
        (CHIP, None) => Stored::OnChip,
        _ => return Err(damaged(entry, "its key is in no place that is known")),
    };
    Ok(Kept::X509 { chain, key })
}

/// What authenticates the server of the device with this number.
pub(super) fn trust(db: &Connection, device: i64, entry: &Entry, path: &std::path::Path) -> Done<Trust> {
    let skip_name_check = entry.record.skip_name_check;
    if !entry.record.server_pem {
        return Ok(Trust::system(skip_name_check)?);
    }
    let mut select =
        db.prepare_cached("SELECT pem FROM bundle JOIN device ON trust = bundle.id WHERE device.id = ?1")?;
    let pem: Option<String> = select.query_row([device], |row| row.get(0)).optional()?;
    let Some(pem) = pem else { return Err(damaged(entry, "the certificates of its server are missing")) };
    let certificates = read_certificates(&pem, &entry.place())
        .map_err(|error| corrupt(format!("the certificates of a server are damaged: {}", error.message)))?;
    Ok(Trust::from_certificates(certificates, TrustSource::File(path.to_owned()), skip_name_check))
}
