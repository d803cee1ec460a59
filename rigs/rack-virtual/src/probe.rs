//! The debug probe of the rack: reads flash without the node's help and has it examined by the forge's own examiner,
//! which shares no code with the parser that judges images on the node.
//!
//! What was examined once is remembered by content: most banks of a fleet are the same.

use crate::hardware::VirtualBoard;
use fixture_images::VerifyingKey;
use hil_model::Digest;
use hil_model::fact::{ConfigState, Fact, FlashUse, Moment};
use mk_boot::geometry::{Region, Slot};
use rack_witness::banks::{Seen, Shape};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::rc::Rc;
use virtual_flash::{ContentKey, FlashArray};

/// The probe.
#[derive(Debug)]
pub struct Probe {
    key: Option<VerifyingKey>,
    seen: BTreeMap<(Shape, ContentKey), Rc<Seen>>,
}

/// Flash operations counted up to the previous snapshot of a board.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    a: FlashUse,
    slots: [FlashUse; 2],
    config: FlashUse,
}

impl Probe {
    /// A probe of a rack whose nodes hold `key`, SEC1 uncompressed. An unusable key makes every signature bad.
    #[must_use]
    pub fn new(key: &[u8; 65]) -> Self {
        Self { key: VerifyingKey::from_sec1_bytes(key).ok(), seen: BTreeMap::new() }
    }

    /// Reads bank A.
    pub fn bank_a(&mut self, board: &mut VirtualBoard) -> Rc<Seen> {
        let (region, page) = (board.table().bank_a, board.table().page_size);
        self.look(Shape::BankA, &mut board.internal, region, page)
    }

    /// Reads a slot.
    pub fn slot(&mut self, board: &mut VirtualBoard, slot: Slot) -> Rc<Seen> {
        let (region, page) = (board.table().slot(slot), board.table().page_size);
        self.look(Shape::Slot, &mut board.external, region, page)
    }

    fn look(&mut self, shape: Shape, flash: &mut FlashArray, region: Region, page: u32) -> Rc<Seen> {
        let content = flash.content_key(region.start, region.length);
        let key = self.key.as_ref();
        let seen = self.seen.entry((shape, content)).or_insert_with(|| {
            let mut bytes = vec![0; region.length as usize];
            // The region is the board table's own: it lies inside the array.
            let _ = flash.peek(region.start, &mut bytes);
            Rc::new(Seen::of(&bytes, shape, page, key))
        });
        Rc::clone(seen)
    }

    /// All banks of a board as an event, with the flash operations since the previous one.
    pub fn banks(&mut self, moment: Moment, board: &mut VirtualBoard, counted: &mut Counted) -> Fact {
        let before = *counted;
        *counted = count(board);
        let since = |now: FlashUse, then: FlashUse| FlashUse {
            words: now.words - then.words,
            erases: now.erases - then.erases,
        };
        Fact::Banks {
            moment,
            a: self.bank_a(board).state,
            slot0: self.slot(board, Slot::Zero).state,
            slot1: self.slot(board, Slot::One).state,
            config: config(board),
            use_a: since(counted.a, before.a),
            use_slot0: since(counted.slots[0], before.slots[0]),
            use_slot1: since(counted.slots[1], before.slots[1]),
            use_config: since(counted.config, before.config),
        }
    }
}

fn count(board: &VirtualBoard) -> Counted {
    let used = |flash: &FlashArray, region: Region| {
        let activity = flash.activity(region.start..region.start + region.length);
        FlashUse { words: activity.words_written, erases: activity.pages_erased }
    };
    let table = board.table();
    Counted {
        a: used(&board.internal, table.bank_a),
        slots: [used(&board.external, table.slots[0]), used(&board.external, table.slots[1])],
        config: used(&board.internal, table.config),
    }
}

/// The confirmed configuration. Read from a copy of the flash: the store's reader repairs what it finds torn, and a
/// witness changes nothing.
pub fn config(board: &VirtualBoard) -> ConfigState {
    let mut copy = board.internal.clone();
    match mk_node::config::read_state(&mut copy, board.table().config) {
        Ok(Some(state)) => ConfigState {
            version: Some(state.schema),
            settings: state.user.map(|user| {
                let mut octets = user.address.to_le_bytes().to_vec();
                octets.push(user.level);
                Digest(Sha256::digest(octets).into())
            }),
        },
        Ok(None) | Err(_) => ConfigState { version: None, settings: None },
    }
}
