//! Writing Firmware Distribution messages.

use super::*;
use crate::access::EncodeError;
use crate::codec::{Writer, length_octet};
use crate::fwid::MAX_VERSION;
use crate::update::check_ttl;

impl Message<'_> {
    pub(crate) fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Message::ReceiversAdd(set) => w.opcode(0x8311).bytes(set.0),
            Message::ReceiversDeleteAll => w.opcode(0x8312),
            Message::ReceiversStatus { status, count } => w.opcode(0x8313).u8(*status as u8).u16(*count),
            Message::ReceiversGet { limit: 0, .. } => {
                return Err(EncodeError::Prohibited { field: "entries limit" });
            }
            Message::ReceiversGet { first_index, limit } => w.opcode(0x8314).u16(*first_index).u16(*limit),
            Message::ReceiversList(list) => w.opcode(0x8315).u16(list.count).u16(list.first_index).bytes(list.octets),
            Message::CapabilitiesGet => w.opcode(0x8316),
            Message::CapabilitiesStatus(m) => w
                .opcode(0x8317)
                .u16(m.max_receivers)
                .u16(m.max_images)
                .u32(m.max_image_size)
                .u32(m.max_upload_space)
                .u32(m.remaining_space)
                .u8(u8::from(m.oob_schemes.is_some()))
                .bytes(m.oob_schemes.unwrap_or_default()),
            Message::Get => w.opcode(0x8318),
            Message::Start(m) => return m.encode(w),
            Message::Suspend => w.opcode(0x831A),
            Message::Cancel => w.opcode(0x831B),
            Message::Apply => w.opcode(0x831C),
            Message::Status(m) => return m.encode(w),
            Message::UploadGet => w.opcode(0x831E),
            Message::UploadStart(m) => {
                check_ttl(m.ttl)?;
                w.opcode(0x831F)
                    .u8(m.ttl)
                    .u16(m.timeout_base)
                    .u64(m.blob_id.0)
                    .u32(m.size)
                    .u8(length_octet(m.metadata, "metadata")?)
                    .bytes(m.metadata);
                return fwid(w, &m.fwid);
            }
            Message::UploadOobStart(m) => {
                w.opcode(0x8320).u8(length_octet(m.uri, "URI")?).bytes(m.uri);
                return fwid(w, &m.fwid);
            }
            Message::UploadCancel => w.opcode(0x8321),
            Message::UploadStatus(m) => {
                w.opcode(0x8322).u8(m.status as u8).u8(m.phase as u8);
                if let Some(upload) = &m.upload {
                    if upload.percent > 100 {
                        return Err(EncodeError::Prohibited { field: "percent" });
                    }
                    w.u8(upload.percent | u8::from(upload.oob) << 7);
                    fwid(w, &upload.fwid)?;
                }
                w
            }
            Message::FirmwareGet(id) => return fwid(w.opcode(0x8323), id),
            Message::FirmwareGetByIndex(index) => w.opcode(0x8324).u16(*index),
            Message::FirmwareDelete(id) => return fwid(w.opcode(0x8325), id),
            Message::FirmwareDeleteAll => w.opcode(0x8326),
            Message::FirmwareStatus(m) => {
                if m.image_index == Some(0xFFFF) {
                    return Err(EncodeError::Prohibited { field: "image index" });
                }
                w.opcode(0x8327).u8(m.status as u8).u16(m.entry_count).u16(m.image_index.unwrap_or(0xFFFF));
                if let Some(id) = &m.fwid {
                    fwid(w, id)?;
                }
                w
            }
        };
        Ok(())
    }
}

impl Start {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        check_ttl(self.ttl)?;
        check_app_key_index(self.app_key_index)?;
        if self.mode == TransferMode::None {
            return Err(EncodeError::Prohibited { field: "transfer mode" });
        }
        w.opcode(0x8319)
            .u16(self.app_key_index)
            .u8(self.ttl)
            .u16(self.timeout_base)
            .u8(self.mode as u8 | (self.policy as u8) << 2)
            .u16(self.image_index);
        match self.multicast {
            Multicast::Address(address) if address != Addr::UNASSIGNED && !address.is_group() => {
                return Err(EncodeError::Prohibited { field: "multicast address" });
            }
            Multicast::Address(address) => w.addr(address),
            Multicast::Label(label) => w.bytes(&label),
        };
        Ok(())
    }
}

impl DistributionStatus {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.distribution.is_some() != (self.phase != Phase::Idle) {
            return Err(EncodeError::Prohibited { field: "distribution phase" });
        }
        w.opcode(0x831D).u8(self.status as u8).u8(self.phase as u8);
        if let Some(d) = &self.distribution {
            check_ttl(d.ttl)?;
            check_app_key_index(d.app_key_index)?;
            w.addr(d.multicast)
                .u16(d.app_key_index)
                .u8(d.ttl)
                .u16(d.timeout_base)
                .u8(d.mode as u8 | (d.policy as u8) << 2)
                .u16(d.image_index);
        }
        Ok(())
    }
}

fn check_app_key_index(index: u16) -> Result<(), EncodeError> {
    if index > 0x0FFF { Err(EncodeError::Prohibited { field: "AppKey index" }) } else { Ok(()) }
}

fn fwid(w: &mut Writer<'_>, id: &FwidRef<'_>) -> Result<(), EncodeError> {
    if id.version.len() > MAX_VERSION {
        return Err(EncodeError::FieldTooLong { field: "firmware id", len: id.len() });
    }
    w.u16(id.company_id).bytes(id.version);
    Ok(())
}
