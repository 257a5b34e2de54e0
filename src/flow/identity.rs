//! A new key and its certificate.

use std::sync::Arc;

use crate::blocking;
use crate::clock;
use crate::error::{Result, Step};
use crate::event::{Event, Progress};
use crate::identity::{
    Issue, Issued, LONGEST_COMMON_NAME, Profile, SoftwareIdentity, Validity, X509Identity, issue, request,
};
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

/// Makes the key and the certificate, on a thread of its own where that may take seconds. Tells what it does.
///
/// # Errors
/// `usage/invalid-value` for more days than until the year 9999; those of [`issue`]; when the operating system has no random numbers.
pub async fn new_identity(wanted: &NewIdentity<'_>, progress: &Progress) -> Result<SoftwareIdentity> {
    let &NewIdentity { name, profile, days, key_type, issuer } = wanted;
    clock::plausible_now()?;
    Validity::check_days(days)?;
    progress.event(&Event::Started { step: Step::Identity, what: format!("a new {key_type} key") });
    let (for_name, profile, issuer) = (name.to_owned(), profile.clone(), issuer.cloned());
    let signed_quickly =
        issuer.as_ref().is_none_or(|issuer| is_quick(issuer.key.key_type()) && !issuer.key.is_slow());
    let make = move || {
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
    };
    // A thread costs about as much as a quick key.
    let (key, issued) = if is_quick(key_type) && signed_quickly { make()? } else { blocking(make).await? };
    let Issued { leaf, above, name_cut, ends_with_issuer } = issued;
    progress.event(&Event::IdentityCreated { key_type });
    warn_of_cut(name_cut, name, progress);
    if ends_with_issuer {
        progress.warn(format!(
            "the certificate ends with its authority's, on {}, not after {days} days",
            leaf.validity.not_after.date()
        ));
    }
    Ok(SoftwareIdentity { leaf, intermediates: above, key: Arc::new(key) })
}

/// Whether a key of this type is made in about 50 us, and signs in less.
const fn is_quick(key_type: KeyType) -> bool {
    matches!(key_type, KeyType::EcP256 | KeyType::Ed25519)
}

/// Makes the key on a thread of its own, and a request (PKCS#10, PEM) for its certificate. Tells what it does.
///
/// # Errors
/// Those of [`request`]; when the operating system has no random numbers.
pub async fn new_request(
    name: &str,
    key_type: KeyType,
    progress: &Progress,
) -> Result<(SoftwareKey, String)> {
    progress.event(&Event::Started { step: Step::Identity, what: format!("a new {key_type} key") });
    let for_name = name.to_owned();
    let made = blocking(move || {
        let key = SoftwareKey::generate(key_type)?;
        let request = request(&for_name, &key)?;
        Ok((key, request))
    })
    .await?;
    warn_of_cut(name.chars().nth(LONGEST_COMMON_NAME).is_some(), name, progress);
    Ok(made)
}

fn warn_of_cut(is_cut: bool, name: &str, progress: &Progress) {
    if is_cut {
        progress.warn(format!(
            "the certificate's common name is cut to the 64 characters that X.509 allows: {name}"
        ));
    }
}
