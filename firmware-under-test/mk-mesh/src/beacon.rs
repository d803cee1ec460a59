//! Secure Network beacons (section 12.5): a network's IV index and what it is doing with it.

use crate::crypto::cmac;
use crate::keys::NetworkKey;

/// Octets of a Secure Network beacon.
pub const BEACON_LENGTH: usize = 22;
/// Beacon type.
const SECURE_NETWORK: u8 = 1;

/// What a beacon says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beacon {
    /// Key refresh, second phase. This stack has one key and never says so.
    pub key_refresh: bool,
    /// IV Update in progress.
    pub updating: bool,
    /// The newest IV index.
    pub iv_index: u32,
}

/// Why octets are no beacon of this network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BeaconError {
    /// Another length.
    #[error("{0} octets are no beacon")]
    Length(usize),
    /// Another kind: unprovisioned devices, private beacons.
    #[error("beacon of another kind ({0})")]
    Kind(u8),
    /// Another network's.
    #[error("another network's beacon")]
    ForeignNetwork,
    /// Reserved flags set.
    #[error("reserved flags set")]
    ReservedBits,
    /// Does not verify.
    #[error("beacon does not verify")]
    Mic,
}

impl Beacon {
    fn authentication(key: &NetworkKey, flags: u8, iv_index: u32) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = cmac(&key.beacon, &[&[flags], &key.network_id, &iv_index.to_be_bytes()]);
        [a, b, c, d, e, f, g, h]
    }

    /// The octets, authenticated.
    #[must_use]
    pub fn seal(&self, key: &NetworkKey) -> [u8; BEACON_LENGTH] {
        let flags = u8::from(self.key_refresh) | u8::from(self.updating) << 1;
        let mut out = [0; BEACON_LENGTH];
        (out[0], out[1]) = (SECURE_NETWORK, flags);
        out[2..10].copy_from_slice(&key.network_id);
        out[10..14].copy_from_slice(&self.iv_index.to_be_bytes());
        out[14..].copy_from_slice(&Self::authentication(key, flags, self.iv_index));
        out
    }

    /// Reads and verifies a beacon.
    ///
    /// # Errors
    /// See [`BeaconError`].
    pub fn open(key: &NetworkKey, octets: &[u8]) -> Result<Self, BeaconError> {
        let kind = *octets.first().ok_or(BeaconError::Length(0))?;
        if kind != SECURE_NETWORK {
            return Err(BeaconError::Kind(kind));
        }
        let octets: &[u8; BEACON_LENGTH] = octets.try_into().map_err(|_| BeaconError::Length(octets.len()))?;
        if octets[2..10] != key.network_id {
            return Err(BeaconError::ForeignNetwork);
        }
        let flags = octets[1];
        let iv_index = u32::from_be_bytes([octets[10], octets[11], octets[12], octets[13]]);
        if octets[14..] != Self::authentication(key, flags, iv_index) {
            return Err(BeaconError::Mic);
        }
        if flags & !3 != 0 {
            return Err(BeaconError::ReservedBits);
        }
        Ok(Beacon { key_refresh: flags & 1 != 0, updating: flags & 2 != 0, iv_index })
    }
}
