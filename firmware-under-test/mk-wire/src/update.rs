//! Firmware Update messages (protocol sheet section 7): between distributor and node.

use crate::access::{DecodeErrorKind, EncodeError};
use crate::blob::BlobId;
use crate::codec::{Fault, Reader, Writer, length_octet, wire_enum};
use crate::fwid::FwidRef;

/// Longest metadata of an Update Start, in octets.
pub const MAX_METADATA: usize = 255;

wire_enum! {
    /// Status of a Firmware Update answer.
    pub enum Status {
        /// The request was accepted.
        Success = 0,
        /// No room for the image.
        InsufficientResources = 1,
        /// The request does not fit the update phase, or contradicts the running update.
        WrongPhase = 2,
        /// Something failed inside the node.
        InternalError = 3,
        /// No image has this index.
        WrongFirmwareIndex = 4,
        /// The metadata was refused; the standard has one code for every reason.
        MetadataCheckFailed = 5,
        /// Try again later.
        TemporarilyUnavailable = 6,
        /// The BLOB server is busy with another transfer.
        BlobTransferBusy = 7,
    }
}

wire_enum! {
    /// Phase of an update at the node.
    pub enum Phase {
        /// No update.
        Idle = 0,
        /// The BLOB transfer failed or was suspended.
        TransferError = 1,
        /// The BLOB is being received.
        TransferActive = 2,
        /// The staged image is being verified.
        VerifyingUpdate = 3,
        /// The staged image may be applied.
        VerificationSucceeded = 4,
        /// The staged image was refused.
        VerificationFailed = 5,
        /// The staged image is being applied.
        ApplyingUpdate = 6,
    }
}

wire_enum! {
    /// What applying the image does to the node's provisioning.
    pub enum Effect {
        /// The composition does not change.
        CompositionUnchanged = 0,
        /// The composition changes; the node has to be provisioned anew.
        CompositionChanges = 1,
        /// The composition changes; remote provisioning can follow it.
        CompositionChangesRemotely = 2,
        /// The node will be unprovisioned.
        Unprovisioned = 3,
    }
}

/// Information Status: the images of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InformationStatus<'a> {
    /// Images on the node, also those not listed here.
    pub count: u8,
    /// Index of the first entry.
    pub first_index: u8,
    /// Entries from there on, as many as fit.
    pub images: ImageList<'a>,
}

/// One image of an Information Status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageEntry<'a> {
    /// Its firmware id.
    pub fwid: FwidRef<'a>,
    /// Where updates can be had (https), or empty.
    pub uri: &'a [u8],
}

impl ImageEntry<'_> {
    const fn len(&self) -> usize {
        2 + self.fwid.len() + self.uri.len()
    }
}

/// The entries of an Information Status, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageList<'a>(&'a [u8]);

impl<'a> ImageList<'a> {
    /// Octets of entries that fit an Information Status.
    pub const MAX_OCTETS: usize = crate::access::MAX_ACCESS - 4;

    /// Writes as many whole entries as fit into `out` (at most [`ImageList::MAX_OCTETS`] octets of it).
    #[must_use]
    pub fn build<'e>(entries: impl IntoIterator<Item = ImageEntry<'e>>, out: &'a mut [u8]) -> Self {
        let room = out.len().min(Self::MAX_OCTETS);
        let mut at = 0;
        for entry in entries {
            let (Ok(fwid_len), Ok(uri_len)) = (u8::try_from(entry.fwid.len()), u8::try_from(entry.uri.len())) else {
                break;
            };
            if at + entry.len() > room {
                break;
            }
            let mut w = Writer::new(out.get_mut(at..).unwrap_or_default());
            w.u8(fwid_len).u16(entry.fwid.company_id).bytes(entry.fwid.version).u8(uri_len).bytes(entry.uri);
            at += entry.len();
        }
        ImageList(out.get(..at).unwrap_or_default())
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = ImageEntry<'a>> + use<'a> {
        let mut r = Reader::new(self.0, 0);
        core::iter::from_fn(move || if r.remaining() == 0 { None } else { read_entry(&mut r).ok() })
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut check = *r;
        while check.remaining() > 0 {
            read_entry(&mut check)?;
        }
        Ok(ImageList(r.rest()))
    }
}

