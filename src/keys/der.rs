//! DER, element by element: as much as certificates need that are put together, and files that are recognised.

use x509_parser::asn1_rs::{Any, FromDer as _};

/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;

/// The content of the first element of `der`.
pub(crate) fn content(der: &[u8]) -> Option<&[u8]> {
    Any::from_der(der).ok().map(|(_, any)| any.data)
}

/// The first element of `der`, whole, and what follows it.
pub(crate) fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, _) = Any::from_der(der).ok()?;
    der.split_at_checked(der.len().checked_sub(rest.len())?)
}

/// An element of these parts (X.690, sections 8.1.3 and 10.1).
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(length + 10);
    der.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | bytes.len() as u8);
            der.extend(bytes);
        }
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}
