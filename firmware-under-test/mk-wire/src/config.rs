//! The three Configuration messages by which a gateway forms and dissolves a DFU group (protocol sheet section 12.7):
//! Config Model Subscription Add, Delete and Status. Sent under the node's device key; keys are not this crate's business.
//!
//! Addresses and model ids are carried as they come: whether they make sense, the node answers with a [`Status`], because
//! a sender that asks for something impossible has to be told so.

use crate::access::DecodeErrorKind;
use crate::addr::Addr;
use crate::codec::{Fault, Reader, Writer, wire_enum};

wire_enum! {
    /// Status of a Configuration answer; only those that a subscription can meet.
    pub enum Status {
        /// Done, or there was nothing to do.
        Success = 0x00,
        /// The node has no such element, or the address is no group.
        InvalidAddress = 0x01,
        /// The element has no such model.
        InvalidModel = 0x02,
        /// The subscription list is full.
        InsufficientResources = 0x05,
        /// The model does not subscribe.
        NotASubscribeModel = 0x08,
        /// The node could not store the change.
        StorageFailure = 0x09,
        /// Something else failed.
        UnspecifiedError = 0x10,
    }
}

/// Which model of an element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ModelId {
    /// A model of the Bluetooth SIG.
    Sig(u16),
    /// A model of a company.
    Vendor {
        /// Company id.
        company: u16,
        /// The company's model id.
        model: u16,
    },
}

impl ModelId {
    /// BLOB Transfer Server.
    pub const BLOB_TRANSFER_SERVER: ModelId = ModelId::Sig(0x1400);
    /// Firmware Update Server.
    pub const FIRMWARE_UPDATE_SERVER: ModelId = ModelId::Sig(0x1402);
}

/// One entry of a subscription list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// Unicast address of the element.
    pub element: Addr,
    /// The group.
    pub group: Addr,
    /// The model that listens, or shall listen, to the group.
    pub model: ModelId,
}

/// A Configuration message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Asks a model to listen to a group.
    SubscriptionAdd(Subscription),
    /// Asks a model not to listen to a group any more.
    SubscriptionDelete(Subscription),
    /// Answers both.
    SubscriptionStatus {
        /// What became of the request.
        status: Status,
        /// The entry that it spoke of.
        subscription: Subscription,
    },
}

impl Message {
    pub(crate) fn decode(opcode: u32, r: &mut Reader<'_>) -> Result<Self, Fault> {
        let message = match opcode {
            0x801B => Message::SubscriptionAdd(decode_subscription(r)?),
            0x801C => Message::SubscriptionDelete(decode_subscription(r)?),
            0x801F => {
                Message::SubscriptionStatus { status: r.value(Status::from_u8)?, subscription: decode_subscription(r)? }
            }
            _ => return Err(Fault { offset: 0, kind: DecodeErrorKind::UnknownOpcode }),
        };
        r.end()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Message::SubscriptionAdd(s) => s.encode(w.opcode(0x801B)),
            Message::SubscriptionDelete(s) => s.encode(w.opcode(0x801C)),
            Message::SubscriptionStatus { status, subscription } => {
                subscription.encode(w.opcode(0x801F).u8(*status as u8));
            }
        }
    }
}

impl Subscription {
    fn encode(&self, w: &mut Writer<'_>) {
        w.addr(self.element).addr(self.group);
        match self.model {
            ModelId::Sig(model) => w.u16(model),
            ModelId::Vendor { company, model } => w.u16(company).u16(model),
        };
    }
}

/// The length tells the two kinds of model id apart.
fn decode_subscription(r: &mut Reader<'_>) -> Result<Subscription, Fault> {
    let (element, group, first) = (r.addr()?, r.addr()?, r.u16()?);
    let model =
        if r.remaining() == 0 { ModelId::Sig(first) } else { ModelId::Vendor { company: first, model: r.u16()? } };
    Ok(Subscription { element, group, model })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::access::{AccessMessage, DecodeErrorKind};
    use rstest::rstest;

    const UPDATE: Subscription =
        Subscription { element: Addr(0x0101), group: Addr(0xC0DE), model: ModelId::FIRMWARE_UPDATE_SERVER };
    const OURS: Subscription = Subscription { model: ModelId::Vendor { company: 0xFFFF, model: 0x0001 }, ..UPDATE };

    #[rstest]
    #[case::add(Message::SubscriptionAdd(UPDATE), &[0x80, 0x1B, 0x01, 0x01, 0xDE, 0xC0, 0x02, 0x14])]
    #[case::delete(Message::SubscriptionDelete(UPDATE), &[0x80, 0x1C, 0x01, 0x01, 0xDE, 0xC0, 0x02, 0x14])]
    #[case::vendor(Message::SubscriptionAdd(OURS), &[0x80, 0x1B, 0x01, 0x01, 0xDE, 0xC0, 0xFF, 0xFF, 0x01, 0x00])]
    #[case::status(
        Message::SubscriptionStatus { status: Status::InsufficientResources, subscription: UPDATE },
        &[0x80, 0x1F, 0x05, 0x01, 0x01, 0xDE, 0xC0, 0x02, 0x14]
    )]
    fn the_octets_are_those_of_the_standard(#[case] message: Message, #[case] octets: &[u8]) {
        assert_eq!(AccessMessage::Config(message).to_buffer().unwrap(), octets);
        assert_eq!(AccessMessage::decode(octets).unwrap(), AccessMessage::Config(message));
    }

    #[rstest]
    #[case::no_model(&[0x80, 0x1B, 0x01, 0x01, 0xDE, 0xC0], DecodeErrorKind::Truncated)]
    #[case::half_a_vendor_model(&[0x80, 0x1B, 1, 1, 0xDE, 0xC0, 2, 0x14, 0], DecodeErrorKind::Truncated)]
    #[case::too_long(&[0x80, 0x1B, 1, 1, 0xDE, 0xC0, 2, 0x14, 0, 0, 0], DecodeErrorKind::TrailingOctets)]
    #[case::unknown_status(&[0x80, 0x1F, 0x7F, 1, 1, 0xDE, 0xC0, 2, 0x14], DecodeErrorKind::Prohibited { value: 0x7F })]
    fn anything_else_is_refused(#[case] octets: &[u8], #[case] kind: DecodeErrorKind) {
        assert_eq!(AccessMessage::decode(octets).unwrap_err().kind, kind);
    }
}