fn read_entry<'a>(r: &mut Reader<'a>) -> Result<ImageEntry<'a>, Fault> {
    let len = r.u8()?;
    let bytes = r.take(usize::from(len))?;
    let fwid = FwidRef::from_bytes(bytes).ok_or_else(|| r.prohibited(bytes.len() + 1, len))?;
    let uri_len = r.u8()?;
    Ok(ImageEntry { fwid, uri: r.take(usize::from(uri_len))? })
}

/// Update Start: opens an update at a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start<'a> {
    /// Time to live of everything sent during the update; 0xFF for the default.
    pub ttl: u8,
    /// Timeout Base of the BLOB transfer, in units of 10 s.
    pub timeout_base: u16,
    /// The BLOB that will carry the image.
    pub blob_id: BlobId,
    /// Which image of the node is replaced.
    pub image_index: u8,
    /// Firmware Metadata, at most [`MAX_METADATA`] octets.
    pub metadata: &'a [u8],
}

/// Update Status: where a node's update stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdateStatus {
    /// Answer to the request.
    pub status: Status,
    /// Phase of the update.
    pub phase: Phase,
    /// The update; present unless the phase is Idle.
    pub update: Option<RunningUpdate>,
}

/// The parameters of an update inside an Update Status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningUpdate {
    /// Time to live of the update's messages.
    pub ttl: u8,
    /// Effect of applying.
    pub effect: Effect,
    /// Timeout Base, in units of 10 s.
    pub timeout_base: u16,
    /// The BLOB.
    pub blob_id: BlobId,
    /// The image.
    pub image_index: u8,
}

/// A Firmware Update message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Asks for the node's images.
    InformationGet {
        /// Index of the first wanted.
        first_index: u8,
        /// Most entries wanted.
        limit: u8,
    },
    /// The node's images.
    InformationStatus(InformationStatus<'a>),
    /// Asks whether metadata would be accepted; changes nothing.
    MetadataCheck {
        /// The image that would be replaced.
        image_index: u8,
        /// Firmware Metadata.
        metadata: &'a [u8],
    },
    /// Whether metadata would be accepted.
    MetadataStatus {
        /// Success or the reason.
        status: Status,
        /// Effect of applying.
        effect: Effect,
        /// The image.
        image_index: u8,
    },
    /// Asks for an Update Status.
    Get,
    /// Opens an update.
    Start(Start<'a>),
    /// Drops an update.
    Cancel,
    /// Applies a verified image.
    Apply,
    /// State of the update.
    Status(UpdateStatus),
}

impl<'a> Message<'a> {
    pub(crate) fn decode(opcode: u32, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let message = match opcode {
            0x8308 => Message::InformationGet { first_index: r.u8()?, limit: r.u8()? },
            0x8309 => Message::InformationStatus(InformationStatus {
                count: r.u8()?,
                first_index: r.u8()?,
                images: ImageList::decode(r)?,
            }),
            0x830A => Message::MetadataCheck { image_index: r.u8()?, metadata: decode_metadata(r)? },
            0x830B => {
                let octet = r.u8()?;
                let effect = Effect::from_u8(octet >> 3).ok_or_else(|| r.prohibited(1, octet >> 3))?;
                Message::MetadataStatus { status: decode_status(r, octet)?, effect, image_index: r.u8()? }
            }
            0x830C => Message::Get,
            0x830D => Message::Start(Start {
                ttl: r.ttl()?,
                timeout_base: r.u16()?,
                blob_id: BlobId(r.u64()?),
                image_index: r.u8()?,
                metadata: decode_metadata(r)?,
            }),
            0x830E => Message::Cancel,
            0x830F => Message::Apply,
            0x8310 => Message::Status(decode_update_status(r)?),
            _ => return Err(Fault { offset: 0, kind: DecodeErrorKind::UnknownOpcode }),
        };
        r.end()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        match *self {
            Message::InformationGet { first_index, limit } => w.opcode(0x8308).u8(first_index).u8(limit),
            Message::InformationStatus(m) => w.opcode(0x8309).u8(m.count).u8(m.first_index).bytes(m.images.0),
            Message::MetadataCheck { image_index, metadata } => {
                length_octet(metadata, "metadata")?;
                w.opcode(0x830A).u8(image_index).bytes(metadata)
            }
            Message::MetadataStatus { status, effect, image_index } => {
                w.opcode(0x830B).u8(status as u8 | (effect as u8) << 3).u8(image_index)
            }
            Message::Get => w.opcode(0x830C),
            Message::Start(m) => {
                length_octet(m.metadata, "metadata")?;
                check_ttl(m.ttl)?;
                w.opcode(0x830D).u8(m.ttl).u16(m.timeout_base).u64(m.blob_id.0).u8(m.image_index).bytes(m.metadata)
            }
            Message::Cancel => w.opcode(0x830E),
            Message::Apply => w.opcode(0x830F),
            Message::Status(m) => return m.encode(w),
        };
        Ok(())
    }
}

impl UpdateStatus {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.update.is_some() != (self.phase != Phase::Idle) {
            return Err(EncodeError::Prohibited { field: "update phase" });
        }
        w.opcode(0x8310).u8(self.status as u8 | (self.phase as u8) << 5);
        if let Some(u) = self.update {
            check_ttl(u.ttl)?;
            w.u8(u.ttl).u8(u.effect as u8).u16(u.timeout_base).u64(u.blob_id.0).u8(u.image_index);
        }
        Ok(())
    }
}

