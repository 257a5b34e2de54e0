//! Encrypted private keys: PKCS#8 with PBES2 (RFC 8018), and the form that OpenSSL wrote before it (headers of RFC 1421).

use aes::{Aes128Dec, Aes192Dec, Aes256Dec};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _};
use des::TdesEde3;
use md5::{Digest as _, Md5};
use pkcs8::pkcs5::pbes2::Kdf;
use zeroize::Zeroizing;

use super::der;
use super::pem::Block;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::secret::Secret;

/// The most memory, in bytes, that scrypt may ask for; the cost that OpenSSL writes asks for 16 MiB.
const MOST_MEMORY: u64 = 256 << 20;

/// The most rounds of PBKDF2: what RFC 8018, section 4.2, calls appropriate for especially critical keys.
const MOST_ROUNDS: u32 = 10_000_000;

/// The DER of the key in an encrypted block. `origin` names the file in errors.
///
/// # Errors
/// `file/wrong-password`; `file/encrypted-key` for an encryption that is not known, or that costs too much;
/// `file/not-pem`.
pub(super) fn decrypt(block: &Block<'_>, password: &Secret, origin: &str) -> Result<Zeroizing<Vec<u8>>> {
    let decrypted = match block.header("DEK-Info:") {
        Some(info) => traditional(block, info, password),
        None => pkcs8(block, password),
    };
    // With a wrong password the padding looks right once in 256 times; a key it is not.
    let is_key = |key: &Zeroizing<Vec<u8>>| {
        key.first() == Some(&der::SEQUENCE) && der::split(key).is_some_and(|(_, rest)| rest.is_empty())
    };
    match decrypted {
        Ok(key) if is_key(&key) => Ok(key),
        Ok(_) | Err(Failure::Password) => {
            let message = format!("the password does not decrypt the private key in {origin}");
            Err(Error::new(ErrorCode::FilePassword, message))
        }
        Err(Failure::Encryption(how)) => {
            let message = format!(
                "the private key in {origin} is encrypted in a way that tbprov does not read ({how})"
            );
            Err(Error::new(ErrorCode::FileEncrypted, message))
        }
        Err(Failure::Cost(what)) => {
            let message = format!(
                "the encryption of the private key in {origin} asks for {what}, more than any sensible key"
            );
            Err(Error::new(ErrorCode::FileEncrypted, message).hint(Hint::CostlyEncryption))
        }
        Err(Failure::Damaged) => {
            let message = format!("the encrypted private key in {origin} is damaged");
            Err(Error::new(ErrorCode::FileNotPem, message))
        }
    }
}

enum Failure {
    Password,
    Encryption(String),
    /// What it asks for.
    Cost(String),
    Damaged,
}

fn pkcs8(block: &Block<'_>, password: &Secret) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use pkcs8::pkcs5;
    let encrypted = block.decode().ok_or(Failure::Damaged)?;
    let (_, rest) = der::split(&encrypted).ok_or(Failure::Damaged)?;
    let unknown = || Failure::Encryption("neither PBES2 with AES or 3DES, nor OpenSSL's own".to_owned());
    if !rest.is_empty() {
        return Err(Failure::Damaged);
    }
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(encrypted.as_slice()).map_err(|_| unknown())?;
    if let Some(parameters) = info.encryption_algorithm.pbes2() {
        check_cost(&parameters.kdf)?;
    }
    match info.decrypt(password.expose()) {
        Ok(key) => Ok(Zeroizing::new(key.as_bytes().to_vec())),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::NoPbes1CryptSupport
            | pkcs5::Error::AlgorithmParametersInvalid { .. },
        )) => Err(unknown()),
        Err(_) => Err(Failure::Password),
    }
}

/// Fails when the file asks for memory that is not there, or for work that never ends: it decides on both.
fn check_cost(kdf: &Kdf) -> Result<(), Failure> {
    match kdf {
        // The crate panics at a cost of none.
        Kdf::Scrypt(scrypt) if scrypt.cost_parameter == 0 => Err(Failure::Damaged),
        Kdf::Scrypt(scrypt) => {
            let blocks = u64::from(scrypt.block_size) * u64::from(scrypt.parallelization);
            // RFC 7914, section 2: 128 * N * r bytes, p times.
            let memory = scrypt.cost_parameter.saturating_mul(128).saturating_mul(blocks);
            match memory > MOST_MEMORY {
                true => Err(Failure::Cost(format!("{} MiB of memory (scrypt)", memory >> 20))),
                false => Ok(()),
            }
        }
        Kdf::Pbkdf2(pbkdf2) if pbkdf2.iteration_count > MOST_ROUNDS => {
            Err(Failure::Cost(format!("{} rounds of work (PBKDF2)", pbkdf2.iteration_count)))
        }
        _ => Ok(()),
    }
}

