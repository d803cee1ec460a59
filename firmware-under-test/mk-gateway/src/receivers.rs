//! The receivers list: whom to distribute to, and what was last learnt of each.
//!
//! The list survives distributions, however they end, and is used again without being sent again.

use crate::journal::GatewayRecord;
use crate::outputs::Outputs;
use crate::settings::Carrier;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::blob;
use mk_wire::distribution::{ReceiverEntry, ReceiverReport, RetrievedPhase};
use mk_wire::update::{self, Effect};

/// What is known of a receiver's update, as a Receivers List states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub phase: RetrievedPhase,
    pub update_status: update::Status,
    pub transfer_status: blob::Status,
}

impl Known {
    /// Nothing yet.
    pub const NOTHING: Known = Known {
        phase: RetrievedPhase::Unknown,
        update_status: update::Status::Success,
        transfer_status: blob::Status::Success,
    };

    /// Does a receiver of which this is known still take part? Whoever was given up has a status or phase that says so,
    /// which is why a restarted gateway knows it too.
    const fn takes_part(self) -> bool {
        matches!((self.update_status, self.transfer_status), (update::Status::Success, blob::Status::Success))
            && match self.phase {
                RetrievedPhase::Unknown
                | RetrievedPhase::Idle
                | RetrievedPhase::TransferActive
                | RetrievedPhase::VerifyingUpdate
                | RetrievedPhase::VerificationSucceeded
                | RetrievedPhase::ApplyingUpdate => true,
                RetrievedPhase::TransferError
                | RetrievedPhase::VerificationFailed
                | RetrievedPhase::TransferCanceled
                | RetrievedPhase::ApplySuccess
                | RetrievedPhase::ApplyFailed => false,
            }
    }
}

/// One receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Receiver {
    pub address: Addr,
    pub image_index: u8,
    pub carrier: Carrier,
    pub known: Known,
    pub percent: u8,
    /// What applying the image does to the node, as it said itself.
    pub effect: Effect,
    /// Its models listen to the group of the distribution.
    pub subscribed: bool,
    /// It was told once to drop an older update that stood in the way.
    pub cleared: bool,
}

impl Receiver {
    pub fn takes_part(&self) -> bool {
        self.known.takes_part()
    }

    pub fn is_in(&self, phase: RetrievedPhase) -> bool {
        self.takes_part() && self.known.phase == phase
    }
}

/// The list.
pub(crate) struct Receivers {
    list: Vec<Receiver>,
    limit: usize,
}

impl Receivers {
    pub fn new(limit: u16) -> Self {
        Receivers { list: Vec::new(), limit: usize::from(limit) }
    }

    pub fn count(&self) -> u16 {
        u16::try_from(self.list.len()).unwrap_or(u16::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a receiver, or changes the image index of a known one. False if the list is full.
    pub fn add(&mut self, entry: ReceiverEntry, carrier: Carrier) -> bool {
        if let Some(known) = self.list.iter_mut().find(|receiver| receiver.address == entry.address) {
            known.image_index = entry.image_index;
            return true;
        }
        if self.list.len() >= self.limit {
            return false;
        }
        self.list.push(Receiver {
            address: entry.address,
            image_index: entry.image_index,
            carrier,
            known: Known::NOTHING,
            percent: 0,
            effect: Effect::CompositionUnchanged,
            subscribed: false,
            cleared: false,
        });
        true
    }

    pub fn clear(&mut self) {
        self.list.clear();
    }

    pub fn get(&self, index: usize) -> Option<&Receiver> {
        self.list.get(index)
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Receiver> {
        self.list.get_mut(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Receiver> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Receiver> {
        self.list.iter_mut()
    }

    /// Places in the list of the receivers for which `wanted` holds.
    pub fn places(&self, mut wanted: impl FnMut(&Receiver) -> bool) -> Vec<usize> {
        self.list.iter().enumerate().filter(|(_, r)| wanted(r)).map(|(place, _)| place).collect()
    }

    pub fn place_of(&self, address: Addr) -> Option<usize> {
        self.list.iter().position(|receiver| receiver.address == address)
    }

    /// Forgets what was learnt in an earlier distribution.
    pub fn begin_distribution(&mut self) {
        for receiver in &mut self.list {
            receiver.known = Known::NOTHING;
            receiver.percent = 0;
            receiver.effect = Effect::CompositionUnchanged;
            receiver.cleared = false;
        }
    }

    /// Notes what was learnt of a receiver, and writes it down if it is new.
    pub fn learn(&mut self, place: usize, known: Known, out: &mut Outputs) {
        let Some(receiver) = self.list.get_mut(place) else { return };
        if receiver.known == known {
            return;
        }
        receiver.known = known;
        out.record(GatewayRecord::ReceiverPhase {
            node: receiver.address,
            phase: known.phase,
            update_status: known.update_status,
            transfer_status: known.transfer_status,
            percent: receiver.percent,
        });
    }

    /// Notes a new phase.
    pub fn set_phase(&mut self, place: usize, phase: RetrievedPhase, out: &mut Outputs) {
        if let Some(known) = self.list.get(place).map(|receiver| receiver.known) {
            self.learn(place, Known { phase, ..known }, out);
        }
    }

    /// Gives a receiver up because of what its Firmware Update Server said, or because it said nothing
    /// ([`update::Status::InternalError`], as section 9 wants it). It keeps the phase that was last learnt.
    pub fn drop_for(&mut self, place: usize, update_status: update::Status, out: &mut Outputs) {
        if let Some(known) = self.list.get(place).map(|receiver| receiver.known) {
            self.learn(place, Known { update_status, ..known }, out);
        }
    }

    /// Restores what a record says.
    pub fn restore(&mut self, address: Addr, known: Known, percent: u8) {
        if let Some(receiver) = self.list.iter_mut().find(|receiver| receiver.address == address) {
            receiver.known = known;
            receiver.percent = percent;
        }
    }
}

impl From<&Receiver> for ReceiverReport {
    fn from(receiver: &Receiver) -> Self {
        ReceiverReport {
            address: receiver.address,
            phase: receiver.known.phase,
            update_status: receiver.known.update_status,
            transfer_status: receiver.known.transfer_status,
            percent: receiver.percent,
            image_index: receiver.image_index,
        }
    }
}
