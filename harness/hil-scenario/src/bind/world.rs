//! What the scenario asks of fleet and policy, against what the rack has.

use super::{BindError, Binder, Complaints, LARGE};
use crate::diagnostic::Trouble;
use crate::nodes::World;
use crate::scalars::Take;
use crate::scenario::{MOST_GATEWAYS, MOST_NODES};
use hil_model::policy::HealthPolicy;
use hil_model::{CampaignPolicy, Capability, CapabilitySet, Fleet, NodeId, Protocol, StagePolicy, StageSize, Window};
use std::collections::BTreeSet;

impl Binder<'_> {
    /// The fleet, every node holding the running image's schema version, and what it takes to have it.
    pub(super) fn fleet(&self, needs: &mut CapabilitySet, complaints: &mut Complaints) -> Result<Fleet, BindError> {
        let wish = &self.scenario.written.rack;
        let config_version = self.scenario.written.running.config_version;
        let own = &self.manifest.fleet;
        let own_count = u16::try_from(own.nodes.len()).unwrap_or(u16::MAX);
        let count = wish.nodes.unwrap_or(own_count);
        let limits = [
            ("rack.nodes", u32::from(count), u32::from(MOST_NODES)),
            ("rack.gateways", wish.gateways.map_or(1, u32::from), u32::from(MOST_GATEWAYS)),
            ("rack.floors", wish.floors.map_or(1, u32::from), 255),
        ];
        for (path, value, most) in limits {
            if value == 0 || value > most {
                self.complain(complaints, path, Trouble::here(format!("{value} is outside 1 to {most}")));
            }
        }
        self.stop_if_wrong(complaints)?;
        if wish.thread_every.is_some_and(|every| every > 0) {
            needs.insert(Capability::Thread);
        }
        if usize::from(count) >= LARGE {
            needs.insert(Capability::LargeFleet);
        }
        let asks =
            wish.nodes.is_some() || wish.floors.is_some() || wish.gateways.is_some() || wish.thread_every.is_some();
        let mut fleet = if !asks {
            own.clone()
        } else if self.manifest.capabilities.contains(&Capability::LargeFleet) {
            let floors = wish.floors.unwrap_or(floors_of(own));
            let gateways = wish.gateways.unwrap_or(u16::try_from(own.gateways().len()).unwrap_or(1));
            Fleet::building(count, floors, gateways, wish.thread_every.unwrap_or(thread_every(own)), config_version)
        } else {
            // A rack with a fleet of its own: its first nodes, if they are of the kind asked for.
            let nodes: Vec<_> = own.nodes.iter().copied().take(usize::from(count)).collect();
            let thread = nodes.iter().filter(|spec| spec.protocol == Protocol::Thread).count();
            let fits = match wish.thread_every {
                None => true,
                Some(0) => thread == 0,
                Some(1) => thread == nodes.len(),
                Some(_) => thread > 0 && thread < nodes.len(),
            };
            let gateways = wish.gateways.is_none_or(|asked| usize::from(asked) == own.gateways().len());
            if nodes.len() < usize::from(count) || !fits || !gateways {
                return Err(BindError::Lacks(vec![Capability::LargeFleet]));
            }
            Fleet { nodes }
        };
        for spec in &mut fleet.nodes {
            spec.config_version = config_version;
        }
        Ok(fleet)
    }

    /// Nodes that the campaign addresses.
    pub(super) fn targets(&self, fleet: &Fleet, complaints: &mut Complaints) -> Vec<NodeId> {
        let all: Vec<NodeId> = fleet.ids().collect();
        let Some(wish) = &self.scenario.written.campaign.targets else { return all };
        let nobody = BTreeSet::new();
        match wish.resolve(&World { fleet, targets: &all, touched: &nobody }) {
            Ok(nodes) => nodes,
            Err(why) => {
                self.complain(complaints, "campaign.targets", Trouble::here(why));
                all
            }
        }
    }

    /// The campaign's policy, the product's where nothing is written.
    pub(super) fn policy(&self, targets: usize, complaints: &mut Complaints) -> CampaignPolicy {
        let wish = &self.scenario.written.campaign;
        let product = CampaignPolicy::default();
        let stages = match &wish.stages {
            None => product.stages,
            Some(stages) => {
                self.check_stages(targets, complaints);
                let size = |take| match take {
                    Take::Count(count) => StageSize::Count(count),
                    Take::Percent(share) => StageSize::Percent(share),
                    Take::Rest => StageSize::Rest,
                };
                stages.iter().map(|stage| StagePolicy { size: size(stage.take), soak: stage.soak }).collect()
            }
        };
        let throttle_permille = wish.throttle.map_or(product.throttle_permille, |share| share.0);
        if throttle_permille == 0 {
            self.complain(complaints, "campaign.throttle", Trouble::here("nothing would ever be sent"));
        }
        let concurrency = wish.concurrency.unwrap_or(product.concurrency);
        if !(1..=2).contains(&concurrency) {
            self.complain(complaints, "campaign.concurrency", Trouble::here("1 or 2 groups are served at once"));
        }
        let health = HealthPolicy::default();
        let own = &wish.health;
        CampaignPolicy {
            stages,
            success_permille: wish.success.map_or(product.success_permille, |share| share.0),
            throttle_permille,
            grace: wish.grace.unwrap_or(self.manifest.profile.grace),
            windows: wish
                .windows
                .iter()
                .map(|window| Window { from_minute: window.from.0, to_minute: window.to.0 })
                .collect(),
            start_minute: wish.start.map_or(0, |time| time.0 % (24 * 60)),
            health: HealthPolicy {
                report_interval: own.report_interval.unwrap_or(health.report_interval),
                missing_reports: own.missing_reports.unwrap_or(health.missing_reports),
                max_hops: own.max_hops.unwrap_or(health.max_hops),
                min_rssi_dbm: own.min_rssi.unwrap_or(health.min_rssi_dbm),
                healthy_permille: own.healthy.map_or(health.healthy_permille, |share| share.0),
            },
            concurrency,
        }
    }

    fn check_stages(&self, targets: usize, complaints: &mut Complaints) {
        let stages = self.scenario.written.campaign.stages.as_deref().unwrap_or_default();
        if stages.is_empty() || stages.len() > 32 {
            self.complain(complaints, "campaign.stages", Trouble::here("a campaign has 1 to 32 stages"));
        }
        let mut taken = 0;
        for (index, stage) in stages.iter().enumerate() {
            let path = format!("campaign.stages[{index}].take");
            match stage.take {
                Take::Count(count) => {
                    taken += usize::from(count);
                    if taken > targets {
                        let left = targets.saturating_sub(taken - usize::from(count));
                        let message = format!("takes {count} nodes where {left} of {targets} are left");
                        self.complain(complaints, &path, Trouble::here(message));
                    }
                }
                Take::Percent(share) => taken += (targets * usize::from(share)).div_ceil(100),
                Take::Rest if index + 1 < stages.len() => {
                    self.complain(complaints, &path, Trouble::here("`rest` leaves nothing for the stages after it"));
                }
                Take::Rest => {}
            }
        }
    }
}

fn floors_of(fleet: &Fleet) -> u8 {
    let floors: BTreeSet<_> = fleet.nodes.iter().map(|spec| spec.floor).collect();
    u8::try_from(floors.len()).unwrap_or(u8::MAX).max(1)
}

fn thread_every(fleet: &Fleet) -> u16 {
    let thread = fleet.nodes.iter().filter(|spec| spec.protocol == Protocol::Thread).count();
    fleet.nodes.len().checked_div(thread).and_then(|every| u16::try_from(every).ok()).unwrap_or(0)
}
