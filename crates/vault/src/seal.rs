//! The repository format's encryption, compression and hashing, without an index:
//! what a check needs to judge one file by itself, and what is needed to seal a new one.
//! Owns nothing but the bytes it is given; reads and writes no file.
//!
//! A sealed piece is a nonce of 16 bytes, AES-256-CTR text, and a Poly1305-AES tag
//! of 16 bytes (`doc/design.rst` of restic).

use std::num::NonZeroU32;

use aes256ctr_poly1305aes::aead::AeadInPlace;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, Tag};
use rustic_core::Id;
use rustic_core::repofile::MasterKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{At, Result, VaultError};

const NONCE: usize = 16;
const TAG: usize = 16;
/// Bytes that sealing adds.
pub(crate) const OVERHEAD: usize = NONCE + TAG;
/// First byte of a file's text that is compressed; JSON begins with another.
const COMPRESSED: u8 = 2;
/// No single file but a pack is larger, sealed or not.
const MAX_FILE: usize = 256 * 1024 * 1024;

/// Opens and seals what one vault's master key covers. Holds a secret.
pub(crate) struct Seal(Aes256CtrPoly1305Aes);

impl Seal {
    pub(crate) fn new(master: &MasterKey) -> Result<Self> {
        Self::from_parts(&master.encrypt, &master.mac.k, &master.mac.r)
    }

    /// The parts of a master key: for encryption, and the two numbers of the tag.
    pub(crate) fn from_parts(encrypt: &[u8], k: &[u8], r: &[u8]) -> Result<Self> {
        if [encrypt.len(), k.len(), r.len()] != [32, 16, 16] {
            return Err(VaultError::Request("the vault's master key has a wrong length"));
        }
        let joined = [encrypt, k, r].concat();
        Ok(Self(Aes256CtrPoly1305Aes::new(Key::from_slice(&joined))))
    }

    /// Opens a piece in place; `None` unless its tag fits.
    pub(crate) fn open<'a>(&self, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        if sealed.len() < OVERHEAD {
            return None;
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(rest.len() - TAG);
        self.0
            .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], text, Tag::from_slice(tag))
            .ok()?;
        Some(text)
    }

    /// Opens a blob of a pack; `None` unless tag, length and hash are right. The text
    /// is left in `sealed` or, if it was compressed, in `spare`.
    pub(crate) fn open_blob<'a>(
        &self,
        sealed: &'a mut [u8],
        length: Option<NonZeroU32>,
        id: &Id,
        spare: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        let text = self.open(sealed)?;
        let text = match length {
            None => text,
            Some(length) => {
                let length = usize::try_from(length.get()).ok()?;
                spare.resize(length, 0);
                let got = zstd::bulk::decompress_to_buffer(text, spare.as_mut_slice()).ok()?;
                (got == length).then_some(spare.as_slice())?
            }
        };
        (hash(text) == *id).then_some(text)
    }

    /// Opens a file that is one sealed JSON value, compressed or not.
    pub(crate) fn open_file<T: DeserializeOwned>(&self, mut sealed: Vec<u8>) -> Option<T> {
        let text = self.open(&mut sealed)?;
        match text.split_first()? {
            (&COMPRESSED, packed) => {
                let reader = zstd::stream::read::Decoder::new(packed).ok()?;
                let limited = std::io::Read::take(reader, MAX_FILE as u64);
                serde_json::from_reader(std::io::BufReader::new(limited)).ok()
            }
            _ => serde_json::from_slice(text).ok(),
        }
    }

    /// Seals a file that is one JSON value, compressed.
    pub(crate) fn seal_file(&self, value: &impl Serialize, nonce: [u8; NONCE]) -> Result<Vec<u8>> {
        let mut text = vec![COMPRESSED];
        let written = zstd::stream::write::Encoder::new(&mut text, zstd::DEFAULT_COMPRESSION_LEVEL)
            .and_then(|mut packer| {
                serde_json::to_writer(&mut packer, value)?;
                packer.finish()
            });
        written.at("compress", "a file of the vault")?;
        self.seal(&text, nonce)
    }

    /// Seals a piece under a nonce of 16 random bytes.
    pub(crate) fn seal(&self, text: &[u8], nonce: [u8; NONCE]) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(text.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text);
        let tag = self
            .0
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), &[], &mut sealed[NONCE..])
            .map_err(|_| VaultError::Request("it is too long to be sealed"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }
}

/// 16 random bytes.
pub(crate) fn nonce() -> std::io::Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(nonce)
}

/// The hash that names files and pieces.
pub(crate) fn hash(bytes: &[u8]) -> Id {
    Id::new(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal::new(&MasterKey::new()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_once_and_only_untouched() {
        let seal = seal();
        let sealed = seal.seal(b"text", [7; 16]).unwrap();
        assert_eq!(seal.open(&mut sealed.clone()), Some(b"text".as_slice()));
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert_eq!(seal.open(&mut touched), None, "byte {at}");
        }
        assert_eq!(self::seal().open(&mut sealed.clone()), None, "another key opened it");
        assert_eq!(seal.open(&mut [0; 31]), None);
    }

    #[test]
    fn a_sealed_file_opens_to_what_it_was() {
        let seal = seal();
        let value: Vec<String> = (0..1000).map(|n| format!("name {n}")).collect();
        let sealed = seal.seal_file(&value, [3; 16]).unwrap();
        assert!(sealed.len() < 5_000, "it is not compressed: {}", sealed.len());
        assert_eq!(seal.open_file::<Vec<String>>(sealed), Some(value));
    }

    #[test]
    fn a_blob_must_have_the_length_and_hash_that_its_index_says() {
        let seal = seal();
        let text = vec![5u8; 10_000];
        let packed = zstd::bulk::compress(&text, 3).unwrap();
        let sealed = seal.seal(&packed, [1; 16]).unwrap();
        let open = |length: u32, id: &Id| {
            let mut spare = Vec::new();
            seal.open_blob(&mut sealed.clone(), NonZeroU32::new(length), id, &mut spare).is_some()
        };
        assert!(open(10_000, &hash(&text)));
        assert!(!open(9_999, &hash(&text)));
        assert!(!open(10_001, &hash(&text)));
        assert!(!open(10_000, &hash(b"another")));
    }
}
