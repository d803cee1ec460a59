//! A distributor as the campaign sees it: uploads by BLOB transfer, receivers list, one distribution at a time.

use super::{Behaviour, Event, FakeNode, NEW, OLD, secs};
use mk_blob::server::{BlobServer, BlockSink, PullPolicy, SinkError};
use mk_wire::access::{AccessMessage, Buffer};
use mk_wire::blob::{self, Capabilities};
use mk_wire::distribution::{
    DistributionStatus, FirmwareStatus, Message, Multicast, Phase, ReceiverList, ReceiverReport, RetrievedPhase,
    RunningDistribution, Start, Status, Upload, UploadPhase, UploadStatus,
};
use mk_wire::north::Notice;
use mk_wire::time::{Duration, Instant};
use mk_wire::vendor::BootOutcome;
use mk_wire::{Addr, Fwid, Reason, Version, update};
use std::collections::BTreeMap;

/// How long a transfer takes.
pub const TRANSFER_S: u64 = 600;

#[derive(Default)]
struct Sink {
    image: Vec<u8>,
    block: Vec<u8>,
}

impl BlockSink for Sink {
    fn begin_block(&mut self, _offset: u32, len: u32) -> Result<(), SinkError> {
        self.block = vec![0; len as usize];
        Ok(())
    }

    fn chunk(&mut self, offset: u32, data: &[u8]) {
        self.block[offset as usize..][..data.len()].copy_from_slice(data);
    }

    fn end_block(&mut self, _block: u16, offset: u32, len: u32) -> Result<(), SinkError> {
        let end = (offset + len) as usize;
        if self.image.len() < end {
            self.image.resize(end, 0);
        }
        self.image[offset as usize..end].copy_from_slice(&self.block);
        Ok(())
    }
}

pub struct FakeGateway {
    addr: Addr,
    server: BlobServer,
    sink: Sink,
    upload: Option<(Fwid, bool)>,
    metadata: Vec<u8>,
    /// Stored images in order of arrival: firmware id, image, metadata.
    pub stored: Vec<(Fwid, Vec<u8>, Vec<u8>)>,
    receivers: Vec<ReceiverReport>,
    pub phase: Phase,
    running: Option<RunningDistribution>,
    left: Duration,
    active_since: Instant,
    run: u32,
    /// Does not answer while set.
    pub down: bool,
    /// Distributions started (not resumed).
    pub started: u32,
    pub suspended: u32,
}

impl FakeGateway {
    pub fn new(addr: Addr) -> Self {
        let capabilities = Capabilities {
            min_block_size_log: 6,
            max_block_size_log: 12,
            max_total_chunks: 256,
            max_chunk_size: 377,
            max_blob_size: 1 << 20,
            server_mtu: 380,
            push: true,
            pull: false,
        };
        FakeGateway {
            addr,
            server: BlobServer::new(capabilities, PullPolicy::default()),
            sink: Sink::default(),
            upload: None,
            metadata: Vec::new(),
            stored: Vec::new(),
            receivers: Vec::new(),
            phase: Phase::Idle,
            running: None,
            left: Duration::from_ticks(0),
            active_since: Instant::from_ticks(0),
            run: 0,
            down: false,
            started: 0,
            suspended: 0,
        }
    }

    pub fn on_message(
        &mut self,
        now: Instant,
        bytes: &[u8],
        nodes: &mut BTreeMap<Addr, FakeNode>,
    ) -> (Vec<Buffer>, Vec<(Duration, Event)>) {
        if self.down {
            return (vec![], vec![]);
        }
        let mut events = Vec::new();
        let answer = match AccessMessage::decode(bytes).unwrap() {
            AccessMessage::Blob(message) => self.on_blob(now, &message),
            AccessMessage::Distribution(message) => self.on_distribution(now, &message, nodes, &mut events),
            other => panic!("MeshOS sent {other:?}"),
        };
        (answer.into_iter().collect(), events)
    }

    fn on_blob(&mut self, now: Instant, message: &blob::Message<'_>) -> Option<Buffer> {
        let reply = self.server.on_message(now, Addr(0x7F01), message, &mut self.sink);
        if self.server.phase() == blob::Phase::Complete
            && let Some((fwid, done)) = &mut self.upload
            && !*done
        {
            *done = true;
            let (image, metadata) = (std::mem::take(&mut self.sink.image), self.metadata.clone());
            self.stored.push((fwid.clone(), image, metadata));
        }
        reply.map(|reply| reply.message)
    }

