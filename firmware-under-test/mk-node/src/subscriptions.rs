//! Which groups the models of this node listen to, and the Configuration messages that change it.
//!
//! A gateway subscribes the update models of its receivers to a group before a distribution and unsubscribes them after it.
//! The list is stored, because a node may be reset in between.

use heapless::Vec;
use mk_wire::{
    Addr,
    config::{Message, ModelId, Status, Subscription},
    vendor::COMPANY_ID,
};
use sequential_storage::map::PostcardValue;
use serde::{Deserialize, Serialize};

use crate::{
    config::{ConfigError, Key, Store},
    hardware::NodeHardware,
    opening,
};

/// Groups that the models can listen to together.
const MAX_GROUPS: usize = 8;

/// A model that can subscribe, as a bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Model {
    /// BLOB Transfer Server.
    Blob = 1,
    /// Firmware Update Server.
    Update = 2,
    /// Our own model: light, reports.
    Vendor = 4,
}

impl Model {
    const fn of(id: ModelId) -> Option<Self> {
        match id {
            ModelId::BLOB_TRANSFER_SERVER => Some(Model::Blob),
            ModelId::FIRMWARE_UPDATE_SERVER => Some(Model::Update),
            ModelId::Vendor { company: COMPANY_ID, model: 1 } => Some(Model::Vendor),
            ModelId::Sig(_) | ModelId::Vendor { .. } => None,
        }
    }
}

/// A group and the models that listen to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Entry {
    group: u16,
    models: u8,
}

/// The list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Subscriptions {
    entries: Vec<Entry, MAX_GROUPS>,
}

impl PostcardValue<'_> for Subscriptions {}

impl Subscriptions {
    pub fn load<H: NodeHardware>(hw: &mut H) -> Result<Self, ConfigError> {
        let region = opening::layout(hw).records;
        Ok(Store::open(hw.internal(), region)?.fetch::<Subscriptions>(Key::Subscriptions)?.unwrap_or_default())
    }

    /// Does this model listen to this group?
    pub fn contains(&self, group: Addr, model: Model) -> bool {
        self.entries.iter().any(|entry| entry.group == group.0 && entry.models & model as u8 != 0)
    }

    /// Does any model listen to this group?
    pub fn any(&self, group: Addr) -> bool {
        self.entries.iter().any(|entry| entry.group == group.0)
    }

    /// The answer to a Configuration request; `None` for an answer.
    pub fn on_message<H: NodeHardware>(&mut self, own: Addr, message: &Message, hw: &mut H) -> Option<Message> {
        let (subscription, add) = match *message {
            Message::SubscriptionAdd(subscription) => (subscription, true),
            Message::SubscriptionDelete(subscription) => (subscription, false),
            Message::SubscriptionStatus { .. } => return None,
        };
        let status = match self.changed(own, subscription, add) {
            Ok(changed) if changed == *self => Status::Success,
            Ok(changed) => match changed.save(hw) {
                Ok(()) => {
                    *self = changed;
                    Status::Success
                }
                Err(_) => Status::StorageFailure,
            },
            Err(status) => status,
        };
        Some(Message::SubscriptionStatus { status, subscription })
    }

    /// The list after this change.
    fn changed(&self, own: Addr, subscription: Subscription, add: bool) -> Result<Self, Status> {
        let Subscription { element, group, model } = subscription;
        // The fixed groups are not subscribed to: a node belongs to them by what it is.
        let subscribable = group.is_group() && group.0 < 0xFF00;
        if element != own || !subscribable {
            return Err(Status::InvalidAddress);
        }
        let model = Model::of(model).ok_or(Status::InvalidModel)? as u8;
        let mut changed = self.clone();
        match changed.entries.iter_mut().find(|entry| entry.group == group.0) {
            Some(entry) if add => entry.models |= model,
            Some(entry) => entry.models &= !model,
            None if add => {
                changed
                    .entries
                    .push(Entry { group: group.0, models: model })
                    .map_err(|_| Status::InsufficientResources)?;
            }
            None => {}
        }
        changed.entries.retain(|entry| entry.models != 0);
        Ok(changed)
    }

    fn save<H: NodeHardware>(&self, hw: &mut H) -> Result<(), ConfigError> {
        let region = opening::layout(hw).records;
        Store::open(hw.internal(), region)?.store(Key::Subscriptions, self)
    }
}
