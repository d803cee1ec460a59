//! How `mk-wire`'s values lie in a journal record: as the plain numbers they already are on the wire.
//!
//! `mk-wire` knows nothing of serde, so that nodes need not carry it; these modules go with `#[serde(with = ..)]`. A
//! number that no value has is a decoding error.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! as_number {
    ($(#[$doc:meta])* $name:ident, $type:ty, $repr:ty, |$value:ident| $to:expr, |$number:ident| $from:expr) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use super::*;

            pub fn serialize<S: Serializer>($value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                let number: $repr = $to;
                number.serialize(serializer)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let $number = <$repr>::deserialize(deserializer)?;
                let value: Option<$type> = $from;
                value.ok_or_else(|| D::Error::custom("no such value"))
            }
        }
    };
}

as_number!(addr, mk_wire::Addr, u16, |value| value.0, |number| Some(mk_wire::Addr(number)));
as_number!(version, mk_wire::Version, [u8; 8], |value| value.to_bytes(), |number| Some(mk_wire::Version::from_bytes(
    number
)));
as_number!(reason, mk_wire::Reason, u8, |value| *value as u8, |number| mk_wire::Reason::from_u8(number));
as_number!(phase, mk_wire::distribution::RetrievedPhase, u8, |value| *value as u8, |number| {
    mk_wire::distribution::RetrievedPhase::from_u8(number)
});
as_number!(status, mk_wire::distribution::Status, u8, |value| *value as u8, |number| {
    mk_wire::distribution::Status::from_u8(number)
});
as_number!(
    /// Microseconds.
    instant, mk_wire::time::Instant, u64, |value| value.as_ticks(), |number| Some(
        mk_wire::time::Instant::from_ticks(number)
    )
);
as_number!(
    /// Microseconds.
    duration, mk_wire::time::Duration, u64, |value| value.as_ticks(), |number| Some(
        mk_wire::time::Duration::from_ticks(number)
    )
);

/// Lists of addresses.
pub(crate) mod addrs {
    use super::*;
    use alloc::vec::Vec;
    use mk_wire::Addr;

    pub fn serialize<S: Serializer>(value: &[Addr], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(|addr| addr.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Addr>, D::Error> {
        Ok(Vec::<u16>::deserialize(deserializer)?.into_iter().map(Addr).collect())
    }
}
