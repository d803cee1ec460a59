//! One turn of a node's thread: wait, take in what happened, act on it.

use super::{Node, Order};
use crate::{
    error::MachineError,
    event::{BenchEventKind, ResetReason},
    mailbox::{Frame, Mailbox},
    trace::Store,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

/// Frames delivered with one interrupt.
const BATCH: usize = 64;
/// Registers of the radio.
const RADIO_START: u32 = 0x008;
const RADIO_MAILBOX: u32 = 0xF00;

/// What there is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Wake,
    Gdb,
    Qmp,
    Uart,
    TtyWatch,
    Tty,
    Listener,
    Debugger,
}

impl Node {
    /// Lives until told to stop.
    pub(crate) fn run(mut self) {
        loop {
            self.publish();
            let ready = self.wait();
            if let Err(error) = self.turn(&ready) {
                self.machine_lost(Some(&error), None);
            }
            if self.parts.stop.load(Ordering::Acquire) {
                self.power_off();
                self.publish();
                return;
            }
        }
    }

    fn turn(&mut self, ready: &[Source]) -> Result<(), MachineError> {
        let has = |source| ready.contains(&source);
        if has(Source::Wake) {
            self.waker.clear();
        }
        // What the core has done comes before what is done to it.
        self.take_stores()?;
        if has(Source::Gdb)
            && let Some(core) = &mut self.parts.core
        {
            core.poll()?;
        }
        if has(Source::Qmp)
            && let Some(core) = &mut self.parts.core
        {
            core.process.qmp.drain()?;
        }
        if has(Source::TtyWatch) {
            self.console.pty.look();
        }
        if has(Source::Uart) || has(Source::Tty) || has(Source::TtyWatch) {
            self.serial()?;
        }
        if has(Source::Debugger) || has(Source::Listener) {
            self.debugger()?;
        }
        if has(Source::Listener) {
            self.accept();
        }
        self.take_orders();
        self.take_air()?;
        self.timers()?;
        self.core_news();
        self.hold_watchdog();
        Ok(())
    }

