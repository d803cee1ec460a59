//! From a board's console to its events: records, text, and the board's standing when what comes is no sense at all.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use mk_wire::trace::{ResetCause, TraceEvent};
use tokio::sync::{mpsc, watch};

use super::{BoardEvent, BoardFact, RebootWatch, Standing};
use crate::console::ConsoleEvent;
use crate::error::{BoardError, Fault, Part};
use crate::trace::{TraceItem, TraceReader};

/// Share of garbage from which on a console is at the wrong rate, per cent.
const GARBAGE_PERCENT: u8 = 60;
/// Octets that have to have come before that is said.
const GARBAGE_OCTETS: usize = 256;

/// Takes a board out of service; the first reason stays. Says whether this was the first.
pub(super) fn quarantine(standing: &watch::Sender<Standing>, reason: BoardError) -> bool {
    standing.send_if_modified(|standing| match standing {
        Standing::InService => {
            *standing = Standing::Quarantined(reason);
            true
        }
        Standing::Quarantined(_) | Standing::Closed => false,
    })
}

/// What one console's pump needs.
pub(super) struct Pump {
    pub board: String,
    pub baud: u32,
    pub events: mpsc::Sender<BoardEvent>,
    pub standing: Arc<watch::Sender<Standing>>,
    pub reboots: Arc<Mutex<RebootWatch>>,
    /// Why the core was reset, as the bootloader said last.
    pub reset: Arc<Mutex<Option<ResetCause>>>,
    /// Whether the port may go away: its power is being switched.
    pub may_close: Arc<std::sync::atomic::AtomicBool>,
}

impl Pump {
    /// Runs until the console ends.
    pub(super) async fn run(self, mut console: mpsc::Receiver<ConsoleEvent>) {
        let mut reader = TraceReader::new();
        let mut lost = 0;
        while let Some(event) = console.recv().await {
            match event {
                ConsoleEvent::Octets { at, octets } => {
                    let items = reader.push(&octets);
                    self.pass_on(at, items, &mut lost);
                    self.look_for_garbage(&reader);
                }
                ConsoleEvent::Idle => {
                    let items = reader.idle();
                    self.pass_on(Instant::now(), items, &mut lost);
                    self.look_for_garbage(&reader);
                }
                ConsoleEvent::Closed { fault } => {
                    if !self.may_close.load(std::sync::atomic::Ordering::SeqCst) {
                        self.take_out(Part::Console, fault);
                    }
                    return;
                }
            }
        }
    }

    fn pass_on(&self, at: Instant, items: Vec<TraceItem>, lost: &mut u64) {
        for item in items {
            let what = match item {
                TraceItem::Record(record) => {
                    match record.event {
                        TraceEvent::Boot { .. } => self.started(at),
                        TraceEvent::BootPass { cause, .. } => {
                            if let Ok(mut reset) = self.reset.lock() {
                                *reset = Some(cause);
                            }
                        }
                        _ => {}
                    }
                    BoardFact::Trace(record)
                }
                TraceItem::Text(text) => BoardFact::Text(text),
                TraceItem::Garbage { octets } => BoardFact::Garbage { octets },
            };
            self.tell(at, what, lost);
        }
    }

    fn tell(&self, at: Instant, what: BoardFact, lost: &mut u64) {
        if *lost > 0 && self.events.try_send(BoardEvent { at, what: BoardFact::Lost { events: *lost } }).is_ok() {
            *lost = 0;
        }
        if self.events.try_send(BoardEvent { at, what }).is_err() {
            *lost += 1;
        }
    }

    fn started(&self, at: Instant) {
        let Ok(mut watch) = self.reboots.lock() else { return };
        if watch.started(at) {
            let (boots, within) = (watch.counted(), watch.limit().within);
            drop(watch);
            self.take_out(Part::Board, Fault::RebootLoop { boots, within });
        }
    }

    fn look_for_garbage(&self, reader: &TraceReader) {
        let health = reader.health();
        if health.octets() < GARBAGE_OCTETS {
            return;
        }
        if let Some(percent) = health.garbage_percent().filter(|percent| *percent >= GARBAGE_PERCENT) {
            self.take_out(Part::Console, Fault::Garbage { octets: health.octets(), percent, baud: self.baud });
        }
    }

    fn take_out(&self, part: Part, fault: Fault) {
        let reason = BoardError::new(&self.board, part, fault);
        if quarantine(&self.standing, reason.clone()) {
            // A full queue does not keep the standing from being seen.
            let _full = self.events.try_send(BoardEvent { at: Instant::now(), what: BoardFact::Quarantined(reason) });
        }
    }
}
