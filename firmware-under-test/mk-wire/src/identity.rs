//! Who a node is: the record that provisioning writes into the board's identity page, and that bootloader, application and
//! lab read.
//!
//! | octets | field |
//! | --- | --- |
//! | 4 | magic `MKID` |
//! | 2 | layout, 1 |
//! | 2 | unicast address |
//! | 2 | address of its gateway |
//! | 1 | relay: 0 or 1 |
//! | 1 | default TTL, 2 to 127 |
//! | 16, 16, 16 | network key, application key, device key |
//! | 4 | IV index |
//! | 4 | grace period, ms |
//! | 4 | report interval, ms |
//! | 2 | least time between two segments, ms |
//! | 2 | unused, 0xFFFF |
//! | 4 | CRC-32/ISO-HDLC of everything before it |
//!
//! Little-endian. Written once, by the probe; the firmware only reads it. Keys are secret: the debug form hides them.

use crate::addr::Addr;
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const MAGIC: [u8; 4] = *b"MKID";
const LAYOUT: u16 = 1;

/// A 128-bit key that does not show in logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MeshKey(pub [u8; 16]);

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(..)")
    }
}

/// Who a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Unicast address of its only element.
    pub address: Addr,
    /// Unicast address of its gateway.
    pub gateway: Addr,
    /// Whether it relays.
    pub relay: bool,
    /// Time to live of what it sends, 2 to 127.
    pub ttl: u8,
    /// Key of the network.
    pub net_key: MeshKey,
    /// Key of the application.
    pub app_key: MeshKey,
    /// Its own key, for configuration.
    pub device_key: MeshKey,
    /// IV index when it was provisioned; a later one is in the sequence pages.
    pub iv_index: u32,
    /// Grace period of a trial, which is the watchdog's one timeout.
    pub grace_ms: u32,
    /// Time between two reports, unless its configuration names another.
    pub report_interval_ms: u32,
    /// Least time between two segments of a message.
    pub segment_interval_ms: u16,
}

/// Why octets are no identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The page was never written.
    #[error("the identity page is erased: the board was never provisioned")]
    Erased,
    /// Fewer octets than a record.
    #[error("{octets} octets are too few for an identity of {} octets", Identity::LENGTH)]
    Truncated {
        /// Octets there are.
        octets: usize,
    },
    /// Other content.
    #[error("no identity: the page begins with {0:02x?}")]
    Magic([u8; 4]),
    /// A layout of another version.
    #[error("identity layout {0} is not known here")]
    Layout(u16),
    /// Damaged.
    #[error("the identity's CRC is {stored:08x}, its octets give {computed:08x}")]
    Crc {
        /// In the record.
        stored: u32,
        /// Of the octets.
        computed: u32,
    },
    /// A field whose value cannot be.
    #[error("identity field {field} has the value {value}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u32,
    },
}

impl Identity {
    /// Octets of a record.
    pub const LENGTH: usize = 80;

