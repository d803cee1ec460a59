//! The part of the Configuration Server that belongs to these layers (section 12.7): default TTL, relay, network transmit
//! and the two SAR states. Everything else under the device key is handed up to the models.

use super::{Event, Stack};
use crate::keys::{DeviceKeys, KeyUse};
use crate::outgoing::{Destination, SHORT_ACCESS};
use crate::states::{SarReceiver, SarTransmitter, States, Transmit, ttl_allowed};
use heapless::Vec;
use mk_wire::Addr;
use mk_wire::time::Instant;

/// Answer to a Configuration message.
type Answer = Vec<u8, SHORT_ACCESS>;

fn answer(opcode: u8, fields: &[u8]) -> Answer {
    let mut out = Answer::new();
    // The longest has six octets.
    let _ = out.extend_from_slice(&[0x80, opcode]);
    let _ = out.extend_from_slice(fields);
    out
}

fn default_ttl(states: &States) -> Answer {
    answer(0x0E, &[states.default_ttl])
}

fn network_transmit(states: &States) -> Answer {
    answer(0x25, &[states.network_transmit.0])
}

fn relay(states: &States) -> Answer {
    answer(0x28, &[u8::from(states.relay), states.relay_retransmit.0])
}

fn sar_transmitter(states: &States) -> Answer {
    answer(0x6E, &states.sar_transmitter.encode())
}

fn sar_receiver(states: &States) -> Answer {
    answer(0x71, &states.sar_receiver.encode())
}

/// What a message leads to: the states after it and the answer. `None` for a message of somebody else; no answer for one
/// of these with prohibited values, which the standard says to ignore.
fn handle(states: &States, access: &[u8]) -> Option<(States, Option<Answer>)> {
    let mut after = *states;
    let [0x80, opcode, fields @ ..] = access else { return None };
    let answer = match (opcode, fields) {
        (0x0C, []) => Some(default_ttl(states)),
        (0x0D, [ttl]) if ttl_allowed(*ttl) => {
            after.default_ttl = *ttl;
            Some(default_ttl(&after))
        }
        (0x23, []) => Some(network_transmit(states)),
        (0x24, [octet]) => {
            after.network_transmit = Transmit(*octet);
            Some(network_transmit(&after))
        }
        (0x26, []) => Some(relay(states)),
        (0x27, [on @ 0..=1, octet]) => {
            (after.relay, after.relay_retransmit) = (*on == 1, Transmit(*octet));
            Some(relay(&after))
        }
        (0x6C, []) => Some(sar_transmitter(states)),
        (0x6D, [a, b, c, d]) => SarTransmitter::decode([*a, *b, *c, *d]).map(|state| {
            after.sar_transmitter = state;
            sar_transmitter(&after)
        }),
        (0x6F, []) => Some(sar_receiver(states)),
        (0x70, [a, b, c]) => SarReceiver::decode([*a, *b, *c]).map(|state| {
            after.sar_receiver = state;
            sar_receiver(&after)
        }),
        (0x0C | 0x0D | 0x23 | 0x24 | 0x26 | 0x27 | 0x6C | 0x6D | 0x6F | 0x70, _) => None,
        _ => return None,
    };
    Some((after, answer))
}

impl<D: DeviceKeys, const IN: usize, const OUT: usize, const PEERS: usize> Stack<D, IN, OUT, PEERS> {
    /// Handles a message if it is one of these. Only the device key may configure.
    pub(super) fn configure(&mut self, now: Instant, from: Addr, to: Addr, key: KeyUse, access: &[u8]) -> bool {
        if key != KeyUse::Device || to != self.address {
            return false;
        }
        let Some((after, answer)) = handle(&self.states, access) else { return false };
        if after != self.states {
            self.states = after;
            self.states_dirty = true;
            self.tell(Event::Configured);
        }
        if let Some(answer) = answer {
            // Too much waits already: the client will ask again.
            let _ = self.send(now, Destination::device(from), &answer);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::ttl(&[0x80, 0x0D, 9], &[0x80, 0x0C], &[0x80, 0x0E, 9])]
    #[case::transmit(&[0x80, 0x24, 0x41], &[0x80, 0x23], &[0x80, 0x25, 0x41])]
    #[case::relay(&[0x80, 0x27, 1, 0x0A], &[0x80, 0x26], &[0x80, 0x28, 1, 0x0A])]
    #[case::sar_tx(&[0x80, 0x6D, 0x25, 0x72, 0x21, 0x09], &[0x80, 0x6C], &[0x80, 0x6E, 0x25, 0x72, 0x21, 0x09])]
    #[case::sar_rx(&[0x80, 0x70, 0x23, 0x51, 0x01], &[0x80, 0x6F], &[0x80, 0x71, 0x23, 0x51, 0x01])]
    fn what_is_set_is_what_is_read(#[case] set: &[u8], #[case] get: &[u8], #[case] status: &[u8]) {
        let (after, answer) = handle(&States::DEFAULT, set).unwrap();
        assert_eq!(answer.unwrap(), status);
        assert_eq!(handle(&after, get).unwrap(), (after, Some(Answer::from_slice(status).unwrap())));
        assert_eq!(States::decode(&after.encode()), Some(after));
    }

    #[rstest]
    #[case::ttl_of_one(&[0x80, 0x0D, 1])]
    #[case::ttl_too_high(&[0x80, 0x0D, 0x80])]
    #[case::third_relay_state(&[0x80, 0x27, 2, 0])]
    #[case::reserved_bits(&[0x80, 0x6D, 0, 0, 0, 0x10])]
    #[case::too_long(&[0x80, 0x0C, 0])]
    fn prohibited_values_change_nothing_and_get_no_answer(#[case] message: &[u8]) {
        assert_eq!(handle(&States::DEFAULT, message), Some((States::DEFAULT, None)));
    }

    #[rstest]
    #[case::subscription(&[0x80, 0x1B, 1, 1, 0xDE, 0xC0, 2, 0x14])]
    #[case::an_answer(&[0x80, 0x0E, 5])]
    #[case::nothing(&[])]
    fn other_messages_are_the_models_business(#[case] message: &[u8]) {
        assert_eq!(handle(&States::DEFAULT, message), None);
    }
}
