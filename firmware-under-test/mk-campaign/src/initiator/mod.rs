//! The Initiator towards one gateway: Firmware Distribution Client and the sending side of an upload (protocol sheet,
//! sections 8 and 9).
//!
//! One request is out at a time and is repeated until it is answered; every step can be taken again, so that a MeshOS that
//! was restarted, or a gateway that was, meets no step that is forbidden. The machine knows nothing of stages, thresholds
//! or outcomes: it says how a distribution ended and what the gateway last knew of each receiver.

mod answers;
mod requests;
mod upload;

use self::upload::Upload;
use crate::journal::{DistributionEnd, ReceiverResult};
use crate::package::PackageInfo;
use crate::policy::{RadioPolicy, Timing};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::distribution::Status;
use mk_wire::time::{Duration, Instant};

/// MeshOS on the backhaul; no node ever sees this address.
pub(crate) const OWN_ADDRESS: Addr = Addr(0x7F01);

/// Times that a distribution begins afresh (upload broken off, gateway lost its state) before the gateway counts as
/// refusing.
const MAX_RESTARTS: u8 = 8;
/// Times that a distribution which the gateway suspended on its own is resumed, before it is given up.
const MAX_RESUMES: u8 = 5;

/// What every step needs to know and none may change.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub package: &'a PackageInfo,
    pub image: &'a [u8],
    pub radio: &'a RadioPolicy,
    pub timing: &'a Timing,
}

/// What the campaign has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The distribution is over at this gateway.
    Ended { number: u16, end: DistributionEnd, receivers: Vec<ReceiverResult> },
    /// The gateway does not answer; the machine waits for [`Initiator::retry`].
    Silent,
    /// The gateway refuses; the machine waits for [`Initiator::retry`].
    Refused(Status),
}

/// What is being asked of the gateway.
#[derive(Clone, Debug)]
enum Step {
    /// Upload Start; also finds out whether what the gateway stores under our firmware id is our image.
    UploadStart,
    /// BLOB transfer.
    Uploading(Box<Upload>),
    /// Upload Get: did the gateway store what it received? `sent` if it reported every block received.
    UploadCheck { sent: bool },
    /// Upload Cancel: another upload, or a broken one, is in the way.
    UploadCancel,
    /// Firmware Delete: another image is stored under our firmware id.
    Discard,
    /// Firmware Delete All: no room for the image.
    MakeRoom,
    /// Firmware Get: where is our image stored?
    Find,
    /// Get: is a distribution there, and is it ours?
    Look,
    /// Cancel of somebody else's distribution.
    Clear,
    /// Receivers Delete All.
    Empty,
    /// Receivers Add, from this receiver on.
    Add { from: usize },
    /// Start; also resumes.
    Start,
    /// Get, every poll interval.
    Poll,
    /// Receivers Get from this index on, for progress; `last` when the distribution is over, with its end.
    List { first: u16, last: Option<DistributionEnd> },
    /// Suspend.
    Suspend,
    /// Suspended by us.
    Held,
    /// Cancel of our own; what to say afterwards.
    Cancel { end: DistributionEnd },
    /// Waits for [`Initiator::retry`].
    Stuck,
    /// Nothing more to do.
    Done,
}

/// One distribution at one gateway.
#[derive(Clone, Debug)]
pub(crate) struct Initiator {
    gateway: Addr,
    number: u16,
    group: Addr,
    receivers: Vec<Addr>,
    /// The distribution may be there already: this machine was made after a restart.
    adopt: bool,
    step: Step,
    image_index: u16,
    /// The gateway said that it holds this very image, not only one of the same firmware id.
    image_checked: bool,
    hold: bool,
    results: Vec<ReceiverResult>,
    percent: Vec<u8>,
    /// Receivers that the lists read in this pass have named.
    listed: usize,
    /// When the current request goes out (again).
    send_at: Instant,
    /// When the current step's request first went out; patience counts from here.
    asked_since: Option<Instant>,
    restarts: u8,
    resumes: u8,
    events: Vec<Event>,
}

