//! What the gateway process says and understands.
//!
//! | event | when |
//! | --- | --- |
//! | `started` | the process is up; its journal is read |
//! | `radio` | the link to the radio co-processor changed its state |
//! | `record` | the gateway's machine made a journal record: everything a log is read for |
//! | `notice` | a notice for MeshOS |
//! | `heard` | an access message from a node arrived, with hops and signal |
//! | `air` | what went on the air since the last such event: before each finished block and at each end of a transfer |
//! | `undelivered` | a segmented message to one node was given up |
//! | `iv-index` | the network's IV index moved |
//! | `orders` | orders of MeshOS were carried out |
//! | `stopping` | the process ends on request |

use super::form;
use mk_gateway::GatewayRecord;
use mk_wire::distribution::{Multicast, Phase, ReceiverEntry, RetrievedPhase, Start, UpdatePolicy};
use mk_wire::north::{Notice, Order};
use mk_wire::vendor::{AppReport, BootOutcome, Health, Report};
use mk_wire::{Addr, BlobId, Fwid, Reason, Version, access::Buffer, blob, metadata::FirmwareMetadata, update};
use serde::{Deserialize, Serialize};

/// `POST /orders`: at most [`Orders::MOST`], carried out in order.
///
/// A sender that repeats a batch because it heard no answer repeats its number; a gateway process carries it out once.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// Who sends, at most 64 octets; another life of a sender is another sender. Empty: batches are not told apart.
    #[serde(default)]
    pub sender: String,
    /// Counts the sender's batches upwards.
    #[serde(default)]
    pub batch: u64,
    /// The orders.
    #[serde(with = "orders")]
    pub orders: Vec<Order>,
}

impl Orders {
    /// Most orders of one request.
    pub const MOST: usize = 256;
    /// Most octets of a request's body.
    pub const MOST_OCTETS: usize = 512 * 1024;
    /// Most octets of a sender's name.
    pub const MOST_SENDER: usize = 64;
}

/// The answer to [`Orders`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// Orders carried out; 0 for a batch that had been carried out before.
    pub taken: usize,
}

/// One event of `GET /events`.
#[expect(
    clippy::large_enum_variant,
    reason = "records and notices are what mostly passes here, and none is kept for long"
)]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayEvent {
    /// The process is up.
    Started {
        /// The gateway's address.
        #[serde(with = "form::addr")]
        address: Addr,
        /// Journal records read; the gateway goes on from there.
        records: u64,
    },
    /// The link to the radio co-processor changed its state.
    Radio(RadioState),
    /// A journal record. `ImageStored` comes without the octets of the image; every other field is as recorded.
    Record(#[serde(with = "RecordForm")] GatewayRecord),
    /// A notice for MeshOS.
    Notice(#[serde(with = "NoticeForm")] Notice),
    /// An access message arrived.
    Heard {
        /// The node.
        #[serde(with = "form::addr")]
        from: Addr,
        /// This gateway, or a group that it listens to.
        #[serde(with = "form::addr")]
        to: Addr,
        /// Its opcode, one to three octets, most significant first.
        opcode: u32,
        /// Octets of the access message.
        octets: u16,
        /// Hops on the way; 1: directly.
        hops: u8,
        /// Strength of the last of its PDUs, in dBm.
        rssi_dbm: i8,
    },
    /// What went on the air since the last such event.
    Air(AirUse),
    /// A segmented message to a single node was given up: it did not acknowledge.
    Undelivered {
        /// The node.
        #[serde(with = "form::addr")]
        to: Addr,
        /// It answered that it will not have it.
        refused: bool,
    },
    /// The network's IV index, or whether an update of it is in progress, changed.
    IvIndex {
        /// The newest.
        index: u32,
        /// An update is in progress.
        updating: bool,
    },
    /// Orders were carried out.
    Orders {
        /// How many.
        count: usize,
    },
    /// The process ends on request.
    Stopping,
}

impl GatewayEvent {
    /// Name of the event in `event:` lines.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            GatewayEvent::Started { .. } => "started",
            GatewayEvent::Radio(_) => "radio",
            GatewayEvent::Record(_) => "record",
            GatewayEvent::Notice(_) => "notice",
            GatewayEvent::Heard { .. } => "heard",
            GatewayEvent::Air(_) => "air",
            GatewayEvent::Undelivered { .. } => "undelivered",
            GatewayEvent::IvIndex { .. } => "iv-index",
            GatewayEvent::Orders { .. } => "orders",
            GatewayEvent::Stopping => "stopping",
        }
    }
}

