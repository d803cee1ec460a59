//! Things that cannot be done: an error of the right kind, no panic, and a rack that works on.

use super::bench::{Bench, broken};
use super::{Broken, ConformanceKit, Maker};
use hil_model::action::Tear;
use hil_model::{
    Action, AirEffect, AirMatch, AirRule, BankArea, Capability, FaultId, GatewayId, MessageKind, NodeId, OperatorOrder,
    Power, ProbeWrite, Receivers, RuleId, Span, Time,
};

/// A node and a gateway that no rack has.
const NO_NODE: NodeId = NodeId(4_000);
const NO_GATEWAY: GatewayId = GatewayId(200);

fn probe_write(node: NodeId, offset: u32) -> Action {
    Action::ProbeWrite(node, ProbeWrite { area: BankArea::A, offset, mask: vec![1] })
}

pub fn impossible(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    let campaign =
        |targets| Action::StartCampaign { policy: kit.policy.clone(), package: kit.package.clone(), targets };
    let actions = [
        (Action::Power(NO_NODE, Power::Off), "there is no such node"),
        (Action::Power(NodeId(0), Power::On), "nodes are counted from 1"),
        (Action::ProbeRead(NO_NODE), "there is no such node"),
        (probe_write(NO_NODE, 0), "there is no such node"),
        (probe_write(node, u32::MAX), "that is outside the bank"),
        (Action::RestartGateway(NO_GATEWAY, Span::secs(1)), "there is no such gateway"),
        (Action::Operator(OperatorOrder::Resume), "there is no campaign"),
        (campaign(vec![NO_NODE]), "there is no such target"),
    ];
    for (action, why) in actions {
        bench.refused(&action, why)?;
    }
    bench.pass(Span::secs(1))
}

/// One of every kind of action, as any rack could be asked.
fn one_of_each(kit: &ConformanceKit, node: NodeId) -> Vec<Action> {
    let rule = |id, receivers| {
        let matches = AirMatch { kind: MessageKind::Chunk, from: None, block: None, chunks: None, receivers };
        AirRule { id: RuleId(id), fault: FaultId(1), matches, effect: AirEffect::Drop, limit: Some(1) }
    };
    let cut = Power::CutAtOperation { operation: 0, tear: Tear::NotDone, restore_after: Span::secs(1) };
    let gateway = kit.provision.fleet.gateways().first().copied().unwrap_or(NO_GATEWAY);
    vec![
        Action::StartCampaign {
            policy: kit.policy.clone(),
            package: kit.package.clone(),
            targets: kit.provision.fleet.ids().collect(),
        },
        Action::Operator(OperatorOrder::Pause),
        Action::AddAirRule(rule(1, Receivers::All)),
        Action::AddAirRule(rule(2, Receivers::Only(vec![node]))),
        Action::Power(node, Power::Off),
        Action::Power(node, Power::On),
        Action::Power(node, Power::Cycle(Span::secs(1))),
        Action::Power(node, cut),
        probe_write(node, 0),
        Action::ProbeRead(node),
        Action::RestartGateway(gateway, Span::secs(1)),
        Action::RestartMeshos(Span::secs(1)),
    ]
}

pub fn lacking(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    let capabilities = bench.rack.manifest().capabilities.clone();
    for action in one_of_each(kit, node) {
        let missing: Vec<Capability> = action.needs().into_iter().filter(|c| !capabilities.contains(c)).collect();
        if let Some(missing) = missing.first() {
            bench.refused(&action, &format!("the rack lacks {missing}"))?;
        }
    }
    bench.pass(Span::secs(1))
}

pub fn unprepared(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::fresh(kit, make);
    let node = bench.mesh_node()?;
    let early = |bench: &mut Bench<'_>, when: &str| {
        for action in one_of_each(kit, node) {
            bench.refused(&action, when)?;
        }
        if bench.rack.observe(Time::ZERO + Span::secs(1)).is_ok() {
            return broken(format!("{when}, and there was something to observe"));
        }
        if bench.rack.collect().is_ok() {
            return broken(format!("{when}, and there was something to collect"));
        }
        Ok(())
    };
    early(&mut bench, "the rack is not prepared")?;
    bench.prepare()?;
    bench.rack.release();
    early(&mut bench, "the rack is released")
}

pub fn release(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::fresh(kit, make);
    bench.rack.release();
    let mut wrong = kit.provision.clone();
    wrong.profile.board = "no-such-board".to_owned();
    if bench.rack.prepare(&wrong).is_ok() {
        return broken("the rack was prepared for a board that nobody has");
    }
    bench.rack.release();
    bench.rack.release();
    bench.prepare()?;
    bench.wait_for_boots()?;
    bench.rack.release();
    bench.rack.release();
    bench.prepare()?;
    bench.wait_for_boots()
}
