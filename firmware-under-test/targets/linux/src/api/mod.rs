//! What the processes say and understand over HTTP, as serde types.
//!
//! | process | request | body | answer |
//! | --- | --- | --- | --- |
//! | gateway | `POST /orders` | [`gateway::Orders`] | 202 [`gateway::Taken`] |
//! | gateway | `GET /events` | | server-sent [`Stamped`]`<`[`GatewayEvent`]`>` |
//! | gateway | `GET /state` | | [`gateway::GatewayState`] |
//! | MeshOS | `POST /campaign` | [`meshos::CampaignRequest`] | 201 [`meshos::CampaignAccepted`] |
//! | MeshOS | `POST /orders` | [`meshos::OperatorRequest`] | 200 [`meshos::MeshosState`] |
//! | MeshOS | `GET /events` | | server-sent [`Stamped`]`<`[`MeshosEvent`]`>` |
//! | MeshOS | `GET /state` | | [`meshos::MeshosState`] |
//! | MeshOS | `GET /journal` | | the journal as it lies on disk |
//! | both | `GET /healthz` | | 200 or 503 [`Health`] |
//!
//! Whatever goes wrong is answered with [`Refusal`]. Octets are base64, keys and digests hexadecimal, mesh addresses four
//! hexadecimal digits (`"0101"`), versions `"1.2.3+4"`, values of the wire's enums their names (`"TransferActive"`).
//!
//! **Server-sent events**: `id:` is the [`EventId`], `data:` one line of JSON, a [`Stamped`]. A reader that sends
//! `Last-Event-ID` gets what came after it, or, where that is no longer kept or from an earlier life of the process, a
//! [`Gap`] first (`event: gap`) and then everything kept. Without it, a reader gets everything kept; with `?from=now`, only
//! what is new.

pub mod form;
pub mod gateway;
pub mod meshos;

pub use gateway::GatewayEvent;
pub use meshos::MeshosEvent;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Names an event for as long as the process's folder lives: starts of the process so far, and events of this life.
/// Written `life-number`, both counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventId {
    /// Which start of the process.
    pub life: u32,
    /// Which event of that life.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.life, self.number)
    }
}

/// A text that is no event id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an event id: expected LIFE-NUMBER, as an `id:` line of /events has it")]
pub struct ParseEventIdError;

impl FromStr for EventId {
    type Err = ParseEventIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (life, number) = text.split_once('-').ok_or(ParseEventIdError)?;
        let life = life.parse().map_err(|_| ParseEventIdError)?;
        Ok(EventId { life, number: number.parse().map_err(|_| ParseEventIdError)? })
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An event with its name and its time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stamped<E> {
    /// Its name.
    pub id: EventId,
    /// Monotonic: milliseconds since this life of the process began.
    pub ms: u64,
    /// Wall clock: milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// What happened.
    pub event: E,
}

/// Events that a resuming reader asked for and cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// What the reader had last.
    pub after: EventId,
    /// The first that follows now.
    pub next: EventId,
}

/// Why a request was not carried out, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Where and what.
    pub error: String,
    /// The next step.
    pub next: String,
}

/// Whether a process can do its work.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// It can.
    pub ok: bool,
    /// In words, why or why not.
    pub state: String,
    /// What to do if not; empty otherwise.
    pub next: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[test]
    fn an_event_id_reads_as_it_is_written() {
        let id = EventId { life: 3, number: 41 };
        assert_eq!(id.to_string(), "3-41");
        assert_eq!("3-41".parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"3-41\"");
    }

    #[rstest]
    #[case("")]
    #[case("3")]
    #[case("3-")]
    #[case("-1")]
    #[case("3-x")]
    #[case("4294967296-1")]
    fn another_text_is_no_event_id(#[case] text: &str) {
        assert_eq!(text.parse::<EventId>(), Err(ParseEventIdError));
    }
}