/// The link to the radio co-processor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RadioState {
    /// The port cannot be opened, or was lost; it is tried again with growing waits of at most two seconds.
    Absent {
        /// What the system says.
        reason: String,
        /// What to do.
        next: String,
    },
    /// The port is open; the co-processor does not answer yet.
    Silent,
    /// The co-processor speaks another version of the protocol.
    WrongVersion {
        /// Its version.
        radio: u8,
        /// Ours.
        host: u8,
    },
    /// It works.
    Ready {
        /// Transmissions it takes at once.
        window: u8,
    },
}

impl RadioState {
    /// Can messages be sent?
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, RadioState::Ready { .. })
    }
}

/// Use of the air as the co-processor reported it, PDU by PDU.
///
/// PDUs are counted when they went on the air, as this gateway's own; relays' copies are for the reader to estimate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct AirUse {
    /// PDUs of image data.
    pub data_pdus: u64,
    /// Every other PDU of ours: requests, acknowledgements, beacons.
    pub control_pdus: u64,
    /// PDUs that were handed to the co-processor and of which it never said that they were sent.
    pub lost_pdus: u64,
    /// Most data PDUs in any one second that ended in the interval.
    pub peak_data_pdus: u32,
    /// Share of the channel in force, in permille.
    pub throttle_permille: u16,
    /// PDUs received, before any check.
    pub received_pdus: u64,
    /// Length of the interval in milliseconds.
    pub interval_ms: u64,
}

/// `GET /state`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GatewayState {
    /// The gateway's address.
    #[serde(with = "form::addr")]
    pub address: Addr,
    /// Starts of the process so far.
    pub life: u32,
    /// Milliseconds since this start.
    pub uptime_ms: u64,
    /// The radio link.
    pub radio: RadioState,
    /// Phase of the distribution.
    #[serde(with = "form::phase")]
    pub phase: Phase,
    /// Share of the channel in force, in permille.
    pub throttle_permille: u16,
    /// Whether firmware may be sent now.
    pub window_open: bool,
    /// The receivers and what is known of them.
    pub receivers: Vec<ReceiverState>,
    /// Octets from the radio that belonged to no frame.
    pub radio_discarded: u64,
    /// Sequence numbers used up to here.
    pub sequence: u32,
    /// Octets of the journal on disk.
    pub journal_octets: u64,
}

/// One receiver of the distribution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiverState {
    /// The node.
    #[serde(with = "form::addr")]
    pub node: Addr,
    /// What the distributor last learnt of it.
    #[serde(with = "form::retrieved_phase")]
    pub phase: RetrievedPhase,
    /// Progress of its transfer in percent.
    pub percent: u8,
}

form::list!(
    /// Orders in their form.
    orders,
    Order,
    "OrderForm"
);

/// [`Order`] in JSON.
#[expect(clippy::large_enum_variant, reason = "the shape of a type that is made elsewhere")]
#[derive(Serialize, Deserialize)]
#[serde(remote = "Order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OrderForm {
    /// As [`Order::Access`].
    Access(#[serde(with = "form::access")] Buffer),
    /// As [`Order::Throttle`].
    Throttle {
        /// In permille.
        permille: u16,
    },
    /// As [`Order::Window`].
    Window {
        /// Open or closed.
        open: bool,
    },
    /// As [`Order::RequestReport`].
    RequestReport {
        /// The node.
        #[serde(with = "form::addr")]
        node: Addr,
    },
}