/// Refuses to encode a time to live that no receiver accepts.
pub(crate) fn check_ttl(ttl: u8) -> Result<(), EncodeError> {
    match ttl {
        0x00..=0x7F | 0xFF => Ok(()),
        0x80..=0xFE => Err(EncodeError::Prohibited { field: "TTL" }),
    }
}

/// Status in bits 0-2 of an octet just read.
fn decode_status(r: &Reader<'_>, octet: u8) -> Result<Status, Fault> {
    Status::from_u8(octet & 0x07).ok_or_else(|| r.prohibited(1, octet & 0x07))
}

fn decode_metadata<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    if r.remaining() > MAX_METADATA {
        let mut end = *r;
        end.take(MAX_METADATA)?;
        return Err(end.fault(0, DecodeErrorKind::TrailingOctets));
    }
    Ok(r.rest())
}

fn decode_update_status(r: &mut Reader<'_>) -> Result<UpdateStatus, Fault> {
    let octet = r.u8()?;
    if octet & 0x18 != 0 {
        return Err(r.fault(1, DecodeErrorKind::ReservedBits));
    }
    let phase = Phase::from_u8(octet >> 5).ok_or_else(|| r.prohibited(1, octet >> 5))?;
    let status = decode_status(r, octet)?;
    let update = match phase {
        Phase::Idle => None,
        Phase::TransferError
        | Phase::TransferActive
        | Phase::VerifyingUpdate
        | Phase::VerificationSucceeded
        | Phase::VerificationFailed
        | Phase::ApplyingUpdate => Some(RunningUpdate {
            ttl: r.ttl()?,
            effect: {
                let octet = r.u8()?;
                if octet & 0xE0 != 0 {
                    return Err(r.fault(1, DecodeErrorKind::ReservedBits));
                }
                Effect::from_u8(octet).ok_or_else(|| r.prohibited(1, octet))?
            },
            timeout_base: r.u16()?,
            blob_id: BlobId(r.u64()?),
            image_index: r.u8()?,
        }),
    };
    Ok(UpdateStatus { status, phase, update })
}