/// `DEK-Info: AES-256-CBC,0123…`: the cipher, and its first vector in hex.
fn traditional(block: &Block<'_>, info: &str, password: &Secret) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let (cipher, vector) = info.split_once(',').ok_or(Failure::Damaged)?;
    let vector = from_hex(vector.trim()).ok_or(Failure::Damaged)?;
    let mut text = block.decode().ok_or(Failure::Damaged)?;
    let key = |length| derived(password, &vector, length);
    let length = match cipher.trim() {
        "AES-128-CBC" => in_place::<Aes128Dec>(&mut text, &key(16)?, &vector)?,
        "AES-192-CBC" => in_place::<Aes192Dec>(&mut text, &key(24)?, &vector)?,
        "AES-256-CBC" => in_place::<Aes256Dec>(&mut text, &key(32)?, &vector)?,
        "DES-EDE3-CBC" => in_place::<TdesEde3>(&mut text, &key(24)?, &vector)?,
        other => return Err(Failure::Encryption(crate::text::one_line(other, 40))),
    };
    text.truncate(length);
    Ok(text)
}

/// Decrypts `text` where it stands, and says how much of it is the key.
fn in_place<C: BlockCipherDecrypt + KeyInit>(
    text: &mut [u8],
    key: &[u8],
    vector: &[u8],
) -> Result<usize, Failure> {
    let decryptor = Decryptor::<C>::new_from_slices(key, vector).map_err(|_| Failure::Damaged)?;
    decryptor.decrypt_padded::<Pkcs7>(text).map(<[u8]>::len).map_err(|_| Failure::Password)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round; the salt is the beginning of the vector.
fn derived(password: &Secret, vector: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let salt = vector.get(..8).ok_or(Failure::Damaged)?;
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut last = Zeroizing::new(Vec::with_capacity(16));
    while key.len() < length {
        let hash =
            Md5::new().chain_update(&*last).chain_update(password.expose()).chain_update(salt).finalize();
        last.clear();
        last.extend_from_slice(&hash);
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    Ok(key)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use pkcs8::der::Encode as _;
    use pkcs8::der::asn1::OctetStringRef;
    use pkcs8::pkcs5::pbes2::{Parameters, Pbkdf2Params, Salt, ScryptParams};

    use super::super::{SoftwareKey, pem};
    use super::*;

    /// What is said of a file that is encrypted at this cost.
    fn said_of(kdf: impl Into<Kdf>) -> Error {
        let mut parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(1, b"saltsalt", [0; 16]).unwrap();
        parameters.kdf = kdf.into();
        let info = pkcs8::EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: OctetStringRef::new(&[0; 48]).unwrap(),
        };
        let text = pem::encode("ENCRYPTED PRIVATE KEY", &info.to_der().unwrap());
        SoftwareKey::from_encrypted_pem(&text, "key.pem", &Secret::new("password")).unwrap_err()
    }

    fn scrypt(cost: u64, block_size: u16, parallelization: u16) -> Kdf {
        Kdf::Scrypt(ScryptParams {
            salt: Salt::new(b"saltsalt").unwrap(),
            cost_parameter: cost,
            block_size,
            parallelization,
            key_length: None,
        })
    }

    fn pbkdf2(rounds: u32) -> Kdf {
        let mut parameters = Pbkdf2Params::hmac_sha256(1, b"saltsalt").unwrap();
        parameters.iteration_count = rounds;
        parameters.into()
    }

    #[test]
    fn a_cost_without_limit_is_refused() {
        for (kdf, says) in [
            (scrypt(1 << 40, 8, 1), "1073741824 MiB of memory"),
            (scrypt(1 << 63, u16::MAX, u16::MAX), "MiB of memory"),
            (scrypt(1 << 14, 8, 17), "272 MiB of memory"),
            (scrypt(2, 1 << 15, 33), "264 MiB of memory"),
            (pbkdf2(i32::MAX as u32), "2147483647 rounds of work"),
            (pbkdf2(MOST_ROUNDS + 1), "10000001 rounds of work"),
        ] {
            let error = said_of(kdf);
            assert_eq!(error.code, ErrorCode::FileEncrypted);
            assert_eq!(error.hint, Some(Hint::CostlyEncryption));
            assert!(error.message.contains("key.pem") && error.message.contains(says), "{}", error.message);
        }
    }

    #[test]
    fn a_usual_cost_is_paid() {
        for kdf in [scrypt(1 << 14, 8, 1), scrypt(2, 1, 1), pbkdf2(2048), pbkdf2(1)] {
            assert_eq!(said_of(kdf).code, ErrorCode::FilePassword);
        }
        for kdf in [scrypt(1 << 18, 8, 1), pbkdf2(MOST_ROUNDS)] {
            assert!(check_cost(&kdf).is_ok(), "{kdf:?}");
        }
    }

    #[test]
    fn no_cost_at_all_is_no_panic() {
        assert_eq!(said_of(scrypt(0, 8, 1)).code, ErrorCode::FileNotPem);
        for kdf in [scrypt(3, 8, 1), scrypt(2, 0, 1), scrypt(2, 1, 0), pbkdf2(0)] {
            said_of(kdf);
        }
    }
}
