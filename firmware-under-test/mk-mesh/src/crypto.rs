//! AES-CMAC key derivation and AES-CCM, as the mesh uses them (protocol sheet, section 12.3).
//!
//! The ciphers themselves are libraries'. What is here keeps expanded key schedules, because every PDU needs three of
//! them, and gives each derivation its name in the standard. Nothing here knows what a message is.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ccm::aead::AeadInOut;
use ccm::consts::{U4, U8, U13};
use ccm::{Ccm, Tag};
use cmac::{Cmac, Mac};

/// A 128-bit key as it is stored and provisioned.
pub type Key = [u8; 16];

/// A nonce of the network or upper transport layer.
pub type Nonce = [u8; 13];

/// Length of a message integrity check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mic {
    /// 32 bits.
    Short,
    /// 64 bits.
    Long,
}

impl Mic {
    /// Octets that it takes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Mic::Short => 4,
            Mic::Long => 8,
        }
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// An AES key with its schedule expanded.
#[derive(Clone)]
pub struct AesKey(Aes128);

impl AesKey {
    /// Expands a key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        AesKey(Aes128::new(&(*key).into()))
    }

    /// Encrypts one block.
    #[must_use]
    pub fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// Encrypts all of `buffer` but its end, which takes the MIC. False, with nothing done, where the MIC has no room.
    pub fn seal(&self, nonce: &Nonce, aad: &[u8], buffer: &mut [u8], mic: Mic) -> bool {
        let Some((text, end)) = buffer.len().checked_sub(mic.len()).and_then(|n| buffer.split_at_mut_checked(n)) else {
            return false;
        };
        let nonce = (*nonce).into();
        match mic {
            Mic::Short => Ccm::<&Aes128, U4, U13>::from(&self.0)
                .encrypt_inout_detached(&nonce, aad, text.into())
                .map(|tag| end.copy_from_slice(&tag)),
            Mic::Long => Ccm::<&Aes128, U8, U13>::from(&self.0)
                .encrypt_inout_detached(&nonce, aad, text.into())
                .map(|tag| end.copy_from_slice(&tag)),
        }
        .is_ok()
    }

    /// Decrypts all of `buffer` but the MIC at its end; the length of the text, if the MIC is right. The text is wiped if
    /// it is not.
    pub fn open(&self, nonce: &Nonce, aad: &[u8], buffer: &mut [u8], mic: Mic) -> Option<usize> {
        let length = buffer.len().checked_sub(mic.len())?;
        let (text, end) = buffer.split_at_mut_checked(length)?;
        let nonce = (*nonce).into();
        let opened = match mic {
            Mic::Short => {
                let tag = Tag::<U4>::try_from(&*end).ok()?;
                Ccm::<&Aes128, U4, U13>::from(&self.0).decrypt_inout_detached(&nonce, aad, text.into(), &tag)
            }
            Mic::Long => {
                let tag = Tag::<U8>::try_from(&*end).ok()?;
                Ccm::<&Aes128, U8, U13>::from(&self.0).decrypt_inout_detached(&nonce, aad, text.into(), &tag)
            }
        };
        opened.ok().map(|()| length)
    }
}

/// AES-CMAC over the parts in a row.
#[must_use]
pub fn cmac(key: &Key, parts: &[&[u8]]) -> Key {
    let mut mac = <Cmac<Aes128> as KeyInit>::new(&(*key).into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Salt generation.
#[must_use]
pub fn s1(text: &[u8]) -> Key {
    cmac(&[0; 16], &[text])
}

/// Derivation of the beacon, identity and private beacon keys.
#[must_use]
pub fn k1(key: &Key, salt: &Key, text: &[u8]) -> Key {
    cmac(&cmac(salt, &[key]), &[text])
}

/// What the network layer takes from a network key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkCredentials {
    /// Network identifier, 7 bits: the first thing that tells a foreign PDU.
    pub nid: u8,
    /// Key of the network layer's encryption.
    pub encryption: Key,
    /// Key of the obfuscation.
    pub privacy: Key,
}

/// Derivation of the network credentials; `text` is 00 for managed flooding.
#[must_use]
pub fn k2(key: &Key, text: &[u8]) -> NetworkCredentials {
    let t = cmac(&s1(b"smk2"), &[key]);
    let first = cmac(&t, &[text, &[1]]);
    let encryption = cmac(&t, &[&first, text, &[2]]);
    let privacy = cmac(&t, &[&encryption, text, &[3]]);
    NetworkCredentials { nid: first[15] & 0x7F, encryption, privacy }
}

/// Derivation of the public network id.
#[must_use]
pub fn k3(key: &Key) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = cmac(&cmac(&s1(b"smk3"), &[key]), &[b"id64", &[1]]);
    [a, b, c, d, e, f, g, h]
}

/// Derivation of an application key's identifier, 6 bits.
#[must_use]
pub fn k4(key: &Key) -> u8 {
    cmac(&cmac(&s1(b"smk4"), &[key]), &[b"id6", &[1]])[15] & 0x3F
}
