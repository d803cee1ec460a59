//! Firmware Distribution messages (protocol sheet section 8): between MeshOS (initiator) and gateway (distributor).

mod decode;
mod encode;
mod receivers;

pub use receivers::{ReceiverEntry, ReceiverList, ReceiverReport, ReceiverSet};

use crate::addr::Addr;
use crate::blob::{BlobId, TransferMode};
use crate::codec::wire_enum;
use crate::fwid::FwidRef;

wire_enum! {
    /// Status of a Firmware Distribution answer.
    pub enum Status {
        /// The request was accepted.
        Success = 0,
        /// No room in a list or store.
        InsufficientResources = 1,
        /// The request does not fit the phase.
        WrongPhase = 2,
        /// Something failed inside the distributor.
        InternalError = 3,
        /// No image has this index or firmware id.
        FirmwareNotFound = 4,
        /// The application key is not bound to the model.
        InvalidAppKeyIndex = 5,
        /// There is nobody to distribute to.
        ReceiversListEmpty = 6,
        /// A distribution is running.
        BusyWithDistribution = 7,
        /// An upload is running.
        BusyWithUpload = 8,
        /// The URI scheme is not supported.
        UriNotSupported = 9,
        /// The URI is malformed.
        UriMalformed = 10,
        /// The URI cannot be reached.
        UriUnreachable = 11,
        /// There is nothing newer.
        NewFirmwareNotAvailable = 12,
        /// The distribution could not be suspended.
        SuspendFailed = 13,
    }
}

wire_enum! {
    /// Phase of a distribution.
    pub enum Phase {
        /// No distribution.
        Idle = 0,
        /// The image is being sent.
        TransferActive = 1,
        /// At least one receiver has verified the image.
        TransferSuccess = 2,
        /// The image is being applied.
        ApplyingUpdate = 3,
        /// At least one receiver runs the image.
        Completed = 4,
        /// No receiver is left.
        Failed = 5,
        /// Receivers are told to drop the update.
        CancelingUpdate = 6,
        /// Sending is suspended.
        TransferSuspended = 7,
    }
}

wire_enum! {
    /// Phase of an upload to the distributor.
    pub enum UploadPhase {
        /// No upload.
        Idle = 0,
        /// The image is being received.
        TransferActive = 1,
        /// The upload failed or was suspended.
        TransferError = 2,
        /// The image is stored.
        TransferSuccess = 3,
    }
}

wire_enum! {
    /// What the distributor last learnt of a receiver's update.
    pub enum RetrievedPhase {
        /// Idle.
        Idle = 0,
        /// Transfer Error.
        TransferError = 1,
        /// Transfer Active.
        TransferActive = 2,
        /// Verifying Update.
        VerifyingUpdate = 3,
        /// Verification Succeeded.
        VerificationSucceeded = 4,
        /// Verification Failed.
        VerificationFailed = 5,
        /// Applying Update.
        ApplyingUpdate = 6,
        /// The transfer was cancelled.
        TransferCanceled = 7,
        /// The receiver reads back the new firmware id.
        ApplySuccess = 8,
        /// The receiver reads back another firmware id.
        ApplyFailed = 9,
        /// Nothing is known yet.
        Unknown = 10,
    }
}

wire_enum! {
    /// What a distributor does once the image is verified.
    pub enum UpdatePolicy {
        /// Wait for an Apply.
        VerifyOnly = 0,
        /// Apply at once.
        VerifyAndApply = 1,
    }
}

/// Where a distribution is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Multicast {
    /// A group address, or [`Addr::UNASSIGNED`] to send to each receiver by unicast.
    Address(Addr),
    /// The label of a virtual address.
    Label([u8; 16]),
}

/// Distribution Start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Index of the application key, 12 bits.
    pub app_key_index: u16,
    /// Time to live; 0xFF for the default.
    pub ttl: u8,
    /// Timeout Base, in units of 10 s.
    pub timeout_base: u16,
    /// Push or Pull.
    pub mode: TransferMode,
    /// Verify only, or apply too.
    pub policy: UpdatePolicy,
    /// Which stored image.
    pub image_index: u16,
    /// Group, label or unicast.
    pub multicast: Multicast,
}

/// Distribution Status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DistributionStatus {
    /// Answer to the request.
    pub status: Status,
    /// Phase of the distribution.
    pub phase: Phase,
    /// The distribution; present unless the phase is Idle.
    pub distribution: Option<RunningDistribution>,
}

