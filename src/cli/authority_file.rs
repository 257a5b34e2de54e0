//! The authority that issues a device's certificate.

use std::path::Path;

use super::context::Context;
use super::key_file::KeyFileArgs;
use tbprov::Result;
use tbprov::identity::{Profile, X509Identity, check_issuer};
use tbprov::text::shown_path;

/// Reads the certificate and the key of an authority that may issue certificates for devices now.
pub(super) async fn read_authority(
    context: &Context,
    key_file: &KeyFileArgs,
    certificate: &Path,
    key: &Path,
) -> Result<X509Identity> {
    let authority = key_file.read_pair(context, certificate, key).await?;
    authority.leaf.check_dates(&shown_path(certificate))?;
    let authority = authority.into();
    check_issuer(&authority, &Profile::Device)?;
    Ok(authority)
}
