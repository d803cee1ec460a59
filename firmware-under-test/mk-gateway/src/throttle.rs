//! The token bucket on air time (radio model, section 7): how much of the channel firmware may use.
//!
//! Integer arithmetic throughout. Tokens are microseconds of air time in thousandths; one originated PDU costs its air
//! time times the copies that relays make of it. The bucket holds one PDU. A message is let go when the bucket is full
//! and may overdraw it, so that a message of n PDUs, sent at the spacing that [`Throttle::spacing`] states, is followed
//! by the next one after n spacings. Outside the windows nothing refills; a message that began is finished.
//!
//! Over any second the air time of PDUs so spaced stays within `throttle x 1 s` plus one PDU. A CoAP response cannot be
//! spread (the stack below sends its fragments at once), so with Thread receivers the second term is the cost of one
//! block exchange instead.

use mk_wire::time::{Duration, Instant};

/// Full use of the channel.
const FULL: u16 = 1_000;

/// The bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Throttle {
    permille: u16,
    open: bool,
    /// Cost of one PDU with its copies, in microseconds.
    pdu_cost_us: u32,
    /// Shortest distance of two PDUs, in microseconds.
    segment_interval_us: u32,
    /// Thousandths of a microsecond of air time; negative while a message is being paid off.
    tokens: i64,
    refilled_at: Instant,
}

impl Throttle {
    /// A full bucket with open window. `permille` is taken into 1 to 1000.
    #[must_use]
    pub fn new(now: Instant, permille: u16, pdu_cost_us: u32, segment_interval: Duration) -> Self {
        let mut throttle = Throttle {
            permille: permille.clamp(1, FULL),
            open: true,
            pdu_cost_us,
            segment_interval_us: u32::try_from(segment_interval.as_micros()).unwrap_or(u32::MAX),
            tokens: 0,
            refilled_at: now,
        };
        throttle.tokens = throttle.depth();
        throttle
    }

    /// The share in force, in permille.
    #[must_use]
    pub const fn permille(&self) -> u16 {
        self.permille
    }

    /// Is the window open?
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Distance of two PDUs at this share: the segment interval, or longer where the share demands it.
    #[must_use]
    pub fn spacing(&self) -> Duration {
        Duration::from_micros(u64::from(self.spacing_us()))
    }

    /// Cost of one PDU with its copies, which is also what the bucket holds, in microseconds of air time.
    #[must_use]
    pub const fn pdu_cost_us(&self) -> u32 {
        self.pdu_cost_us
    }

    /// Changes the share from now on. `permille` is taken into 1 to 1000.
    pub fn set_permille(&mut self, now: Instant, permille: u16) {
        self.refill(now);
        self.permille = permille.clamp(1, FULL);
        self.tokens = self.tokens.min(self.depth());
    }

    /// Opens or closes the window.
    pub fn set_open(&mut self, now: Instant, open: bool) {
        self.refill(now);
        self.open = open;
    }

    /// May a message start now?
    #[must_use]
    pub fn allows(&self, now: Instant) -> bool {
        self.open && self.level(now) >= self.depth()
    }

    /// When the next message may start, perhaps in the past; `None` while the window is closed.
    #[must_use]
    pub fn next_start(&self) -> Option<Instant> {
        if !self.open {
            return None;
        }
        let missing = u64::try_from(self.depth() - self.tokens).unwrap_or(0);
        Some(self.refilled_at + Duration::from_micros(missing.div_ceil(u64::from(self.permille))))
    }

    /// Pays for a mesh message of `pdus` PDUs that starts now.
    pub fn spend_pdus(&mut self, now: Instant, pdus: u16) {
        // The spacing rather than the cost: what is lost to rounding and to the segment interval is paid as well, so
        // that no PDU of the next message comes nearer than one spacing.
        self.spend(now, i64::from(pdus) * i64::from(self.spacing_us()) * i64::from(self.permille));
    }

    /// Pays for air time of another kind, in microseconds.
    pub fn spend_air_us(&mut self, now: Instant, air_us: u32) {
        self.spend(now, i64::from(air_us) * i64::from(FULL));
    }

    /// How long air time of another kind takes to be earned.
    #[must_use]
    pub fn time_to_earn(&self, air_us: u32) -> Duration {
        Duration::from_micros((u64::from(air_us) * u64::from(FULL)).div_ceil(u64::from(self.permille)))
    }

    fn spend(&mut self, now: Instant, tokens: i64) {
        self.refill(now);
        self.tokens = self.tokens.saturating_sub(tokens);
    }

    fn refill(&mut self, now: Instant) {
        self.tokens = self.level(now);
        self.refilled_at = self.refilled_at.max(now);
    }

    fn level(&self, now: Instant) -> i64 {
        let elapsed = now.checked_duration_since(self.refilled_at).map_or(0, |d| d.as_micros());
        if !self.open {
            return self.tokens;
        }
        let earned = elapsed.saturating_mul(u64::from(self.permille));
        self.tokens.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX)).min(self.depth())
    }

    /// One PDU, in the unit of the tokens.
    fn depth(&self) -> i64 {
        i64::from(self.spacing_us()) * i64::from(self.permille)
    }

    fn spacing_us(&self) -> u32 {
        let by_share = (u64::from(self.pdu_cost_us) * u64::from(FULL)).div_ceil(u64::from(self.permille));
        u32::try_from(by_share).unwrap_or(u32::MAX).max(self.segment_interval_us)
    }
}
