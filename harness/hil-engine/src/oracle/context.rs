//! What the rules know beforehand: the images, the policy, the times of the board.

use hil_model::{CampaignPolicy, CapabilitySet, Digest, Span};
use hil_scenario::Plan;

/// What the plan fixed before the run.
#[derive(Debug, Clone)]
pub struct Context {
    /// Grace period of the first-boot confirmation.
    pub grace: Span,
    /// Longest time an install or a roll-back takes on the board.
    pub install: Span,
    /// Longest time a boot takes beside that.
    pub boot: Span,
    /// Image file that every node runs at the start.
    pub running: Digest,
    /// Image file that the campaign hands out; none when no campaign is planned.
    pub candidate: Option<Digest>,
    /// Policy of the campaign.
    pub policy: Option<CampaignPolicy>,
    /// What the rack can do.
    pub capabilities: CapabilitySet,
}

impl Context {
    /// The context of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            grace: plan.limits.grace,
            install: plan.limits.install,
            boot: plan.limits.boot,
            running: plan.provision.running.digest,
            candidate: plan.labelled(Plan::CANDIDATE).map(|image| image.digest),
            policy: Some(plan.policy.clone()),
            capabilities: plan.manifest.capabilities.clone(),
        }
    }

    /// Longest time from the start of a trial that nobody confirms to the start of the old image (oracle 6).
    #[must_use]
    pub fn roll_back_bound(&self) -> Span {
        self.grace + self.install + self.boot
    }
}
