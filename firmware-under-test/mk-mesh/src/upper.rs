//! The upper transport layer: encryption of access messages with application and device keys (section 12.3).
//!
//! Label UUIDs are supported where octets are opened or sealed by hand ([`seal`], [`open`]); the stack itself uses group
//! addresses only.

use crate::crypto::{AesKey, Mic, Nonce};
use crate::keys::KeyUse;
use mk_wire::Addr;

/// Label UUID of a virtual address.
pub type Label = [u8; 16];

/// Everything besides the key that an access message's encryption depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Security {
    /// Kind of key.
    pub key: KeyUse,
    /// Length of the MIC; 64 bits only in segmented messages.
    pub mic: Mic,
    /// Sequence number of the only or the first segment.
    pub seq: u32,
    /// Sender.
    pub src: Addr,
    /// Receiver or group.
    pub dst: Addr,
    /// IV index under which it is sent.
    pub iv_index: u32,
}

impl Security {
    /// The nonce.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        let kind = match self.key {
            KeyUse::Application => 1,
            KeyUse::Device => 2,
        };
        let long = match self.mic {
            Mic::Short => 0,
            Mic::Long => 0x80,
        };
        let [_, s0, s1, s2] = self.seq.to_be_bytes();
        let ([a0, a1], [d0, d1]) = (self.src.0.to_be_bytes(), self.dst.0.to_be_bytes());
        let [i0, i1, i2, i3] = self.iv_index.to_be_bytes();
        [kind, long, s0, s1, s2, a0, a1, d0, d1, i0, i1, i2, i3]
    }
}

fn aad(label: Option<&Label>) -> &[u8] {
    label.map_or(&[], |label| label.as_slice())
}

/// Encrypts the access message in `buffer`, whose end is room for the MIC. False where there is none.
pub fn seal(key: &AesKey, security: &Security, label: Option<&Label>, buffer: &mut [u8]) -> bool {
    key.seal(&security.nonce(), aad(label), buffer, security.mic)
}

/// Decrypts the access message in `buffer`; its length, if the MIC at the end is right.
pub fn open(key: &AesKey, security: &Security, label: Option<&Label>, buffer: &mut [u8]) -> Option<usize> {
    key.open(&security.nonce(), aad(label), buffer, security.mic)
}
