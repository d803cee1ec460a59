//! A mesh node: BLOB Transfer Server of mk-blob, subscriptions, and as much of the Firmware Update Server as it takes.

use super::{NEW, OLD};
use mk_blob::server::{BlobServer, BlockSink, PullPolicy, ServerEvent, SinkError};
use mk_wire::blob::Capabilities;
use mk_wire::config::{self, ModelId};
use mk_wire::time::{Duration, Instant};
use mk_wire::update::{
    Effect, ImageEntry, ImageList, InformationStatus, Message, Phase, RunningUpdate, Status, UpdateStatus,
};
use mk_wire::{AccessMessage, Addr, Fwid, blob, vendor};
use std::collections::BTreeSet;

/// What is wrong with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    Good,
    /// Never answers anything.
    Silent,
    /// Takes its subscription and nothing else.
    SilentAfterSubscription,
    /// Falls silent once it has this many blocks.
    SilentAfterBlocks(u16),
    RefusesMetadata,
    FailsVerification,
    /// Never comes back from its reset.
    DiesApplying,
    /// Comes back with the image it had.
    KeepsOldImage,
    /// Sends Verification Succeeded once more after it has accepted Apply.
    RepeatsStaleStatus,
    /// Holds an update of another BLOB that it has to be told to drop.
    HoldsOtherUpdate,
}

struct Ram(Vec<u8>, usize);

impl BlockSink for Ram {
    fn begin_transfer(&mut self, size: u32) -> Result<(), SinkError> {
        self.0.resize(size as usize, 0);
        Ok(())
    }

    fn begin_block(&mut self, offset: u32, _: u32) -> Result<(), SinkError> {
        self.1 = offset as usize;
        Ok(())
    }

    fn chunk(&mut self, offset: u32, data: &[u8]) {
        let at = self.1 + offset as usize;
        self.0[at..at + data.len()].copy_from_slice(data);
    }