    /// The record.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut out = [0xFF; Self::LENGTH];
        let mut at = 0;
        let mut put = |octets: &[u8]| {
            if let Some(place) = out.get_mut(at..at + octets.len()) {
                place.copy_from_slice(octets);
            }
            at += octets.len();
        };
        put(&MAGIC);
        put(&LAYOUT.to_le_bytes());
        put(&self.address.0.to_le_bytes());
        put(&self.gateway.0.to_le_bytes());
        put(&[u8::from(self.relay), self.ttl]);
        put(&self.net_key.0);
        put(&self.app_key.0);
        put(&self.device_key.0);
        put(&self.iv_index.to_le_bytes());
        put(&self.grace_ms.to_le_bytes());
        put(&self.report_interval_ms.to_le_bytes());
        put(&self.segment_interval_ms.to_le_bytes());
        let (body, crc) = out.split_at_mut(Self::LENGTH - 4);
        crc.copy_from_slice(&CRC.checksum(body).to_le_bytes());
        out
    }

    /// Reads the record at the start of `page`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`IdentityError`]: never provisioned, damaged, or with a field that cannot be.
    pub fn decode(page: &[u8]) -> Result<Self, IdentityError> {
        let octets = page.len();
        let Some((record, _)) = page.split_first_chunk::<{ Self::LENGTH }>() else {
            return Err(IdentityError::Truncated { octets });
        };
        let mut fields = Fields(record);
        match fields.take::<4>() {
            MAGIC => {}
            [0xFF, 0xFF, 0xFF, 0xFF] => return Err(IdentityError::Erased),
            other => return Err(IdentityError::Magic(other)),
        }
        match fields.u16() {
            LAYOUT => {}
            other => return Err(IdentityError::Layout(other)),
        }
        let (body, crc) = record.split_last_chunk::<4>().unwrap_or((record, &[0; 4]));
        let (stored, computed) = (u32::from_le_bytes(*crc), CRC.checksum(body));
        if stored != computed {
            return Err(IdentityError::Crc { stored, computed });
        }
        let identity = Self {
            address: Addr(fields.u16()),
            gateway: Addr(fields.u16()),
            relay: match fields.take::<1>() {
                [0] => false,
                [1] => true,
                [other] => return Err(IdentityError::Field { field: "relay", value: other.into() }),
            },
            ttl: fields.take::<1>()[0],
            net_key: MeshKey(fields.take()),
            app_key: MeshKey(fields.take()),
            device_key: MeshKey(fields.take()),
            iv_index: fields.u32(),
            grace_ms: fields.u32(),
            report_interval_ms: fields.u32(),
            segment_interval_ms: fields.u16(),
        };
        identity.check().map(|()| identity)
    }

    fn check(&self) -> Result<(), IdentityError> {
        let fault = |field, value| Err(IdentityError::Field { field, value });
        if !self.address.is_unicast() {
            return fault("address", self.address.0.into());
        }
        if !self.gateway.is_unicast() || self.gateway == self.address {
            return fault("gateway", self.gateway.0.into());
        }
        if !(2..=127).contains(&self.ttl) {
            return fault("ttl", self.ttl.into());
        }
        if self.grace_ms == 0 {
            return fault("grace period", 0);
        }
        if self.report_interval_ms == 0 {
            return fault("report interval", 0);
        }
        Ok(())
    }
}

/// Cuts fields off a record whose length is known to be right.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn identity() -> Identity {
        Identity {
            address: Addr(0x0101),
            gateway: Addr(0x0001),
            relay: true,
            ttl: 5,
            net_key: MeshKey([1; 16]),
            app_key: MeshKey([2; 16]),
            device_key: MeshKey([3; 16]),
            iv_index: 0x1234_5678,
            grace_ms: 120_000,
            report_interval_ms: 60_000,
            segment_interval_ms: 10,
        }
    }

    #[rstest]
    fn an_identity_comes_back_as_it_was_from_a_page_of_flash() {
        let mut page = [0xFF; 4096];
        page[..Identity::LENGTH].copy_from_slice(&identity().encode());
        assert_eq!(Identity::decode(&page), Ok(identity()));
    }

    #[rstest]
    #[case::erased(&[0xFF; 80], IdentityError::Erased)]
    #[case::short(&[0x4D; 79], IdentityError::Truncated { octets: 79 })]
    #[case::other(&[0; 80], IdentityError::Magic([0; 4]))]
    fn what_is_no_identity_says_what_it_is(#[case] octets: &[u8], #[case] error: IdentityError) {
        assert_eq!(Identity::decode(octets), Err(error));
    }

    #[rstest]
    #[case::no_address(Identity { address: Addr::UNASSIGNED, ..identity() }, "address")]
    #[case::group(Identity { address: Addr(0xC000), ..identity() }, "address")]
    #[case::own_gateway(Identity { gateway: Addr(0x0101), ..identity() }, "gateway")]
    #[case::ttl_of_one(Identity { ttl: 1, ..identity() }, "ttl")]
    #[case::ttl_too_long(Identity { ttl: 128, ..identity() }, "ttl")]
    #[case::no_grace(Identity { grace_ms: 0, ..identity() }, "grace period")]
    #[case::no_reports(Identity { report_interval_ms: 0, ..identity() }, "report interval")]
    fn a_field_that_cannot_be_is_named(#[case] wrong: Identity, #[case] name: &str) {
        match Identity::decode(&wrong.encode()) {
            Err(IdentityError::Field { field, .. }) => assert_eq!(field, name),
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    fn no_key_shows_in_a_log() {
        assert!(std::format!("{:?}", identity()).contains("net_key: MeshKey(..)"));
    }

    proptest! {
        #[test]
        fn one_changed_bit_is_noticed(bit in 0..Identity::LENGTH * 8) {
            let mut record = identity().encode();
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Identity::decode(&record).is_err());
        }

        #[test]
        fn any_octets_give_an_identity_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Identity::decode(&octets);
        }
    }
}