impl Initiator {
    /// A distribution to be carried out from `now` on. With `adopt`, one that the gateway may know already.
    pub fn new(now: Instant, gateway: Addr, number: u16, group: Addr, receivers: Vec<Addr>, adopt: bool) -> Self {
        let count = receivers.len();
        Initiator {
            gateway,
            number,
            group,
            receivers,
            adopt,
            step: if adopt { Step::Find } else { Step::UploadStart },
            image_index: 0,
            image_checked: false,
            hold: false,
            results: vec![ReceiverResult::UNKNOWN; count],
            percent: vec![0; count],
            listed: 0,
            send_at: now,
            asked_since: None,
            restarts: 0,
            resumes: 0,
            events: Vec::new(),
        }
    }

    pub fn gateway(&self) -> Addr {
        self.gateway
    }

    /// Progress of a receiver in percent, as the gateway says; `None` if it is not a receiver.
    pub fn percent(&self, receiver: Addr) -> Option<u8> {
        let index = self.receivers.iter().position(|addr| *addr == receiver)?;
        self.percent.get(index).copied()
    }

    /// Holds the distribution back (pause, closed window) or lets it go on.
    pub fn hold(&mut self, now: Instant, hold: bool) {
        if self.hold == hold {
            return;
        }
        self.hold = hold;
        match (&self.step, hold) {
            (Step::Poll | Step::List { last: None, .. }, true) => self.go(now, Step::Suspend),
            // A suspend that is out may have been carried out: Start takes it back either way.
            (Step::Held | Step::Suspend, false) => self.go(now, Step::Start),
            // A start that is out may have been carried out, and would run on.
            (Step::Start, true) if self.asked_since.is_some() => {
                self.adopt = true;
                self.go(now, Step::Look);
            }
            (Step::Start, false) => self.go(now, Step::Start),
            _ => {}
        }
    }

    /// Has the distribution cancelled, whatever it is at.
    pub fn cancel(&mut self, now: Instant) {
        match self.step {
            Step::Cancel { .. } | Step::Done => {}
            _ => {
                self.hold = false;
                self.go(now, Step::Cancel { end: DistributionEnd::Cancelled });
            }
        }
    }

    /// Tries again with a gateway that was silent or refused.
    pub fn retry(&mut self, now: Instant) {
        if matches!(self.step, Step::Stuck) {
            self.adopt = true;
            self.restarts = 0;
            self.resumes = 0;
            self.go(now, Step::Find);
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() { None } else { Some(self.events.remove(0)) }
    }

    /// When [`Initiator::poll`] has something to send, or to give up on.
    pub fn next_wakeup(&self) -> Option<Instant> {
        match &self.step {
            Step::Held | Step::Stuck | Step::Done => None,
            Step::Start if self.hold => None,
            Step::Uploading(upload) => upload.next_wakeup(),
            _ => Some(self.send_at),
        }
    }

    /// Takes a step; its request goes out at once.
    fn go(&mut self, now: Instant, step: Step) {
        self.go_at(now, step);
    }

    /// Takes a step; its request goes out at that time.
    fn go_at(&mut self, at: Instant, step: Step) {
        self.step = step;
        self.send_at = at;
        self.asked_since = None;
    }

    /// Begins afresh: the gateway came back without its state, or something was in the way.
    fn start_over(&mut self, now: Instant) {
        self.image_checked = false;
        self.restart(now, Step::UploadStart);
    }

    /// Takes a step back, a bounded number of times.
    fn restart(&mut self, now: Instant, step: Step) {
        self.restarts += 1;
        if self.restarts > MAX_RESTARTS {
            self.refused(Status::InternalError);
        } else {
            self.go(now, step);
        }
    }

    fn refused(&mut self, status: Status) {
        self.step = Step::Stuck;
        self.events.push(Event::Refused(status));
    }

    fn ended(&mut self, end: DistributionEnd) {
        self.step = Step::Done;
        let receivers = self.results.clone();
        self.events.push(Event::Ended { number: self.number, end, receivers });
    }

    /// The gateway has not answered for as long as is waited for.
    fn lost(&mut self) {
        match self.step {
            Step::Cancel { end: DistributionEnd::Cancelled } => self.ended(DistributionEnd::Lost),
            Step::Cancel { end } => self.ended(end),
            _ => {
                self.step = Step::Stuck;
                self.events.push(Event::Silent);
            }
        }
    }
}

/// `at` plus `span`, or the end of time.
pub(crate) fn later(at: Instant, span: Duration) -> Instant {
    Instant::from_ticks(at.as_ticks().saturating_add(span.as_ticks()))
}
