//! Power, resets and crashes of a node: how its QEMU process starts and ends, and what is kept.

use super::{Node, Order};
use crate::{
    debug::{Core, DebugRegisters, Happened},
    error::MachineError,
    event::{BenchEventKind, ResetReason},
    flash::{FiredCut, mix},
    process::Process,
    trace::{self, Sink, Store},
};
use hil_model::Power;
use std::{
    sync::{Arc, PoisonError, atomic::AtomicU64, mpsc::channel},
    thread,
    time::Duration,
};

/// So many crashes in a row ...
const CRASHES: u32 = 8;
/// ... each so soon behind its start, and the node is left locked up until somebody resets it.
const SOON: Duration = Duration::from_secs(5);
/// Octets of flash loaded with one request.
const LOAD: usize = 16 * 1024;

/// Registers of the flash controller, as far as loading needs them.
const NVMC_CONFIG: u32 = 0x4001_E504;
const NVMC_ERASE_ALL: u32 = 0x4001_E50C;

/// What was left when a QEMU process ended.
struct Ended {
    registers: Option<DebugRegisters>,
    cut: Option<FiredCut>,
    words: Vec<String>,
}

impl Node {
    /// Starts a machine with the node's flash.
    pub(super) fn power_on(
        &mut self,
        reason: ResetReason,
        registers: Option<DebugRegisters>,
        hold: bool,
    ) -> Result<(), MachineError> {
        if self.parts.core.is_some() {
            return Ok(());
        }
        let (mut process, stderr, handle) = Process::start(&self.machine, &self.folder)?;
        self.parts.generation += 1;
        let (sender, receiver) = channel();
        let sink = Sink {
            flash: self.flash.clone(),
            process: handle,
            generation: self.parts.generation,
            stores: sender,
            waker: self.waker.clone(),
            sent: Arc::new(AtomicU64::new(0)),
        };
        self.parts.sent = Arc::clone(&sink.sent);
        self.parts.stores = Some(receiver);
        let reader = thread::Builder::new()
            .name(format!("{}-trace", thread::current().name().unwrap_or_default()))
            .spawn(move || trace::read(stderr, &sink))
            .map_err(|source| MachineError::Spawn { program: "a thread", source })?;
        self.parts.trace = Some(reader);
        self.console.machine_started();
        self.load(&mut process)?;
        let (ram, size) = self.machine.ram;
        // RAM comes up with whatever it likes, but not with what was in it, and not with zeros.
        let noise = mix(self.seed ^ (self.index as u64) << 32 ^ self.parts.generation);
        process.qtest.fill(ram, size, noise.to_le_bytes()[0] | 1)?;
        let cells = self.machine.cells;
        process.qtest.set_word(cells.unique_id, self.unique_id as u32)?;
        process.qtest.set_word(cells.unique_id + 4, (self.unique_id >> 32) as u32)?;
        if self.flash.is_some() {
            process.qmp.trace_stores(true)?;
        }
        let mut core = Core::new(self.machine, process, registers);
        core.start(reason, hold)?;
        self.parts.core = Some(core);
        self.parts.started_at = self.now();
        self.applied_reset(reason);
        self.core_news();
        Ok(())
    }

    /// Gives QEMU the node's flash. Blank pages are not sent, and the trace is off: nothing here is the firmware's.
    fn load(&mut self, process: &mut Process) -> Result<(), MachineError> {
        if let Some(flash) = &self.flash {
            let mut flash = flash.lock().unwrap_or_else(PoisonError::into_inner);
            flash.machine_started();
            process.qtest.queue_word(NVMC_CONFIG, 2);
            process.qtest.queue_word(NVMC_ERASE_ALL, 1);
            process.qtest.queue_word(NVMC_CONFIG, 1);
            for (index, chunk) in flash.cells().chunks(LOAD).enumerate() {
                let Some(last) = chunk.iter().rposition(|octet| *octet != 0xFF) else { continue };
                let length = (last + 1).next_multiple_of(4).min(chunk.len());
                process.qtest.queue_octets((index * LOAD) as u32, &chunk[..length]);
                process.qtest.flush()?;
            }
            process.qtest.queue_word(NVMC_CONFIG, 0);
            process.qtest.flush()?;
        }
        // The core read its vectors before there were any.
        process.qmp.reset()?;
        process.qmp.hold_resets(true)
    }

