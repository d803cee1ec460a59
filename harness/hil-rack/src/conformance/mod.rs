//! What every rack has to do, whatever it is made of: one list of cases for the simulation, for emulated boards and for
//! a lab.
//!
//! A case drives a rack through the port alone and knows no concrete one; images come from the rack's own test, by a
//! [`ConformanceKit`]. The cases judge the rack and never the product: what a node does is looked at only where it shows
//! that the rack did as it was told. A case that needs what a rack lacks is for the caller to skip, by [`Case::lacks`];
//! that the rack then refuses the action is a case of its own.

mod bench;
mod campaigns;
mod order;
mod power;
mod probe;
mod refusals;

use crate::{Rack, RackError};
use hil_model::{CampaignPolicy, Capability, PackageSupply, Provision, RackManifest, Span};

/// What the rack's own test supplies: images that its nodes can run, and how long its parts take.
#[derive(Debug, Clone)]
pub struct ConformanceKit {
    /// What the rack is prepared with; its fleet has at least one node on Bluetooth Mesh.
    pub provision: Provision,
    /// An update that every node of the fleet takes.
    pub package: PackageSupply,
    /// A policy under which a campaign over the whole fleet completes: one stage, no soak.
    pub policy: CampaignPolicy,
    /// How long things may take.
    pub patience: Patience,
}

/// How long things may take on a rack, in rack time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From an action to the first event of it.
    pub action: Span,
    /// From power on to the application, every node of the fleet.
    pub boot: Span,
    /// A whole campaign.
    pub campaign: Span,
}

/// Makes a fresh, unprepared rack; what an earlier one claimed is free again by then.
pub type Maker<'a> = dyn FnMut() -> Box<dyn Rack> + 'a;

/// How a rack breaks a rule of the port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The rack gave an error where it must not.
    #[error("{doing}: the rack says: {error}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What the rack said.
        error: RackError,
    },
    /// The rack did another thing than the rule says.
    #[error("{0}")]
    Rule(String),
    /// Something that has to be observed never was.
    #[error("no {what} within {limit}")]
    NeverCame {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Span,
    },
}

/// One rule that a rack has to keep.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, for a list of tests.
    pub name: &'static str,
    /// What a rack has to be able to do so that the case can be tried.
    pub needs: &'static [Capability],
    /// Tries it.
    pub check: fn(&ConformanceKit, &mut Maker<'_>) -> Result<(), Broken>,
}

impl Case {
    /// What this rack lacks for the case; empty when it can be tried.
    #[must_use]
    pub fn lacks(&self, manifest: &RackManifest) -> Vec<Capability> {
        self.needs.iter().copied().filter(|c| !manifest.capabilities.contains(c)).collect()
    }
}

use Capability::{
    AirInterpose, GatewayRestart, MeshosRestart, PowerCutAtOperation, PowerSwitch, ProbeRead, ProbeWrite, VirtualTime,
};

/// Every case, from what others build on to what takes longest. Adding one: a function, a line here, and a rack that
/// breaks it in the tests of the virtual rack.
pub const CASES: &[Case] = &[
    Case { name: "manifest_is_fixed_and_agrees_with_itself", needs: &[], check: order::manifest },
    Case { name: "observe_keeps_to_its_deadline", needs: &[], check: order::deadline },
    Case { name: "a_deadline_gone_by_turns_no_clock_back", needs: &[], check: order::gone_by },
    Case { name: "events_come_in_order_of_time", needs: &[ProbeRead], check: order::in_order },
    Case { name: "events_of_one_instant_come_together", needs: &[VirtualTime], check: order::together },
    Case { name: "prepare_puts_every_node_on_the_running_image", needs: &[ProbeRead], check: order::running_image },
    Case { name: "probe_read_gives_the_banks", needs: &[ProbeRead], check: probe::read },
    Case { name: "probe_write_is_proven_and_seen", needs: &[ProbeRead, ProbeWrite], check: probe::write },
    Case { name: "power_off_is_dark_until_power_on", needs: &[PowerSwitch], check: power::off_and_on },
    Case { name: "power_cycle_keeps_its_dark_time", needs: &[PowerSwitch], check: power::cycle },
    Case { name: "gateway_restart_comes_back", needs: &[GatewayRestart], check: power::gateway },
    Case { name: "what_cannot_be_done_is_refused", needs: &[], check: refusals::impossible },
    Case { name: "what_the_rack_lacks_is_refused", needs: &[], check: refusals::lacking },
    Case { name: "nothing_is_done_before_prepare", needs: &[], check: refusals::unprepared },
    Case { name: "release_may_come_again_and_after_errors", needs: &[], check: refusals::release },
    Case { name: "prepare_again_starts_clean", needs: &[ProbeRead, PowerSwitch], check: order::prepare_again },
    Case { name: "a_campaign_leaves_every_node_on_the_new_image", needs: &[ProbeRead], check: campaigns::whole },
    Case {
        name: "a_drop_is_proven_and_ends_with_its_rule",
        needs: &[AirInterpose],
        check: campaigns::drop_until_removed,
    },
    Case { name: "a_rule_acts_no_oftener_than_its_limit", needs: &[AirInterpose], check: campaigns::limited },
    Case { name: "a_cut_at_an_operation_is_proven", needs: &[PowerCutAtOperation], check: campaigns::cut },
    Case { name: "meshos_restart_resumes_the_campaign", needs: &[MeshosRestart], check: campaigns::meshos },
    Case { name: "the_same_course_gives_the_same_events", needs: &[VirtualTime], check: campaigns::same_again },
];

#[cfg(test)]
mod tests {
    use super::CASES;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }
}
