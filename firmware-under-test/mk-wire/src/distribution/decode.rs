//! Reading Firmware Distribution messages.

use super::*;
use crate::access::DecodeErrorKind;
use crate::codec::{Fault, Reader};

impl<'a> Message<'a> {
    pub(crate) fn decode(opcode: u32, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let message = match opcode {
            0x8311 => Message::ReceiversAdd(ReceiverSet::decode(r)?),
            0x8312 => Message::ReceiversDeleteAll,
            0x8313 => Message::ReceiversStatus { status: r.value(Status::from_u8)?, count: r.u16()? },
            0x8314 => {
                let (first_index, limit) = (r.u16()?, r.u16()?);
                if limit == 0 {
                    return Err(r.prohibited(2, limit));
                }
                Message::ReceiversGet { first_index, limit }
            }
            0x8315 => Message::ReceiversList(ReceiverList::decode(r)?),
            0x8316 => Message::CapabilitiesGet,
            0x8317 => Message::CapabilitiesStatus(capabilities(r)?),
            0x8318 => Message::Get,
            0x8319 => Message::Start(start(r)?),
            0x831A => Message::Suspend,
            0x831B => Message::Cancel,
            0x831C => Message::Apply,
            0x831D => Message::Status(distribution_status(r)?),
            0x831E => Message::UploadGet,
            0x831F => Message::UploadStart(upload_start(r)?),
            0x8320 => {
                let len = r.u8()?;
                Message::UploadOobStart(UploadOobStart { uri: r.take(usize::from(len))?, fwid: fwid(r)? })
            }
            0x8321 => Message::UploadCancel,
            0x8322 => Message::UploadStatus(upload_status(r)?),
            0x8323 => Message::FirmwareGet(fwid(r)?),
            0x8324 => Message::FirmwareGetByIndex(r.u16()?),
            0x8325 => Message::FirmwareDelete(fwid(r)?),
            0x8326 => Message::FirmwareDeleteAll,
            0x8327 => Message::FirmwareStatus(firmware_status(r)?),
            _ => return Err(Fault { offset: 0, kind: DecodeErrorKind::UnknownOpcode }),
        };
        r.end()?;
        Ok(message)
    }
}

/// The rest of the message is a firmware id.
fn fwid<'a>(r: &mut Reader<'a>) -> Result<FwidRef<'a>, Fault> {
    let kind = if r.remaining() < 2 { DecodeErrorKind::Truncated } else { DecodeErrorKind::ListLength };
    let fault = r.fault(0, kind);
    FwidRef::from_bytes(r.rest()).ok_or(fault)
}

fn app_key_index(r: &mut Reader<'_>) -> Result<u16, Fault> {
    match r.u16()? {
        index @ 0..=0x0FFF => Ok(index),
        _ => Err(r.fault(1, DecodeErrorKind::ReservedBits)),
    }
}

fn mode_and_policy(r: &mut Reader<'_>) -> Result<(TransferMode, UpdatePolicy), Fault> {
    let octet = r.u8()?;
    if octet & 0xF8 != 0 {
        return Err(r.fault(1, DecodeErrorKind::ReservedBits));
    }
    let mode = TransferMode::from_u8(octet & 0x03).ok_or_else(|| r.prohibited(1, octet))?;
    let policy = if octet & 0x04 == 0 { UpdatePolicy::VerifyOnly } else { UpdatePolicy::VerifyAndApply };
    Ok((mode, policy))
}

fn start(r: &mut Reader<'_>) -> Result<Start, Fault> {
    let (app_key_index, ttl, timeout_base) = (app_key_index(r)?, r.ttl()?, r.u16()?);
    let (mode, policy) = mode_and_policy(r)?;
    if mode == TransferMode::None {
        return Err(r.prohibited(1, 0u32));
    }
    let image_index = r.u16()?;
    let multicast = if r.remaining() == 16 {
        Multicast::Label(r.array()?)
    } else {
        let address = r.addr()?;
        if address != Addr::UNASSIGNED && !address.is_group() {
            return Err(r.prohibited(2, address.0));
        }
        Multicast::Address(address)
    };
    Ok(Start { app_key_index, ttl, timeout_base, mode, policy, image_index, multicast })
}

fn distribution_status(r: &mut Reader<'_>) -> Result<DistributionStatus, Fault> {
    let status = r.value(Status::from_u8)?;
    let phase = r.value(Phase::from_u8)?;
    let distribution = if phase == Phase::Idle {
        None
    } else {
        let (multicast, app_key_index, ttl, timeout_base) = (r.addr()?, app_key_index(r)?, r.ttl()?, r.u16()?);
        let (mode, policy) = mode_and_policy(r)?;
        Some(RunningDistribution { multicast, app_key_index, ttl, timeout_base, mode, policy, image_index: r.u16()? })
    };
    Ok(DistributionStatus { status, phase, distribution })
}

fn capabilities<'a>(r: &mut Reader<'a>) -> Result<Capabilities<'a>, Fault> {
    Ok(Capabilities {
        max_receivers: r.u16()?,
        max_images: r.u16()?,
        max_image_size: r.u32()?,
        max_upload_space: r.u32()?,
        remaining_space: r.u32()?,
        oob_schemes: match r.u8()? {
            0 => None,
            1 => Some(r.rest()),
            other => return Err(r.prohibited(1, other)),
        },
    })
}

fn upload_start<'a>(r: &mut Reader<'a>) -> Result<UploadStart<'a>, Fault> {
    let (ttl, timeout_base, blob_id, size, len) = (r.ttl()?, r.u16()?, BlobId(r.u64()?), r.u32()?, r.u8()?);
    Ok(UploadStart { ttl, timeout_base, blob_id, size, metadata: r.take(usize::from(len))?, fwid: fwid(r)? })
}

fn upload_status<'a>(r: &mut Reader<'a>) -> Result<UploadStatus<'a>, Fault> {
    let status = r.value(Status::from_u8)?;
    let phase = r.value(UploadPhase::from_u8)?;
    let upload = if r.remaining() == 0 {
        None
    } else {
        let octet = r.u8()?;
        let percent = octet & 0x7F;
        if percent > 100 {
            return Err(r.prohibited(1, percent));
        }
        Some(Upload { percent, oob: octet & 0x80 != 0, fwid: fwid(r)? })
    };
    Ok(UploadStatus { status, phase, upload })
}

fn firmware_status<'a>(r: &mut Reader<'a>) -> Result<FirmwareStatus<'a>, Fault> {
    let (status, entry_count, index) = (r.value(Status::from_u8)?, r.u16()?, r.u16()?);
    let fwid = if r.remaining() == 0 { None } else { Some(fwid(r)?) };
    Ok(FirmwareStatus { status, entry_count, image_index: (index != 0xFFFF).then_some(index), fwid })
}