    fn on_distribution(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        nodes: &mut BTreeMap<Addr, FakeNode>,
        events: &mut Vec<(Duration, Event)>,
    ) -> Option<Buffer> {
        let mut octets = Vec::new();
        let busy = !matches!(self.phase, Phase::Idle | Phase::Completed | Phase::Failed);
        let upload_fwid = self.upload.as_ref().map(|(fwid, _)| fwid.clone());
        let count = self.receivers.len() as u16;
        let answer = match message {
            Message::FirmwareGet(wanted) => {
                let index = self.stored.iter().position(|(fwid, ..)| fwid.as_ref() == *wanted);
                Message::FirmwareStatus(FirmwareStatus {
                    status: if index.is_some() { Status::Success } else { Status::FirmwareNotFound },
                    entry_count: self.stored.len() as u16,
                    image_index: index.map(|i| i as u16),
                    fwid: Some(*wanted),
                })
            }
            Message::UploadStart(start) => {
                let fwid = start.fwid.to_owned().unwrap();
                let stored = self.stored.iter().find(|(known, ..)| *known == fwid);
                let (status, phase) = match stored {
                    Some((_, _, metadata)) if metadata != start.metadata => (Status::InternalError, UploadPhase::Idle),
                    Some(_) => {
                        self.upload = Some((fwid, true));
                        (Status::Success, UploadPhase::TransferSuccess)
                    }
                    None => {
                        if self.upload.as_ref().is_none_or(|(known, done)| *known != fwid || *done) {
                            self.server.cancel();
                            let (base, from) = (start.timeout_base, Addr(0x7F01));
                            self.server.expect(now, start.blob_id, start.ttl, base, from).unwrap();
                            self.sink = Sink::default();
                        }
                        self.metadata = start.metadata.to_vec();
                        self.upload = Some((fwid, false));
                        (Status::Success, UploadPhase::TransferActive)
                    }
                };
                let upload = Some(Upload { percent: 0, oob: false, fwid: start.fwid });
                Message::UploadStatus(UploadStatus { status, phase, upload })
            }
            Message::FirmwareDelete(wanted) => {
                let idle = self.phase == Phase::Idle;
                if idle {
                    self.stored.retain(|(fwid, ..)| fwid.as_ref() != *wanted);
                }
                Message::FirmwareStatus(FirmwareStatus {
                    status: if idle { Status::Success } else { Status::BusyWithDistribution },
                    entry_count: self.stored.len() as u16,
                    image_index: None,
                    fwid: Some(*wanted),
                })
            }
            Message::UploadGet => Message::UploadStatus(UploadStatus {
                status: Status::Success,
                phase: match &self.upload {
                    None => UploadPhase::Idle,
                    Some((_, true)) => UploadPhase::TransferSuccess,
                    Some((_, false)) => UploadPhase::TransferActive,
                },
                upload: upload_fwid.as_ref().map(|fwid| Upload { percent: 50, oob: false, fwid: fwid.as_ref() }),
            }),
            Message::ReceiversDeleteAll if busy => {
                Message::ReceiversStatus { status: Status::BusyWithDistribution, count }
            }
            Message::ReceiversDeleteAll => {
                self.receivers.clear();
                Message::ReceiversStatus { status: Status::Success, count: 0 }
            }
            Message::ReceiversAdd(set) => {
                assert!(!busy, "receivers added to a running distribution");
                self.receivers.extend(set.iter().map(|entry| ReceiverReport {
                    address: entry.address,
                    phase: RetrievedPhase::Unknown,
                    update_status: update::Status::Success,
                    transfer_status: blob::Status::Success,
                    percent: 0,
                    image_index: 0,
                }));
                Message::ReceiversStatus { status: Status::Success, count: self.receivers.len() as u16 }
            }
            Message::ReceiversGet { first_index, limit } => {
                for report in self.receivers.iter().skip(usize::from(*first_index)).take(usize::from(*limit)) {
                    octets.extend_from_slice(&report.to_bytes());
                }
                Message::ReceiversList(ReceiverList::new(count, *first_index, &octets).unwrap())
            }
            Message::Get => self.status(Status::Success),
            Message::Start(start) => {
                let status = self.start(now, start, nodes, events);
                self.status(status)
            }
            Message::Suspend => {
                let status = match self.phase {
                    Phase::TransferActive => {
                        self.left = self.left - (now - self.active_since).min(self.left);
                        self.phase = Phase::TransferSuspended;
                        self.run += 1;
                        self.suspended += 1;
                        Status::Success
                    }
                    Phase::TransferSuspended => Status::Success,
                    _ => Status::WrongPhase,
                };
                self.status(status)
            }
            Message::Cancel => {
                (self.phase, self.running) = (Phase::Idle, None);
                self.run += 1;
                self.status(Status::Success)
            }
            other => panic!("MeshOS sent {other:?}"),
        };
        Some(AccessMessage::from(answer).to_buffer().unwrap())
    }

