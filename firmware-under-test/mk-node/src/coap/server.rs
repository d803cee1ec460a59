//! What the border router may ask of a Thread node: apply, firmware id, our access messages.
//!
//! Every request here may be repeated without harm (applying twice is applying once, a light level is set again to what it
//! is), so a duplicate is simply answered again. Applying is for the node's own gateway only.

use mk_wire::{
    AccessMessage,
    coap::{Code, Encoder, Kind, Message, option},
    update, vendor,
};

use super::{APPLY, Datagram, VENDOR, VERSION, client::build};

/// 4.03 Forbidden.
const FORBIDDEN: Code = Code(4 << 5 | 3);
/// 4.09 Conflict: not in this phase.
const CONFLICT: Code = Code(4 << 5 | 9);

/// A request, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Apply the verified image.
    Apply,
    /// Which firmware runs?
    Version,
    /// One of our messages.
    Vendor(vendor::Message),
    /// Answer with this code and do nothing.
    Refused(Code),
}

impl Request {
    /// Understands a request; `from_gateway` says who asks.
    pub fn read(message: &Message<'_>, from_gateway: bool) -> Self {
        if message.options.unknown_critical(&[option::URI_PATH]).is_some() {
            return Request::Refused(Code::BAD_OPTION);
        }
        let (path, code) = (|path| message.options.path_is(path), message.code);
        match () {
            () if path(APPLY) && code != Code::POST => Request::Refused(Code::METHOD_NOT_ALLOWED),
            () if path(APPLY) && !from_gateway => Request::Refused(FORBIDDEN),
            () if path(APPLY) => Request::Apply,
            () if path(VERSION) && code != Code::GET => Request::Refused(Code::METHOD_NOT_ALLOWED),
            () if path(VERSION) => Request::Version,
            () if path(VENDOR) && code != Code::POST => Request::Refused(Code::METHOD_NOT_ALLOWED),
            () if path(VENDOR) => match AccessMessage::decode(message.payload) {
                Ok(AccessMessage::Vendor(message)) => Request::Vendor(message),
                Ok(_) | Err(_) => Request::Refused(Code::BAD_REQUEST),
            },
            () => Request::Refused(Code::NOT_FOUND),
        }
    }
}

/// Code of the answer to Apply. Its payload is the Update Status that a mesh node would send.
pub(crate) const fn apply_code(status: update::Status) -> Code {
    match status {
        update::Status::Success => Code::CHANGED,
        update::Status::WrongPhase => CONFLICT,
        update::Status::InsufficientResources
        | update::Status::InternalError
        | update::Status::WrongFirmwareIndex
        | update::Status::MetadataCheckFailed
        | update::Status::TemporarilyUnavailable
        | update::Status::BlobTransferBusy => Code::INTERNAL_SERVER_ERROR,
    }
}

/// The response that rides on the acknowledgement. A non-confirmable request gets a non-confirmable one with the message id
/// `own`.
pub(crate) fn response(request: &Message<'_>, own: u16, code: Code, payload: &[u8]) -> Option<Datagram> {
    let (kind, message_id) = match request.kind {
        Kind::Confirmable => (Kind::Acknowledgement, request.message_id),
        Kind::NonConfirmable => (Kind::NonConfirmable, own),
        Kind::Acknowledgement | Kind::Reset => return None,
    };
    build(|out| Encoder::new(out, kind, code, message_id, request.token).payload(payload))
}