    /// Waits until something happens or a timer is due.
    fn wait(&self) -> Vec<Source> {
        let mut sources = vec![Source::Wake, Source::TtyWatch];
        let mut waiting = vec![
            PollFd::from_borrowed_fd(self.waker.fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.console.watch(), PollFlags::IN),
        ];
        if let Some(core) = &self.parts.core {
            if core.running() {
                sources.push(Source::Gdb);
                waiting.push(PollFd::from_borrowed_fd(core.process.gdb.fd(), PollFlags::IN));
            }
            sources.push(Source::Qmp);
            waiting.push(PollFd::from_borrowed_fd(core.process.qmp.fd(), PollFlags::IN));
            let out = if self.console.waits_for_core() { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(Source::Uart);
            waiting.push(PollFd::new(&core.process.uart, PollFlags::IN | out));
        }
        if let Some((fd, flags)) = self.console.pty.interest() {
            sources.push(Source::Tty);
            waiting.push(PollFd::from_borrowed_fd(fd, flags));
        }
        if let Some(listener) = &self.listener {
            sources.push(Source::Listener);
            waiting.push(PollFd::new(listener, PollFlags::IN));
        }
        if let Some(debugger) = &self.parts.debugger {
            sources.push(Source::Debugger);
            waiting.push(PollFd::new(debugger, PollFlags::IN));
        }
        let timeout = self.next_timer().map(|at| {
            let left = at.saturating_sub(self.now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        // An interrupted wait is one where nothing is ready.
        if poll(&mut waiting, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        waiting.iter().zip(sources).filter(|(fd, _)| !fd.revents().is_empty()).map(|(_, source)| source).collect()
    }

    fn next_timer(&self) -> Option<Duration> {
        let watchdog = self.parts.core.as_ref().and_then(|_| self.parts.watchdog.deadline());
        [watchdog, self.parts.restore_at].into_iter().flatten().min()
    }

    fn timers(&mut self) -> Result<(), MachineError> {
        let now = self.now();
        if self.parts.restore_at.is_some_and(|at| at <= now) {
            self.parts.restore_at = None;
            if let Err(error) = self.power_on(ResetReason::PowerOn, None, false) {
                self.machine_failed(&error);
            }
        }
        if self.parts.core.is_some() && self.parts.watchdog.deadline().is_some_and(|at| at <= now) {
            // A reload that is on its way in the trace counts.
            self.take_stores()?;
            if self.parts.watchdog.deadline().is_some_and(|at| at <= now) {
                self.parts.watchdog.reset(ResetReason::Watchdog);
                self.reset(ResetReason::Watchdog)?;
            }
        }
        Ok(())
    }

    /// The watchdog stands still while a debugger holds the core.
    fn hold_watchdog(&mut self) {
        let now = self.now();
        match &self.parts.core {
            Some(core) if core.running() => self.parts.watchdog.go_on(now),
            Some(_) | None => self.parts.watchdog.hold(now),
        }
    }

    fn take_stores(&mut self) -> Result<(), MachineError> {
        while let Some((generation, store)) = self.parts.stores.as_ref().and_then(|stores| stores.try_recv().ok()) {
            if generation != self.parts.generation {
                continue;
            }
            let now = self.now();
            match store {
                Store::Radio(RADIO_START, 1) => self.parts.doorbell = true,
                Store::Radio(RADIO_MAILBOX, at) => self.open_mailbox(at)?,
                Store::Radio(..) => {}
                Store::Watchdog(offset, value) => self.parts.watchdog.store(now, offset, value),
                Store::Baud(register) => self.console.set_divider(register),
                Store::Receiver => {
                    // QEMU looks again at octets that came before only when something else wakes it.
                    if let Some(core) = &mut self.parts.core {
                        core.process.qtest.word(self.machine.cells.scratch)?;
                    }
                }
                Store::Fence(number) => {
                    if self.parts.resets.front().is_some_and(|(_, fence)| *fence == number)
                        && let Some((reason, _)) = self.parts.resets.pop_front()
                    {
                        self.applied_reset(reason);
                    } else {
                        // The core's news of this reset has not been taken yet.
                        self.core_news();
                        if self.parts.resets.front().is_some_and(|(_, fence)| *fence == number)
                            && let Some((reason, _)) = self.parts.resets.pop_front()
                        {
                            self.applied_reset(reason);
                        }
                    }
                }
                Store::Sent => {
                    let known = self.known_sent();
                    self.console.release(known);
                }
                store @ (Store::Cut(_) | Store::Ended(_)) => self.machine_lost(None, Some(store)),
                Store::FileFailed(error) => return Err(MachineError::Flash(error)),
            }
        }
        if std::mem::take(&mut self.parts.doorbell) {
            self.send_frames()?;
        }
        Ok(())
    }

    fn open_mailbox(&mut self, at: u32) -> Result<(), MachineError> {
        let Some(core) = &mut self.parts.core else { return Ok(()) };
        match Mailbox::open(&mut core.process.qtest, &self.machine, at)? {
            Ok(mailbox) => {
                self.parts.mailbox = Some(mailbox);
                self.event(BenchEventKind::RadioUp { mailbox: at });
            }
            Err(reason) => {
                self.parts.mailbox = None;
                self.event(BenchEventKind::RadioRefused { reason });
            }
        }
        Ok(())
    }

    fn send_frames(&mut self) -> Result<(), MachineError> {
        let (Some(core), Some(mailbox)) = (&mut self.parts.core, &mut self.parts.mailbox) else { return Ok(()) };
        for frame in mailbox.take(&mut core.process.qtest)? {
            self.parts.counted.radio_sent += 1;
            self.parts.counted.radio_jammed += u64::from(!self.medium.send(frame));
        }
        Ok(())
    }

    fn take_air(&mut self) -> Result<(), MachineError> {
        loop {
            let frames: Vec<Frame> = self.air.try_iter().take(BATCH).collect();
            if frames.is_empty() {
                return Ok(());
            }
            let counted = &mut self.parts.counted;
            let (Some(core), Some(mailbox)) = (&mut self.parts.core, &mut self.parts.mailbox) else {
                counted.radio_deaf += frames.len() as u64;
                continue;
            };
            let taken = mailbox.deliver(&mut core.process.qtest, self.machine.interrupts, &frames)?;
            counted.radio_received += taken as u64;
            counted.radio_overrun += (frames.len() - taken) as u64;
        }
    }

    /// Octets that the UART has been given, while a power cut makes that matter.
    fn known_sent(&self) -> Option<u64> {
        let in_doubt =
            self.flash.as_ref().is_some_and(|flash| flash.lock().unwrap_or_else(PoisonError::into_inner).in_doubt());
        in_doubt.then(|| self.parts.sent.load(Ordering::Acquire))
    }

    fn serial(&mut self) -> Result<(), MachineError> {
        let failed = |source| MachineError::link("UART", "passing octets", source);
        let known = self.known_sent();
        let mut uart = self.parts.core.as_mut().map(|core| &mut core.process.uart);
        if let Some(uart) = &mut uart {
            self.console.take_from_core(uart, known).map_err(failed)?;
        }
        self.console.take_from_host(uart).map_err(failed)
    }

    fn take_orders(&mut self) {
        while let Ok((order, answer)) = self.orders.try_recv() {
            let stop = matches!(order, Order::Stop);
            let result = self.carry_out(order);
            // Whoever hears the answer may look at once. One that no longer waits has had its time-out.
            self.publish();
            let _ = answer.send(result);
            if stop {
                self.parts.stop.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// Pulls or plugs the cable of the probe.
    pub(super) fn probe_cable(&mut self, plugged: bool) -> Result<(), MachineError> {
        let failed = |source| MachineError::Port { what: "the virtual probe", source };
        if !plugged {
            self.listener = None;
            self.close_debugger();
        } else if self.listener.is_none() {
            let listener = TcpListener::bind(self.probe_address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            self.listener = Some(listener);
        }
        Ok(())
    }

    fn close_debugger(&mut self) {
        if self.parts.debugger.take().is_some() {
            self.event(BenchEventKind::ProbeClosed);
        }
    }

    /// A debugger connects. One at a time, as with any probe.
    fn accept(&mut self) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) else { return };
        if self.parts.debugger.is_some() {
            return self.event(BenchEventKind::ProbeBusy);
        }
        if stream.set_nodelay(true).is_ok() && stream.set_nonblocking(true).is_ok() {
            self.probe.opened();
            self.parts.debugger = Some(stream);
            self.event(BenchEventKind::ProbeOpened);
        }
    }

    fn debugger(&mut self) -> Result<(), MachineError> {
        let mut chunk = [0; 16 * 1024];
        while let Some(stream) = &mut self.parts.debugger {
            let n = match stream.read(&mut chunk) {
                Ok(0) => {
                    self.close_debugger();
                    break;
                }
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.close_debugger();
                    break;
                }
            };
            let answers = self.probe.receive(&chunk[..n], self.parts.core.as_mut());
            // Answers are short and asked for one by one: a connection that does not take one is dead.
            if self.parts.debugger.as_mut().is_some_and(|stream| stream.write_all(&answers).is_err()) {
                self.close_debugger();
            }
            if n < chunk.len() {
                break;
            }
        }
        // A machine that died under the debugger's hands is noticed by its trace.
        Ok(())
    }
}
