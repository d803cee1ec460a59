//! Cases around a whole campaign: what reaches the nodes, and what is done to it on the way.

use super::bench::{Bench, broken};
use super::{Broken, ConformanceKit, Maker};
use hil_model::action::Tear;
use hil_model::fact::{Interposition, Moment};
use hil_model::{
    Action, AirEffect, AirMatch, AirRule, Event, Fact, FaultId, ImageCheck, MessageKind, NodeId, Party, Power,
    Receivers, RuleId, Span, Witness,
};
use std::collections::BTreeMap;

const RULE: RuleId = RuleId(3);
const FAULT: FaultId = FaultId(5);
/// How long processes and nodes stay away.
const AWAY: Span = Span::secs(2);

pub fn whole(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let from = bench.start_campaign()?;
    bench.wait_for_campaign(from)?;
    let failed = |error| Broken::Failed { doing: "collect".to_owned(), error };
    let evidence = bench.rack.collect().map_err(failed)?;
    let bank = |event: &Event| match &event.fact {
        Fact::Banks { moment: Moment::Final, a, .. } => event.about.node().map(|node| (node, *a)),
        _ => None,
    };
    let banks: BTreeMap<NodeId, _> = evidence.iter().filter_map(bank).collect();
    let mut digest = None;
    for node in kit.provision.fleet.ids() {
        let Some(a) = banks.get(&node) else { return broken(format!("collect gives no banks of {node}")) };
        if a.check != ImageCheck::Valid || a.version != Some(kit.package.image.version) {
            return broken(format!("{node} ends on {:?} ({:?})", a.version, a.check));
        }
        if *digest.get_or_insert(a.digest) != a.digest {
            return broken(format!("bank A of {node} holds other octets than that of the first node"));
        }
    }
    Ok(())
}

/// Drops the first-boot confirmations of a node: it repeats them, and the campaign needs one.
fn confirmations(node: NodeId, limit: Option<u32>) -> Action {
    let matches = AirMatch {
        kind: MessageKind::Confirm,
        from: Some(Party::Node(node)),
        block: None,
        chunks: None,
        receivers: Receivers::All,
    };
    Action::AddAirRule(AirRule { id: RULE, fault: FAULT, matches, effect: AirEffect::Drop, limit })
}

fn interposed(event: &Event) -> bool {
    matches!(event.fact, Fact::Interposed { rule: RULE, .. })
}

/// Whether a fact proves that the rule dropped a confirmation of `node`.
fn check_proof(event: &Event, node: NodeId) -> Result<(), Broken> {
    let Fact::Interposed { fault, did, kind, from, sent, delivered, .. } = &event.fact else {
        return broken(format!("{:?} is no proof of a drop", event.fact));
    };
    let right = *fault == FAULT
        && *did == Interposition::Dropped
        && *kind == MessageKind::Confirm
        && *from == Party::Node(node)
        && delivered.is_none()
        && sent.len > 0
        && event.witness == Witness::Radio;
    if right { Ok(()) } else { broken(format!("the proof of a dropped confirmation of {node} is {event:?}")) }
}

pub fn drop_until_removed(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    bench.act(&confirmations(node, None), Some(FAULT))?;
    let from = bench.start_campaign()?;
    let proof = bench.wait(from, "proof of a dropped confirmation", kit.patience.campaign, interposed)?;
    check_proof(&proof, node)?;
    let heard = |e: &Event| e.about.node() == Some(node) && matches!(e.fact, Fact::ConfirmationHeard { .. });
    if bench.seen.iter().any(heard) {
        return broken("a confirmation was heard while all of them are dropped");
    }
    let removed = bench.act(&Action::RemoveAirRule(RULE), None)?;
    bench.wait(removed, "confirmation after the rule was removed", kit.provision.grace, heard)?;
    bench.wait_for_campaign(from)?;
    if bench.seen.get(removed..).unwrap_or_default().iter().any(interposed) {
        return broken("the rule acted after its removal");
    }
    Ok(())
}

pub fn limited(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    bench.act(&confirmations(node, Some(2)), Some(FAULT))?;
    let from = bench.start_campaign()?;
    bench.wait_for_campaign(from)?;
    let times = bench.seen.iter().filter(|e| interposed(e)).count();
    if times == 2 { Ok(()) } else { broken(format!("a rule for two messages acted on {times}")) }
}

pub fn cut(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    let power = Power::CutAtOperation { operation: 3, tear: Tear::NotDone, restore_after: AWAY };
    bench.act(&Action::Power(node, power), Some(FAULT))?;
    let from = bench.start_campaign()?;
    let limit = kit.patience.campaign;
    let proof = bench.wait_of(from, node, "proof of a power cut", limit, |f| matches!(f, Fact::PowerCut { .. }))?;
    match &proof.fact {
        Fact::PowerCut { fault: Some(FAULT), operation: 3, tear: Tear::NotDone, before, after, .. }
            if before == after => {}
        other => return broken(format!("the proof of a cut at operation 3 is {other:?}")),
    }
    let off = bench.wait_of(from, node, "loss of power", limit, |f| matches!(f, Fact::PowerOff))?;
    let reset = bench.wait_of(from, node, "reset", limit, |f| matches!(f, Fact::Reset { .. }))?;
    if reset.at < off.at + AWAY {
        return broken(format!("{node} was dark for {} and not for {AWAY}", reset.at.since(off.at)));
    }
    // What becomes of the transfer is the product's affair; that the node is there again is the rack's.
    let again = bench.seen.len();
    let started = |f: &Fact| matches!(f, Fact::ImageStarted { .. });
    bench.wait_of(again, node, "start of an image", kit.patience.boot, started)?;
    Ok(())
}

pub fn meshos(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let from = bench.start_campaign()?;
    let limit = kit.patience.campaign;
    bench.wait(from, "first stage", limit, |e| matches!(e.fact, Fact::StageStarted { .. }))?;
    let killed = bench.act(&Action::RestartMeshos(AWAY), None)?;
    let down = bench.wait(killed, "MeshOS going down", kit.patience.action, |e| e.fact == Fact::MeshosDown)?;
    let up = bench
        .wait(killed, "MeshOS coming up", AWAY + kit.patience.boot, |e| matches!(e.fact, Fact::MeshosUp { .. }))?;
    if up.fact == (Fact::MeshosUp { records: 0 }) {
        return broken("MeshOS came up with an empty journal");
    }
    if up.at < down.at + AWAY {
        return broken(format!("MeshOS was away for {} only", up.at.since(down.at)));
    }
    bench.wait_for_campaign(from)
}

pub fn same_again(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut course = || {
        let mut bench = Bench::up(kit, make)?;
        let from = bench.start_campaign()?;
        bench.wait_for_campaign(from)?;
        Ok(core::mem::take(&mut bench.seen))
    };
    let (first, second) = (course()?, course()?);
    let differ = first.iter().zip(&second).find(|(a, b)| a != b);
    match differ {
        Some((a, b)) => broken(format!("once {a:?}, then {b:?}")),
        None if first.len() != second.len() => broken(format!("{} events, then {}", first.len(), second.len())),
        None => Ok(()),
    }
}