/// [`Notice`] in JSON.
#[expect(clippy::large_enum_variant, reason = "the shape of a type that is made elsewhere")]
#[derive(Serialize, Deserialize)]
#[serde(remote = "Notice", rename_all = "kebab-case")]
pub enum NoticeForm {
    /// As [`Notice::Access`].
    Access(#[serde(with = "form::access")] Buffer),
    /// As [`Notice::Confirmed`].
    Confirmed {
        /// The node.
        #[serde(with = "form::addr")]
        node: Addr,
        /// Names the boot.
        boot_count: u32,
        /// What confirms.
        #[serde(with = "form::version")]
        version: Version,
    },
    /// As [`Notice::Report`].
    Report {
        /// The node.
        #[serde(with = "form::addr")]
        node: Addr,
        /// What it says.
        #[serde(with = "ReportForm")]
        report: Report,
    },
    /// As [`Notice::Health`].
    Health {
        /// The node.
        #[serde(with = "form::addr")]
        node: Addr,
        /// What it says.
        #[serde(with = "HealthForm")]
        health: Health,
    },
    /// As [`Notice::AppReport`].
    AppReport {
        /// The node.
        #[serde(with = "form::addr")]
        node: Addr,
        /// What it says.
        #[serde(with = "AppReportForm")]
        report: AppReport,
    },
}

/// [`Report`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Report")]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct ReportForm {
    #[serde(with = "form::version")]
    pub running: Version,
    pub config_version: u16,
    pub boot_count: u32,
    #[serde(with = "form::boot_outcome")]
    pub outcome: BootOutcome,
    #[serde(with = "form::reason")]
    pub reason: Reason,
    #[serde(with = "form::version")]
    pub about: Version,
    #[serde(with = "form::update_phase")]
    pub update_phase: update::Phase,
}

/// [`Health`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Health")]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct HealthForm {
    pub hops: u8,
    pub rssi_dbm: i8,
    pub uptime_s: u32,
    pub degraded: bool,
}

/// [`AppReport`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "AppReport")]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct AppReportForm {
    pub temperature_centi_c: i16,
    pub light_level: u8,
    pub energy_wh: u32,
}

/// [`Start`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Start")]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct StartForm {
    pub app_key_index: u16,
    pub ttl: u8,
    pub timeout_base: u16,
    #[serde(with = "form::transfer_mode")]
    pub mode: blob::TransferMode,
    #[serde(with = "form::update_policy")]
    pub policy: UpdatePolicy,
    pub image_index: u16,
    #[serde(with = "MulticastForm")]
    pub multicast: Multicast,
}