    /// Ends the QEMU process, if there is one, and takes in all that it did until then, beginning with `last`.
    fn end_machine(&mut self, last: Option<Store>) -> Ended {
        let mut ended = Ended { registers: None, cut: None, words: Vec::new() };
        self.parts.mailbox = None;
        self.parts.doorbell = false;
        self.parts.resets.clear();
        let core = self.parts.core.take();
        let mut uart = core.as_ref().and_then(|core| core.process.uart.try_clone().ok());
        if let Some(core) = core {
            ended.registers = Some(core.into_registers());
        }
        // The process is gone now, so the reader comes to its end.
        if let Some(trace) = self.parts.trace.take() {
            let _ = trace.join();
        }
        let stores = self.parts.stores.take().into_iter().flatten().map(|(_, store)| store);
        for store in last.into_iter().chain(stores) {
            match store {
                Store::Cut(fired) => ended.cut = Some(fired),
                Store::Ended(words) => ended.words = words,
                Store::FileFailed(error) => self.event(BenchEventKind::MachineFailed { reason: error.to_string() }),
                Store::Radio(..)
                | Store::Watchdog(..)
                | Store::Baud(_)
                | Store::Receiver
                | Store::Fence(_)
                | Store::Sent => {}
            }
        }
        if let Some(uart) = &mut uart {
            let known = self.parts.sent.load(std::sync::atomic::Ordering::Acquire);
            // What cannot be read was lost with the power.
            let _ = self.console.take_from_core(uart, ended.cut.map(|_| known));
        }
        self.console.machine_started();
        ended
    }

    /// Takes the power away.
    pub(super) fn power_off(&mut self) {
        let was_on = self.parts.core.is_some();
        let ended = self.end_machine(None);
        self.dark(was_on, ended.cut);
        // Even if a cut came first: the order holds.
        self.parts.restore_at = None;
    }

    fn dark(&mut self, was_on: bool, cut: Option<FiredCut>) {
        self.parts.watchdog.reset(ResetReason::PowerOn);
        match cut {
            Some(fired) => {
                self.event(BenchEventKind::PowerCut(fired));
                self.parts.restore_at = Some(self.now() + self.parts.dark_time);
            }
            None if was_on => self.event(BenchEventKind::PowerOff),
            None => {}
        }
    }

    /// QEMU has ended, does not answer, or was killed by a power cut; `last` is what its trace said of that.
    pub(super) fn machine_lost(&mut self, error: Option<&MachineError>, last: Option<Store>) {
        if self.parts.core.is_none() && self.parts.trace.is_none() {
            return;
        }
        let mut ended = self.end_machine(last);
        if ended.cut.is_some() {
            return self.dark(true, ended.cut);
        }
        if let (true, Some(error)) = (ended.words.is_empty(), error) {
            ended.words.push(error.to_string());
        }
        let lockup = ended.words.iter().any(|line| line.contains("Lockup"));
        let words = ended.words;
        self.event(if lockup { BenchEventKind::LockedUp { words } } else { BenchEventKind::MachineEnded { words } });
        let lived = self.now().saturating_sub(self.parts.started_at);
        self.parts.crashes = if lived < SOON { self.parts.crashes + 1 } else { 1 };
        let hold = self.parts.crashes >= CRASHES;
        if hold {
            let words = vec![format!("crashed {CRASHES} times in a row: left locked up until a reset")];
            self.event(BenchEventKind::LockedUp { words });
        }
        if let Err(error) = self.power_on(ResetReason::Lockup, ended.registers, hold) {
            self.machine_failed(&error);
        }
    }