    fn status(&self, status: Status) -> Message<'static> {
        Message::Status(DistributionStatus { status, phase: self.phase, distribution: self.running })
    }

    fn start(
        &mut self,
        now: Instant,
        start: &Start,
        nodes: &mut BTreeMap<Addr, FakeNode>,
        events: &mut Vec<(Duration, Event)>,
    ) -> Status {
        let Multicast::Address(multicast) = start.multicast else { panic!("labels are not used") };
        let asked = RunningDistribution {
            multicast,
            app_key_index: start.app_key_index,
            ttl: start.ttl,
            timeout_base: start.timeout_base,
            mode: start.mode,
            policy: start.policy,
            image_index: start.image_index,
        };
        let same = self.running == Some(asked);
        match self.phase {
            Phase::TransferSuspended if same => {}
            Phase::TransferActive | Phase::ApplyingUpdate | Phase::TransferSuccess | Phase::Completed if same => {
                return Status::Success;
            }
            Phase::Idle | Phase::Completed | Phase::Failed => {
                if self.receivers.is_empty() {
                    return Status::ReceiversListEmpty;
                }
                self.started += 1;
                self.left = secs(TRANSFER_S);
                let version = self.version(start.image_index);
                for report in &mut self.receivers {
                    begin(self.addr, version, report, nodes.get_mut(&report.address).unwrap(), events);
                }
            }
            _ => return Status::BusyWithDistribution,
        }
        (self.phase, self.running, self.active_since) = (Phase::TransferActive, Some(asked), now);
        self.run += 1;
        events.push((self.left, Event::Transferred { gateway: self.addr, run: self.run }));
        Status::Success
    }

    fn version(&self, index: u16) -> Version {
        self.stored[usize::from(index)].0.mk_version().unwrap()
    }

    /// Every block is sent; nodes verify and apply.
    pub fn transferred(
        &mut self,
        _now: Instant,
        run: u32,
        nodes: &mut BTreeMap<Addr, FakeNode>,
    ) -> Vec<(Duration, Event)> {
        if run != self.run {
            return Vec::new();
        }
        let version = self.version(self.running.unwrap().image_index);
        self.phase = Phase::ApplyingUpdate;
        let mut events = vec![(secs(60), Event::Finished { gateway: self.addr, run })];
        for report in self.receivers.iter_mut().filter(|r| r.phase == RetrievedPhase::TransferActive) {
            let node = nodes.get_mut(&report.address).unwrap();
            let boot = |version, trial, outcome, reason| {
                (secs(20), Event::Boot { node: report.address, version, trial, outcome, reason })
            };
            match node.behaviour {
                Behaviour::FailsVerification(reason) => {
                    report.phase = RetrievedPhase::VerificationFailed;
                    (node.outcome, node.reason, node.about) = (BootOutcome::Rejected, reason, version);
                }
                Behaviour::WillNotGoBack(reason) if version == OLD => {
                    report.phase = RetrievedPhase::VerificationFailed;
                    (node.outcome, node.reason, node.about) = (BootOutcome::Rejected, reason, version);
                }
                Behaviour::TransferBreaks(times) if node.transfers <= times => {
                    report.phase = RetrievedPhase::TransferError;
                }
                Behaviour::RefusedAtBoot(reason) => {
                    report.phase = RetrievedPhase::ApplyFailed;
                    node.about = version;
                    events.push(boot(node.running, false, BootOutcome::Rejected, reason));
                }
                _ => {
                    report.phase = RetrievedPhase::ApplySuccess;
                    events.push(boot(version, true, BootOutcome::FirstBoot, Reason::None));
                }
            }
            report.percent = 100;
        }
        events
    }

    /// As left behind by an earlier campaign: an image of this version, and a distribution in this phase.
    pub fn left_behind(&mut self, version: Version, phase: Phase) {
        let fwid = Fwid::of_version(mk_wire::vendor::COMPANY_ID, version);
        self.stored.push((fwid, vec![1, 2, 3], vec![4, 5, 6]));
        self.phase = phase;
        self.running = Some(RunningDistribution {
            multicast: Addr(0xD000),
            app_key_index: 0,
            ttl: 5,
            timeout_base: 10,
            mode: blob::TransferMode::Push,
            policy: mk_wire::distribution::UpdatePolicy::VerifyAndApply,
            image_index: 0,
        });
    }

    pub fn finished(&mut self, run: u32) {
        if run == self.run {
            let success = self.receivers.iter().any(|r| r.phase == RetrievedPhase::ApplySuccess);
            self.phase = if success { Phase::Completed } else { Phase::Failed };
        }
    }
}

/// Update Start at one node.
fn begin(
    gateway: Addr,
    version: Version,
    report: &mut ReceiverReport,
    node: &mut FakeNode,
    events: &mut Vec<(Duration, Event)>,
) {
    node.transfers += 1;
    report.phase = RetrievedPhase::TransferActive;
    match node.behaviour {
        Behaviour::Refuses(reason) if version == NEW => {
            (report.phase, report.update_status) = (RetrievedPhase::Idle, update::Status::MetadataCheckFailed);
            (node.outcome, node.reason, node.about) = (BootOutcome::Rejected, reason, version);
            let notice = Notice::Report { node: node.info.addr, report: node.report() };
            events.push((secs(1), Event::Notice { gateway, notice }));
        }
        Behaviour::Silent => report.phase = RetrievedPhase::Unknown,
        _ => {}
    }
}
