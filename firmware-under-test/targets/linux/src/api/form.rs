//! How values of the firmware crates read in JSON. For `#[serde(with = ..)]`.
//!
//! `mk-wire` and `mk-gateway` know nothing of serde, so that nodes need not carry it. A text that no value has is a decoding
//! error that says what was expected.

use base64ct::{Base64, Encoding as _};
use mk_wire::access::Buffer;
use mk_wire::metadata::FirmwareMetadata;
use mk_wire::time::Duration;
use mk_wire::{Addr, BlobId, Fwid, FwidRef, Version};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::fmt::Debug;

macro_rules! as_text {
    ($(#[$doc:meta])* $name:ident, $type:ty, |$value:ident| $to:expr, |$text:ident| $from:expr, $expected:expr) => {
        $(#[$doc])*
        pub mod $name {
            use super::*;

            #[allow(missing_docs, reason = "serde's name and contract")]
            pub fn serialize<S: Serializer>($value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$to)
            }

            #[allow(missing_docs, reason = "serde's name and contract")]
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let $text = String::deserialize(deserializer)?;
                let value: Option<$type> = $from;
                value.ok_or_else(|| D::Error::custom(format_args!("{:?}: expected {}", shown(&$text), $expected)))
            }
        }
    };
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The value of a wire enum by name.
fn named<T: Debug + Copy>(all: &[T], text: &str) -> Option<T> {
    all.iter().copied().find(|value| format!("{value:?}") == text)
}

macro_rules! as_name {
    ($($(#[$doc:meta])* $name:ident, $type:ty;)*) => {$(
        as_text!($(#[$doc])* $name, $type, |value| format!("{value:?}"), |text| named(<$type>::ALL, &text),
            format!("one of {:?}", <$type>::ALL));
    )*};
}

as_name! {
    /// Phase of a distribution.
    phase, mk_wire::distribution::Phase;
    /// What a distributor last learnt of a receiver.
    retrieved_phase, mk_wire::distribution::RetrievedPhase;
    /// Apply or not.
    update_policy, mk_wire::distribution::UpdatePolicy;
    /// Push or Pull.
    transfer_mode, mk_wire::blob::TransferMode;
    /// Of a BLOB Transfer answer.
    blob_status, mk_wire::blob::Status;
    /// Of a Firmware Update answer.
    update_status, mk_wire::update::Status;
    /// Phase of a node's update.
    update_phase, mk_wire::update::Phase;
    /// What the bootloader decided.
    boot_outcome, mk_wire::vendor::BootOutcome;
    /// Why it did.
    reason, mk_wire::Reason;
}

as_text!(
    /// A mesh address: four hexadecimal digits.
    addr, Addr, |value| value, |text| parse_addr(&text), "four hexadecimal digits, as 0101"
);
as_text!(
    /// A version.
    version, Version, |value| value, |text| text.parse().ok(), "MAJOR.MINOR.REVISION or MAJOR.MINOR.REVISION+BUILD"
);
as_text!(
    /// Name of a BLOB: 16 hexadecimal digits.
    blob_id, BlobId, |value| value, |text| unhex(&text).map(|octets| BlobId(u64::from_be_bytes(octets))),
    "16 hexadecimal digits"
);
as_text!(
    /// A digest: 64 hexadecimal digits.
    digest, [u8; 32], |value| hex(value), |text| unhex(&text), "64 hexadecimal digits"
);
as_text!(
    /// A key or label: 32 hexadecimal digits.
    key, [u8; 16], |value| hex(value), |text| unhex(&text), "32 hexadecimal digits"
);
as_text!(
    /// A firmware id: its octets in hexadecimal digits, company id first.
    fwid, Fwid, |value| fwid_text(value), |text| parse_fwid(&text), "4 to 216 hexadecimal digits"
);
/// Octets in base64.
pub mod octets {
    use super::*;

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn serialize<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64::encode_string(value))
    }

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Base64::decode_vec(&text)
            .map_err(|_| D::Error::custom(format_args!("{:?}: expected base64 with padding", shown(&text))))
    }
}
as_text!(
    /// An access message in base64.
    access, Buffer, |value| Base64::encode_string(value),
    |text| Base64::decode_vec(&text).ok().and_then(|octets| Buffer::from_slice(&octets).ok()),
    "base64 of at most 380 octets"
);

