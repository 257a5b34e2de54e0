//! A new key and its certificate.

use std::sync::Arc;

use crate::blocking;
use crate::error::{Result, Step};
use crate::event::{Event, Progress};
use crate::identity::{Issue, Issued, Profile, SoftwareIdentity, Validity, X509Identity, issue};
use crate::keys::{KeyType, SoftwareKey};

/// A key and a certificate that shall be made.
#[derive(Debug)]
pub struct NewIdentity<'a> {
    /// The name, which becomes the common name.
    pub name: &'a str,
    /// What the certificate is for.
    pub profile: &'a Profile,
    /// Days that it is valid.
    pub days: u32,
    /// The type of the key.
    pub key_type: KeyType,
    /// Who signs; none for a self-signed certificate.
    pub issuer: Option<&'a X509Identity>,
}

/// Makes the key on a thread of its own, because an RSA key takes seconds, and the certificate. Tells what it does.
///
/// # Errors
/// Those of [`issue`]; when the operating system has no random numbers.
pub async fn new_identity(wanted: &NewIdentity<'_>, progress: &Progress) -> Result<SoftwareIdentity> {
    let &NewIdentity { name, profile, days, key_type, issuer } = wanted;
    progress.event(&Event::Started { step: Step::Identity, what: format!("a new {key_type} key") });
    let (for_name, profile, issuer) = (name.to_owned(), profile.clone(), issuer.cloned());
    let (key, issued) = blocking(move || {
        let key = SoftwareKey::generate(key_type)?;
        let validity = Validity::days(days);
        let issued = issue(&Issue {
            name: &for_name,
            profile: &profile,
            validity,
            key: &key,
            issuer: issuer.as_ref(),
        })?;
        Ok((key, issued))
    })
    .await?;
    let Issued { leaf, above, name_cut, ends_with_issuer } = issued;
    progress.event(&Event::IdentityCreated { key_type });
    if name_cut {
        progress.warn(format!(
            "the certificate's common name is cut to the 64 characters that X.509 allows: {name}"
        ));
    }
    if ends_with_issuer {
        progress.warn(format!(
            "the certificate ends with its authority's, on {}, not after {days} days",
            leaf.validity.not_after.date()
        ));
    }
    Ok(SoftwareIdentity { leaf, intermediates: above, key: Arc::new(key) })
}
