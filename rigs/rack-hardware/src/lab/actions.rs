//! Orders of the engine.

use hil_model::fact::{Fact, Moment};
use hil_model::{About, Action, FaultId, NodeId, OperatorOrder, PackageSupply, Power, ProbeWrite, Time, Witness};
use hil_rack::RackError;
use mk_linux::api::meshos::{CampaignAccepted, CampaignRequest, MeshosState, OperatorRequest};
use mk_linux::client::{Client, ClientError};
use mk_wire::time::Duration;
use rack_witness::campaign;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hand::Order;
use super::run::{Altering, Run, Todo};
use super::trail::{Life, Why};

fn refused(action: &str, why: impl core::fmt::Display) -> RackError {
    RackError::Refused { action: action.to_owned(), why: why.to_string() }
}

impl Run {
    /// Does one thing now.
    pub fn apply(&mut self, action: &Action, fault: Option<FaultId>) -> Result<(), RackError> {
        self.take_in();
        let words = action.describe();
        let now = self.clock.now();
        match action {
            Action::StartCampaign { policy, package, targets } => {
                for target in targets {
                    self.place(*target, &words)?;
                }
                self.start_campaign(policy, package, targets, &words)
            }
            Action::Operator(order) => self.operator(*order, &words),
            Action::AddAirRule(rule) => {
                self.tap.lock().add_rule(rule.clone());
                Ok(())
            }
            Action::RemoveAirRule(id) => {
                self.tap.lock().remove_rule(*id);
                Ok(())
            }
            Action::Power(node, power) => {
                let place = self.place(*node, &words)?;
                self.switch(place, *power, fault, now)
            }
            Action::ProbeWrite(node, write) => {
                let place = self.place(*node, &words)?;
                self.probe_write(place, write, fault, &words)
            }
            Action::ProbeRead(node) => {
                let place = self.place(*node, &words)?;
                self.read(place, now, Why::Banks(Moment::Asked));
                Ok(())
            }
            Action::RestartGateway(id, down) => {
                let found = self.gateways.iter().position(|host| host.id == *id);
                let place = found.ok_or_else(|| refused(&words, format!("there is no gateway {id}")))?;
                if let Some(host) = self.gateways.get_mut(place).filter(|host| !host.down) {
                    host.process.kill();
                    host.down = true;
                    self.note(now, About::Gateway(*id), Witness::Gateway, Fact::GatewayDown);
                    self.todo.push((now + *down, Todo::GatewayUp(place)));
                }
                Ok(())
            }
            Action::RestartMeshos(down) => {
                if !self.meshos.down {
                    self.meshos.process.kill();
                    self.meshos.down = true;
                    self.note(now, About::Campaign, Witness::Meshos, Fact::MeshosDown);
                    self.todo.push((now + *down, Todo::MeshosUp));
                }
                Ok(())
            }
        }
    }

    fn place(&self, node: NodeId, words: &str) -> Result<usize, RackError> {
        let here = node.0 > 0 && node.index() < self.trails.len();
        here.then(|| node.index()).ok_or_else(|| refused(words, format!("there is no node {node}")))
    }

    fn post<B: Serialize, T: DeserializeOwned>(&self, path: &'static str, body: &B) -> Result<T, ClientError> {
        let mut client = Client::new(&self.meshos.process.url)?;
        self.runtime.block_on(client.post(path, body))
    }

    fn start_campaign(
        &mut self,
        policy: &hil_model::CampaignPolicy,
        supply: &PackageSupply,
        targets: &[NodeId],
        words: &str,
    ) -> Result<(), RackError> {
        let mut wanted = campaign::policy(policy);
        if self.brisk {
            wanted.timing = mk_campaign::Timing {
                poll_interval: Duration::from_millis(1_000),
                round_interval: Duration::from_millis(500),
                answer_wait: Duration::from_millis(2_000),
                settle_margin: Duration::from_secs(15),
                gateway_wait: Duration::from_millis(2_000),
                ..wanted.timing
            };
        }
        let fleet = &self.provision.fleet;
        let nodes = targets.iter().filter_map(|id| fleet.get(*id)).map(campaign::info).collect();
        let (package, back) = (campaign::package(&supply.image), campaign::package(&self.provision.running));
        // A package of the running version is its own way back: then there is none.
        let rollback = (package.version != back.version).then_some(back);
        let request = CampaignRequest { policy: wanted, nodes, package, rollback };
        self.meshos.campaign = true;
        self.meshos.waiting = false;
        self.post::<_, CampaignAccepted>("/campaign", &request).map(drop).map_err(|error| refused(words, error))
    }

    fn operator(&mut self, order: OperatorOrder, words: &str) -> Result<(), RackError> {
        let request = OperatorRequest { order: campaign::order(order) };
        self.meshos.waiting = false;
        self.post::<_, MeshosState>("/orders", &request).map(drop).map_err(|error| refused(words, error))
    }

    fn switch(&mut self, place: usize, power: Power, fault: Option<FaultId>, now: Time) -> Result<(), RackError> {
        let wanted = match power {
            Power::Cycle(dark) => {
                self.todo.push((now + dark, Todo::PowerOn(place)));
                Power::Off
            }
            Power::CutAtOperation { .. } => {
                self.cuts.insert(place, (fault, power));
                power
            }
            Power::Off | Power::On => power,
        };
        self.power(place, wanted)?;
        if wanted == Power::Off && !self.surroundings.watches_resets() {
            // The switch is the only witness.
            if let Some(trail) = self.trails.get_mut(place) {
                trail.begin_life(Life::Off);
                trail.note(now, Witness::Power, Fact::PowerOff);
            }
        }
        Ok(())
    }

    fn probe_write(
        &mut self,
        place: usize,
        write: &ProbeWrite,
        fault: Option<FaultId>,
        words: &str,
    ) -> Result<(), RackError> {
        let dump = match self.surroundings.flash(place) {
            Some(dump) => dump,
            None => self
                .trails
                .get(place)
                .and_then(|trail| trail.last().cloned())
                .ok_or_else(|| refused(words, "the flash was not read yet"))?,
        };
        let stretch = dump.area(write.area).map_err(|why| refused(words, why))?;
        if write.offset as usize + write.mask.len() > stretch.region.length as usize {
            let why =
                format!("offset {:#x} lies outside the area of {:#x} octets", write.offset, stretch.region.length);
            return Err(refused(words, why));
        }
        let token = self.token();
        self.altering.insert(token, Altering { fault, area: write.area, offset: write.offset });
        self.order(place, Order::Alter { token, stretch, offset: write.offset, mask: write.mask.clone() });
        Ok(())
    }
}