    fn end_block(&mut self, _: u16, _: u32, _: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

pub struct MeshNode {
    pub address: Addr,
    pub behaviour: Behaviour,
    pub phase: Phase,
    pub running: mk_wire::Version,
    pub subscriptions: BTreeSet<(ModelId, Addr)>,
    /// Every subscription it ever had.
    pub was_subscribed: bool,
    /// Chunks that came, wanted or not.
    pub chunks: u32,
    pub update_starts: u32,
    pub blocks_begun: BTreeSet<u16>,
    server: BlobServer,
    ram: Ram,
    update: Option<RunningUpdate>,
    verified_at: Option<Instant>,
    back_at: Option<Instant>,
    stale_at: Option<Instant>,
}

impl MeshNode {
    pub fn new(address: Addr, behaviour: Behaviour) -> Self {
        let capabilities = Capabilities {
            min_block_size_log: 6,
            max_block_size_log: 15,
            max_total_chunks: 256,
            max_chunk_size: 377,
            max_blob_size: 1 << 20,
            server_mtu: 380,
            push: true,
            pull: true,
        };
        let other = RunningUpdate {
            ttl: 5,
            effect: Effect::CompositionUnchanged,
            timeout_base: 0,
            blob_id: blob::BlobId(1),
            image_index: 0,
        };
        let holds = behaviour == Behaviour::HoldsOtherUpdate;
        MeshNode {
            address,
            behaviour,
            phase: if holds { Phase::VerificationSucceeded } else { Phase::Idle },
            running: OLD,
            subscriptions: BTreeSet::new(),
            was_subscribed: false,
            chunks: 0,
            update_starts: 0,
            blocks_begun: BTreeSet::new(),
            server: BlobServer::new(capabilities, PullPolicy::default()),
            ram: Ram(Vec::new(), 0),
            update: holds.then_some(other),
            verified_at: None,
            back_at: None,
            stale_at: None,
        }
    }

    /// The octets received.
    pub fn received(&self) -> &[u8] {
        &self.ram.0
    }

    pub fn blocks(&self) -> u16 {
        self.server.progress().0
    }

    pub fn hears(&self, to: Addr) -> bool {
        to == self.address || self.subscriptions.iter().any(|(_, group)| *group == to)
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        [self.server.next_wakeup(), self.verified_at, self.back_at, self.stale_at].into_iter().flatten().min()
    }

    pub fn on_timer(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if self.server.next_wakeup().is_some_and(|at| at <= now) {
            let _ = self.server.on_timer(now);
            self.events(now);
        }
        if self.verified_at.is_some_and(|at| at <= now) {
            self.verified_at = None;
            let failed = self.behaviour == Behaviour::FailsVerification;
            self.phase = if failed { Phase::VerificationFailed } else { Phase::VerificationSucceeded };
        }
        if self.back_at.is_some_and(|at| at <= now) {
            self.back_at = None;
            self.phase = Phase::Idle;
            self.update = None;
            self.server.cancel();
            self.running = if self.behaviour == Behaviour::KeepsOldImage { OLD } else { NEW };
        }
        if self.stale_at.is_some_and(|at| at <= now) {
            self.stale_at = None;
            let stale = UpdateStatus { phase: Phase::VerificationSucceeded, ..self.status(Status::Success) };
            return vec![AccessMessage::Update(Message::Status(stale)).to_buffer().unwrap().to_vec()];
        }
        Vec::new()
    }

    pub fn on_access(&mut self, now: Instant, to: Addr, bytes: &[u8]) -> Vec<Vec<u8>> {
        let message = AccessMessage::decode(bytes).expect("the gateway sends what decodes");
        if self.is_silent(&message) || self.back_at.is_some() {
            return Vec::new();
        }
        let listens = |model| !to.is_group() || self.subscriptions.contains(&(model, to));
        let answer = match message {
            AccessMessage::Blob(message) if listens(ModelId::BLOB_TRANSFER_SERVER) => {
                if let blob::Message::Chunk(_) = message {
                    self.chunks += 1;
                }
                if let blob::Message::BlockStart(start) = message {
                    self.blocks_begun.insert(start.block);
                }
                let reply = self.server.on_message(now, super::GATEWAY, &message, &mut self.ram);
                self.events(now);
                return reply.map(|reply| reply.message.to_vec()).into_iter().collect();
            }
            AccessMessage::Update(message) if listens(ModelId::FIRMWARE_UPDATE_SERVER) => self.on_update(now, &message),
            AccessMessage::Config(message) => self.on_config(message),
            _ => return Vec::new(),
        };
        answer.into_iter().collect()
    }

    fn is_silent(&self, message: &AccessMessage<'_>) -> bool {
        match self.behaviour {
            Behaviour::Silent => true,
            Behaviour::SilentAfterSubscription => !matches!(message, AccessMessage::Config(_)),
            Behaviour::SilentAfterBlocks(blocks) => self.blocks() >= blocks,
            _ => false,
        }
    }

    fn events(&mut self, now: Instant) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Completed => {
                    self.phase = Phase::VerifyingUpdate;
                    self.verified_at = Some(now + Duration::from_millis(1_600));
                }
                ServerEvent::Suspended | ServerEvent::Cancelled | ServerEvent::Failed
                    if self.phase == Phase::TransferActive =>
                {
                    self.phase = Phase::TransferError;
                }
                _ => {}
            }
        }
    }

    fn status(&self, status: Status) -> UpdateStatus {
        UpdateStatus { status, phase: self.phase, update: self.update.filter(|_| self.phase != Phase::Idle) }
    }

    fn on_update(&mut self, now: Instant, message: &Message<'_>) -> Option<Vec<u8>> {
        let status = match message {
            Message::InformationGet { .. } => {
                let fwid = Fwid::of_version(vendor::COMPANY_ID, self.running);
                let mut octets = [0; 64];
                let images = ImageList::build([ImageEntry { fwid: fwid.as_ref(), uri: &[] }], &mut octets);
                let status = InformationStatus { count: 1, first_index: 0, images };
                return Some(AccessMessage::Update(Message::InformationStatus(status)).to_buffer().unwrap().to_vec());
            }
            Message::Start(start) => {
                self.update_starts += 1;
                if self.behaviour == Behaviour::RefusesMetadata {
                    self.status(Status::MetadataCheckFailed)
                } else {
                    let wanted = RunningUpdate {
                        ttl: start.ttl,
                        effect: Effect::CompositionUnchanged,
                        timeout_base: start.timeout_base,
                        blob_id: start.blob_id,
                        image_index: start.image_index,
                    };
                    self.start(now, wanted)
                }
            }
            Message::Get => self.status(Status::Success),
            Message::Cancel => {
                self.server.cancel();
                self.phase = Phase::Idle;
                self.status(Status::Success)
            }
            Message::Apply => match self.phase {
                Phase::VerificationSucceeded => {
                    self.phase = Phase::ApplyingUpdate;
                    let silent = self.behaviour == Behaviour::DiesApplying;
                    let away = if silent { 1_000_000 } else { 20_000 };
                    self.back_at = Some(now + Duration::from_millis(away));
                    if self.behaviour == Behaviour::RepeatsStaleStatus {
                        self.stale_at = Some(now + Duration::from_millis(900));
                    }
                    self.status(Status::Success)
                }
                Phase::ApplyingUpdate => self.status(Status::Success),
                _ => self.status(Status::WrongPhase),
            },
            _ => return None,
        };
        Some(AccessMessage::Update(Message::Status(status)).to_buffer().unwrap().to_vec())
    }

    fn start(&mut self, now: Instant, wanted: RunningUpdate) -> UpdateStatus {
        let same = self.update == Some(wanted);
        match self.phase {
            Phase::Idle | Phase::VerificationFailed | Phase::TransferError => {
                if !(same && self.phase == Phase::TransferError) {
                    self.server.cancel();
                }
                let expected = self.server.expect(now, wanted.blob_id, wanted.ttl, wanted.timeout_base, super::GATEWAY);
                expected.expect("the server is free");
                self.update = Some(wanted);
                self.phase = Phase::TransferActive;
                self.status(Status::Success)
            }
            _ if same => self.status(Status::Success),
            _ => self.status(Status::WrongPhase),
        }
    }

    fn on_config(&mut self, message: config::Message) -> Option<Vec<u8>> {
        let subscription = match message {
            config::Message::SubscriptionAdd(subscription) => {
                self.was_subscribed = true;
                self.subscriptions.insert((subscription.model, subscription.group));
                subscription
            }
            config::Message::SubscriptionDelete(subscription) => {
                self.subscriptions.remove(&(subscription.model, subscription.group));
                subscription
            }
            config::Message::SubscriptionStatus { .. } => return None,
        };
        let status = config::Message::SubscriptionStatus { status: config::Status::Success, subscription };
        Some(AccessMessage::Config(status).to_buffer().unwrap().to_vec())
    }
}