/// Milliseconds.
pub mod ms {
    use super::*;

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_millis().serialize(serializer)
    }

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        // 2^40 ms are 34 years: more is a mistake, and could overflow where times are added.
        let ms = u64::deserialize(deserializer)?;
        if ms > 1 << 40 { Err(D::Error::custom("longer than 34 years")) } else { Ok(Duration::from_millis(ms)) }
    }
}

/// Firmware Metadata as its 116 octets in base64, or null.
pub mod metadata {
    use super::*;

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn serialize<S: Serializer>(value: &Option<FirmwareMetadata>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(|facts| Base64::encode_string(&facts.to_bytes())).serialize(serializer)
    }

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FirmwareMetadata>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let octets = Base64::decode_vec(&text).map_err(|_| D::Error::custom("metadata: expected base64"))?;
        FirmwareMetadata::from_bytes(&octets).map(Some).map_err(D::Error::custom)
    }
}

/// A list of addresses.
pub mod addrs {
    use super::*;

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn serialize<S: Serializer>(value: &[Addr], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(ToString::to_string))
    }

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Addr>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let wrong =
            |text: &String| D::Error::custom(format_args!("{:?}: expected four hexadecimal digits", shown(text)));
        texts.iter().map(|text| parse_addr(text).ok_or_else(|| wrong(text))).collect()
    }
}

/// A list of values with a form of their own: `list!(name, Value, "path::of::Form")` makes a module for `with`.
macro_rules! list {
    ($(#[$doc:meta])* $name:ident, $value:ty, $form:literal) => {
        $(#[$doc])*
        pub mod $name {
            #[allow(unused_imports, reason = "the form is named in the scope of the caller")]
            use super::*;

            #[derive(serde::Serialize)]
            struct Item<'a>(#[serde(with = $form)] &'a $value);
            #[derive(serde::Deserialize)]
            struct OwnItem(#[serde(with = $form)] $value);

            #[allow(missing_docs, reason = "serde's name and contract")]
            pub fn serialize<S: serde::Serializer>(list: &[$value], serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(list.iter().map(Item))
            }

            #[allow(missing_docs, reason = "serde's name and contract")]
            pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<$value>, D::Error> {
                let items = <Vec<OwnItem> as serde::Deserialize>::deserialize(deserializer)?;
                Ok(items.into_iter().map(|item| item.0).collect())
            }
        }
    };
}
pub(crate) use list;

/// Four hexadecimal digits, or fewer.
#[must_use]
pub fn parse_addr(text: &str) -> Option<Addr> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let fit = (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| fit).map(Addr)
}

/// Hexadecimal digits of octets.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Octets of exactly `2 * N` hexadecimal digits.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex_all(text)?.try_into().ok()
}

fn unhex_all(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn fwid_text(fwid: &Fwid) -> String {
    hex(&fwid.company_id.to_le_bytes()) + &hex(&fwid.version)
}

fn parse_fwid(text: &str) -> Option<Fwid> {
    FwidRef::from_bytes(&unhex_all(text)?)?.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0101", Some(0x0101))]
    #[case("c001", Some(0xC001))]
    #[case("0xC001", Some(0xC001))]
    #[case("7", Some(7))]
    #[case("", None)]
    #[case("10101", None)]
    #[case("+101", None)]
    #[case("01g1", None)]
    fn an_address_is_up_to_four_digits(#[case] text: &str, #[case] want: Option<u16>) {
        assert_eq!(parse_addr(text).map(|addr| addr.0), want);
    }

    #[test]
    fn names_of_the_wire_are_read_back() {
        for phase in mk_wire::distribution::RetrievedPhase::ALL {
            assert_eq!(named(mk_wire::distribution::RetrievedPhase::ALL, &format!("{phase:?}")), Some(*phase));
        }
        assert_eq!(named(mk_wire::distribution::Phase::ALL, "idle"), None);
    }

    #[test]
    fn hexadecimal_digits_are_read_back_and_nothing_else_is() {
        assert_eq!(unhex::<2>(&hex(&[0x0A, 0xFF])), Some([0x0A, 0xFF]));
        assert_eq!(unhex::<2>("0aff00"), None);
        assert_eq!(unhex::<2>("0af"), None);
        assert_eq!(unhex::<1>("é"), None);
    }
}
