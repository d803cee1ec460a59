//! What a gateway writes down: its log, and in it everything that has to survive a restart.
//!
//! One stream serves both. A record for which [`GatewayRecord::is_state`] holds has to be stored before later outputs of
//! the gateway are carried out; after a restart the stored ones, in order, rebuild the gateway
//! ([`crate::Gateway::restore`]). The others are for whoever reads the log. Nothing is ever rewritten, so a process that
//! dies at any moment leaves a prefix of the stream, and every prefix is a state that the gateway was in.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mk_wire::distribution::{Phase, ReceiverEntry, RetrievedPhase, Start};
use mk_wire::metadata::FirmwareMetadata;
use mk_wire::vendor::Report;
use mk_wire::{Addr, BlobId, Fwid, Version, blob, update};

/// Log records (not state) kept until polled; a host that never polls loses later ones.
const MAX_LOG: usize = 65_536;

/// One entry of the gateway's journal.
#[derive(Clone, PartialEq, Debug)]
pub enum GatewayRecord {
    /// State: MeshOS finished the upload of an image.
    ImageStored {
        /// Its firmware id.
        fwid: Fwid,
        /// Firmware Metadata that goes with it.
        metadata: Vec<u8>,
        /// The image file.
        image: Vec<u8>,
    },
    /// State: an image was deleted.
    ImageDeleted {
        /// Its firmware id.
        fwid: Fwid,
    },
    /// State: every image was deleted.
    ImagesDeleted,
    /// State: receivers were added, or got another image index.
    ReceiversAdded {
        /// In the order given.
        receivers: Vec<ReceiverEntry>,
    },
    /// State: the receivers list was emptied.
    ReceiversDeleted,
    /// State: the share of the channel was set.
    ThrottleSet {
        /// The share, in permille.
        permille: u16,
    },
    /// State: the transmission window opened or closed.
    WindowSet {
        /// Open or closed.
        open: bool,
    },
    /// State: a distribution began.
    DistributionStarted {
        /// SHA-256 of the image file handed out.
        image_sha256: [u8; 32],
        /// The BLOB that carries it on the mesh.
        blob_id: BlobId,
        /// What MeshOS asked for.
        start: Start,
        /// The receivers, mesh and Thread.
        receivers: Vec<Addr>,
    },
    /// State: the phase of the distribution changed.
    DistributionPhase {
        /// The new phase.
        phase: Phase,
    },
    /// State: what is known of a receiver changed. Progress alone makes no record.
    ReceiverPhase {
        /// The receiver.
        node: Addr,
        /// Retrieved phase.
        phase: RetrievedPhase,
        /// Last status of its Firmware Update Server.
        update_status: update::Status,
        /// Last status of its BLOB Transfer Server.
        transfer_status: blob::Status,
        /// Progress of its transfer in percent.
        percent: u8,
    },
    /// State: a Thread node observes the manifest.
    ObserverAdded {
        /// The node.
        node: Addr,
        /// Its token, at most 8 octets.
        token: Vec<u8>,
    },
    /// State: a Thread node no longer observes the manifest.
    ObserverRemoved {
        /// The node.
        node: Addr,
    },
    /// State: a first-boot confirmation arrived for the first time.
    ConfirmationHeard {
        /// The node.
        node: Addr,
        /// Version that confirms.
        version: Version,
        /// The node's boot count, which names the boot.
        boot_count: u32,
    },
    /// State: MeshOS has been given the confirmation.
    ConfirmationPassedOn {
        /// The node.
        node: Addr,
        /// The node's boot count.
        boot_count: u32,
    },
    /// A confirmation was acknowledged; once per time it was heard.
    ConfirmationAcked {
        /// The node.
        node: Addr,
        /// The node's boot count.
        boot_count: u32,
    },
    /// A node answered the metadata it was offered, so it was delivered.
    MetadataDelivered {
        /// The node.
        node: Addr,
        /// SHA-256 over the metadata octets.
        metadata_sha256: [u8; 32],
        /// What the metadata says; `None` if it is not laid out as ours.
        facts: Option<FirmwareMetadata>,
        /// Whether the node accepted it.
        accepted: bool,
    },
    /// Every active mesh receiver holds a block.
    BlockDone {
        /// Block number.
        block: u16,
        /// Rounds it took, the first included.
        rounds: u16,
        /// Chunk messages sent, repetitions included.
        chunks_sent: u32,
        /// Repetitions among them.
        resent: u32,
    },
    /// A node holds the whole image.
    TransferComplete {
        /// The node.
        node: Addr,
        /// SHA-256 of the image file handed out.
        image_sha256: [u8; 32],
    },
    /// A node report arrived.
    ReportHeard {
        /// The node.
        node: Addr,
        /// What it says.
        report: Report,
    },
}

impl GatewayRecord {
    /// Must this record be stored to rebuild the gateway?
    #[must_use]
    pub const fn is_state(&self) -> bool {
        match self {
            GatewayRecord::ImageStored { .. }
            | GatewayRecord::ImageDeleted { .. }
            | GatewayRecord::ImagesDeleted
            | GatewayRecord::ReceiversAdded { .. }
            | GatewayRecord::ReceiversDeleted
            | GatewayRecord::ThrottleSet { .. }
            | GatewayRecord::WindowSet { .. }
            | GatewayRecord::DistributionStarted { .. }
            | GatewayRecord::DistributionPhase { .. }
            | GatewayRecord::ReceiverPhase { .. }
            | GatewayRecord::ObserverAdded { .. }
            | GatewayRecord::ObserverRemoved { .. }
            | GatewayRecord::ConfirmationHeard { .. }
            | GatewayRecord::ConfirmationPassedOn { .. } => true,
            GatewayRecord::ConfirmationAcked { .. }
            | GatewayRecord::MetadataDelivered { .. }
            | GatewayRecord::BlockDone { .. }
            | GatewayRecord::TransferComplete { .. }
            | GatewayRecord::ReportHeard { .. } => false,
        }
    }
}

/// Records not yet polled.
#[derive(Default)]
pub(crate) struct Journal {
    records: VecDeque<GatewayRecord>,
}

impl Journal {
    pub fn write(&mut self, record: GatewayRecord) {
        if record.is_state() || self.records.len() < MAX_LOG {
            self.records.push_back(record);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn poll(&mut self) -> Option<GatewayRecord> {
        self.records.pop_front()
    }
}
