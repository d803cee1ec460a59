//! The first-boot confirmation: when a trial image says that it runs, and when it keeps itself.
//!
//! The rule is a part ([`Confirmer`]) that a board's `main` puts into [`crate::Parts`]; the product's is
//! [`AckedConfirmer`]: say it until the gateway acknowledges *this* boot, and only then confirm. A rule decides, it does
//! not act: journal record and configuration switch are the node's business, in the order that survives a power cut.

use mk_wire::time::Duration;

/// What a rule may know about the running trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Names this boot.
    pub boot_count: u32,
    /// Confirmations sent in this boot.
    pub sent: u32,
    /// The gateway acknowledged this boot. An acknowledgement of another boot, or from another sender, never shows here.
    pub acknowledged: bool,
}

/// What the rule wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send a confirmation this long after the start of the trial or after the last one, give or take the jitter of
    /// [`JITTER`].
    SendAfter(Duration),
    /// Keep the image: journal record, then configuration.
    Confirm,
    /// Wait for what comes.
    Wait,
}

/// Largest delay that the node adds to a [`Step::SendAfter`], so that nodes updated together do not confirm together.
pub const JITTER: Duration = Duration::from_millis(500);

/// The rule by which a trial image confirms.
pub trait Confirmer<H>: Sync {
    /// Asked at the start of a trial, after each confirmation sent, and when one is acknowledged.
    fn next(&self, trial: &Trial, hw: &mut H) -> Step;
}

/// The product's rule: after 1 s, then 5 s, 10 s, and every 15 s until the gateway's acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckedConfirmer;

impl<H> Confirmer<H> for AckedConfirmer {
    fn next(&self, trial: &Trial, _hw: &mut H) -> Step {
        if trial.acknowledged {
            return Step::Confirm;
        }
        Step::SendAfter(match trial.sent {
            0 => Duration::from_secs(1),
            1 => Duration::from_secs(5),
            2 => Duration::from_secs(10),
            _ => Duration::from_secs(15),
        })
    }
}