/// [`Multicast`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Multicast", rename_all = "kebab-case")]
pub enum MulticastForm {
    /// As [`Multicast::Address`].
    Address(#[serde(with = "form::addr")] Addr),
    /// As [`Multicast::Label`].
    Label(#[serde(with = "form::key")] [u8; 16]),
}

/// [`ReceiverEntry`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ReceiverEntry")]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct ReceiverEntryForm {
    #[serde(with = "form::addr")]
    pub address: Addr,
    pub image_index: u8,
}

form::list!(
    /// Receivers in their form.
    receiver_entries,
    ReceiverEntry,
    "ReceiverEntryForm"
);

/// [`GatewayRecord`] in JSON: as it is told to readers and as it lies in the journal.
#[derive(Serialize, Deserialize)]
#[serde(remote = "GatewayRecord", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "variants and fields are those of the type")]
pub enum RecordForm {
    ImageStored {
        #[serde(with = "form::fwid")]
        fwid: Fwid,
        #[serde(with = "form::octets")]
        metadata: Vec<u8>,
        #[serde(with = "form::octets")]
        image: Vec<u8>,
    },
    ImageDeleted {
        #[serde(with = "form::fwid")]
        fwid: Fwid,
    },
    ImagesDeleted,
    ReceiversAdded {
        #[serde(with = "receiver_entries")]
        receivers: Vec<ReceiverEntry>,
    },
    ReceiversDeleted,
    ThrottleSet {
        permille: u16,
    },
    WindowSet {
        open: bool,
    },
    DistributionStarted {
        #[serde(with = "form::digest")]
        image_sha256: [u8; 32],
        #[serde(with = "form::blob_id")]
        blob_id: BlobId,
        #[serde(with = "StartForm")]
        start: Start,
        #[serde(with = "form::addrs")]
        receivers: Vec<Addr>,
    },
    DistributionPhase {
        #[serde(with = "form::phase")]
        phase: Phase,
    },
    ReceiverPhase {
        #[serde(with = "form::addr")]
        node: Addr,
        #[serde(with = "form::retrieved_phase")]
        phase: RetrievedPhase,
        #[serde(with = "form::update_status")]
        update_status: update::Status,
        #[serde(with = "form::blob_status")]
        transfer_status: blob::Status,
        percent: u8,
    },
    ObserverAdded {
        #[serde(with = "form::addr")]
        node: Addr,
        #[serde(with = "form::octets")]
        token: Vec<u8>,
    },
    ObserverRemoved {
        #[serde(with = "form::addr")]
        node: Addr,
    },
    ConfirmationHeard {
        #[serde(with = "form::addr")]
        node: Addr,
        #[serde(with = "form::version")]
        version: Version,
        boot_count: u32,
    },
    ConfirmationPassedOn {
        #[serde(with = "form::addr")]
        node: Addr,
        boot_count: u32,
    },
    ConfirmationAcked {
        #[serde(with = "form::addr")]
        node: Addr,
        boot_count: u32,
    },
    MetadataDelivered {
        #[serde(with = "form::addr")]
        node: Addr,
        #[serde(with = "form::digest")]
        metadata_sha256: [u8; 32],
        #[serde(with = "form::metadata")]
        facts: Option<FirmwareMetadata>,
        accepted: bool,
    },
    BlockDone {
        block: u16,
        rounds: u16,
        chunks_sent: u32,
        resent: u32,
    },
    TransferComplete {
        #[serde(with = "form::addr")]
        node: Addr,
        #[serde(with = "form::digest")]
        image_sha256: [u8; 32],
    },
    ReportHeard {
        #[serde(with = "form::addr")]
        node: Addr,
        #[serde(with = "ReportForm")]
        report: Report,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(GatewayRecord::ImagesDeleted, r#"{"record":"images-deleted"}"#)]
    #[case(
        GatewayRecord::DistributionPhase { phase: Phase::TransferActive },
        r#"{"record":{"distribution-phase":{"phase":"TransferActive"}}}"#
    )]
    #[case(
        GatewayRecord::ConfirmationHeard { node: Addr(0x101), version: Version::new(1, 2, 0), boot_count: 7 },
        r#"{"record":{"confirmation-heard":{"node":"0101","version":"1.2.0","boot_count":7}}}"#
    )]
    #[case(
        GatewayRecord::ReceiversAdded { receivers: vec![ReceiverEntry { address: Addr(0x102), image_index: 0 }] },
        r#"{"record":{"receivers-added":{"receivers":[{"address":"0102","image_index":0}]}}}"#
    )]
    fn a_record_reads_as_the_log_says(#[case] record: GatewayRecord, #[case] want: &str) {
        let event = GatewayEvent::Record(record);
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, want);
        assert_eq!(serde_json::from_str::<GatewayEvent>(&json).unwrap(), event);
    }

    #[test]
    fn orders_are_read_back() {
        let orders = Orders {
            sender: "m-1".to_owned(),
            batch: 4,
            orders: vec![
                Order::Access(Buffer::from_slice(&[0x83, 0x17]).unwrap()),
                Order::Throttle { permille: 400 },
                Order::RequestReport { node: Addr(0x101) },
            ],
        };
        let json = serde_json::to_string(&orders).unwrap();
        assert!(json.contains(r#"{"access":"gxc="}"#), "{json}");
        assert_eq!(serde_json::from_str::<Orders>(&json).unwrap(), orders);
    }

    #[rstest]
    #[case(r#"{"orders":[{"acess":"gxc="}]}"#)]
    #[case(r#"{"orders":[{"access":"not base64"}]}"#)]
    #[case(r#"{"orders":[{"request-report":{"node":"zzzz"}}]}"#)]
    #[case(r#"{"orders":[],"more":1}"#)]
    #[case(r#"{}"#)]
    fn orders_that_are_none_are_refused(#[case] json: &str) {
        assert!(serde_json::from_str::<Orders>(json).is_err());
    }
}