    /// The machine cannot be started: the node stays dark.
    pub(super) fn machine_failed(&mut self, error: &MachineError) {
        self.end_machine(None);
        self.event(BenchEventKind::MachineFailed { reason: error.to_string() });
    }

    /// Takes in resets of the core.
    pub(super) fn core_news(&mut self) {
        let Some(core) = &mut self.parts.core else { return };
        for news in core.take_happened() {
            match news {
                Happened::Reset(reason, fence) if self.machine.interrupts.is_some() => {
                    self.parts.resets.push_back((reason, fence));
                }
                Happened::Reset(reason, _) => self.applied_reset(reason),
                Happened::CannotRun => {
                    let words = vec!["no code at the reset vector".to_owned()];
                    self.event(BenchEventKind::LockedUp { words });
                }
            }
        }
    }

    /// A reset, at its place among the stores.
    pub(super) fn applied_reset(&mut self, reason: ResetReason) {
        self.parts.watchdog.reset(reason);
        self.parts.mailbox = None;
        self.parts.doorbell = false;
        self.parts.counted.resets += 1;
        self.parts.counted.last_reset = Some(reason);
        self.event(BenchEventKind::Reset(reason));
    }

    /// Resets the core from outside.
    pub(super) fn reset(&mut self, reason: ResetReason) -> Result<(), MachineError> {
        self.parts.crashes = 0;
        match &mut self.parts.core {
            Some(core) => core.reset_from_outside(reason),
            None => Err(MachineError::NoPower),
        }
    }

    /// Carries out an order.
    pub(super) fn carry_out(&mut self, order: Order) -> Result<(), MachineError> {
        match order {
            Order::Power(power) => self.switch(power),
            Order::Disarm => {
                if let Some(flash) = &self.flash {
                    flash.lock().unwrap_or_else(PoisonError::into_inner).disarm();
                }
                self.parts.restore_at = None;
                Ok(())
            }
            Order::Reset(reason) => self.reset(reason),
            Order::Line(fault) => {
                self.console.fault = fault;
                Ok(())
            }
            Order::ProbeCable(plugged) => self.probe_cable(plugged),
            Order::Load(address, octets) => {
                let Some(flash) = self.flash.as_ref().filter(|_| self.parts.core.is_none()) else {
                    return Err(MachineError::refused("bench", "loading flash", "the node has power, or no flash"));
                };
                let mut flash = flash.lock().unwrap_or_else(PoisonError::into_inner);
                if !flash.load(address as usize, &octets) {
                    return Err(MachineError::refused("bench", "loading flash", "beyond the end of the flash"));
                }
                flash.save().map_err(MachineError::Flash)
            }
            Order::Stop => {
                self.power_off();
                Ok(())
            }
        }
    }

    fn switch(&mut self, power: Power) -> Result<(), MachineError> {
        self.parts.crashes = 0;
        match power {
            Power::On => {
                self.parts.restore_at = None;
                let result = self.power_on(ResetReason::PowerOn, None, false);
                if result.is_err() {
                    self.end_machine(None);
                }
                result
            }
            Power::Off => {
                self.parts.restore_at = None;
                self.power_off();
                Ok(())
            }
            Power::Cycle(dark) => {
                self.power_off();
                self.parts.restore_at = Some(self.now() + Duration::from_nanos(dark.0));
                Ok(())
            }
            Power::CutAtOperation { operation, tear, restore_after } => {
                let Some(flash) = &self.flash else {
                    return Err(MachineError::refused(
                        "bench",
                        "cutting the power",
                        "this machine has no counted flash",
                    ));
                };
                flash.lock().unwrap_or_else(PoisonError::into_inner).arm(operation, tear);
                self.parts.dark_time = Duration::from_nanos(restore_after.0);
                Ok(())
            }
        }
    }
}