/// The parameters of a distribution inside a Distribution Status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningDistribution {
    /// Group or virtual address; unassigned for unicast.
    pub multicast: Addr,
    /// Index of the application key.
    pub app_key_index: u16,
    /// Time to live.
    pub ttl: u8,
    /// Timeout Base, in units of 10 s.
    pub timeout_base: u16,
    /// Push or Pull.
    pub mode: TransferMode,
    /// Verify only, or apply too.
    pub policy: UpdatePolicy,
    /// Which stored image.
    pub image_index: u16,
}

/// Capabilities Status: what a distributor can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities<'a> {
    /// Most receivers.
    pub max_receivers: u16,
    /// Most stored images.
    pub max_images: u16,
    /// Largest image in octets.
    pub max_image_size: u32,
    /// Space for images in octets.
    pub max_upload_space: u32,
    /// Space left in octets.
    pub remaining_space: u32,
    /// URI scheme codes for upload out of band; `None` if not supported.
    pub oob_schemes: Option<&'a [u8]>,
}

/// Upload Start: announces an image over BLOB transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UploadStart<'a> {
    /// Time to live; 0xFF for the default.
    pub ttl: u8,
    /// Timeout Base, in units of 10 s.
    pub timeout_base: u16,
    /// The BLOB.
    pub blob_id: BlobId,
    /// Its size in octets.
    pub size: u32,
    /// Firmware Metadata to be handed to the receivers.
    pub metadata: &'a [u8],
    /// The image's firmware id.
    pub fwid: FwidRef<'a>,
}

/// Upload OOB Start: tells the distributor where to fetch an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UploadOobStart<'a> {
    /// Where.
    pub uri: &'a [u8],
    /// Firmware id to ask an update for.
    pub fwid: FwidRef<'a>,
}

/// Upload Status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UploadStatus<'a> {
    /// Answer to the request.
    pub status: Status,
    /// Phase of the upload.
    pub phase: UploadPhase,
    /// The upload, if there is one.
    pub upload: Option<Upload<'a>>,
}

/// Progress of an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upload<'a> {
    /// Percent received, 0 to 100.
    pub percent: u8,
    /// It comes out of band.
    pub oob: bool,
    /// The image's firmware id.
    pub fwid: FwidRef<'a>,
}

/// Firmware Status: one stored image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirmwareStatus<'a> {
    /// Answer to the request.
    pub status: Status,
    /// Stored images.
    pub entry_count: u16,
    /// Index of this one; `None` if not found or not applicable (0xFFFF).
    pub image_index: Option<u16>,
    /// Its firmware id.
    pub fwid: Option<FwidRef<'a>>,
}

/// A Firmware Distribution message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Adds receivers, or changes the image index of known ones.
    ReceiversAdd(ReceiverSet<'a>),
    /// Empties the receivers list.
    ReceiversDeleteAll,
    /// Length of the receivers list.
    ReceiversStatus {
        /// Answer to the request.
        status: Status,
        /// Receivers in the list.
        count: u16,
    },
    /// Asks for part of the receivers list.
    ReceiversGet {
        /// Index of the first wanted.
        first_index: u16,
        /// Most entries wanted, at least 1.
        limit: u16,
    },
    /// Part of the receivers list.
    ReceiversList(ReceiverList<'a>),
    /// Asks for the capabilities.
    CapabilitiesGet,
    /// The capabilities.
    CapabilitiesStatus(Capabilities<'a>),
    /// Asks for a Distribution Status.
    Get,
    /// Starts or resumes a distribution.
    Start(Start),
    /// Suspends a distribution.
    Suspend,
    /// Cancels a distribution.
    Cancel,
    /// Applies a distributed image.
    Apply,
    /// State of the distribution.
    Status(DistributionStatus),
    /// Asks for an Upload Status.
    UploadGet,
    /// Starts an upload over BLOB transfer.
    UploadStart(UploadStart<'a>),
    /// Starts an upload out of band.
    UploadOobStart(UploadOobStart<'a>),
    /// Cancels an upload.
    UploadCancel,
    /// State of the upload.
    UploadStatus(UploadStatus<'a>),
    /// Asks for a stored image by firmware id.
    FirmwareGet(FwidRef<'a>),
    /// Asks for a stored image by index.
    FirmwareGetByIndex(u16),
    /// Deletes a stored image.
    FirmwareDelete(FwidRef<'a>),
    /// Deletes every stored image.
    FirmwareDeleteAll,
    /// One stored image.
    FirmwareStatus(FirmwareStatus<'a>),
}
