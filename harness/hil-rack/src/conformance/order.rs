//! Manifest, preparation, and the order of events and time.

use super::bench::{Bench, broken};
use super::{Broken, ConformanceKit, Maker};
use hil_model::fact::Moment;
use hil_model::{
    Action, BankState, Capability, Event, Fact, ImageCheck, NodeId, Power, Protocol, RackKind, RackManifest, Span, Time,
};
use std::collections::BTreeMap;

pub fn manifest(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::fresh(kit, make);
    let first = bench.rack.manifest().clone();
    consistent(&first)?;
    let same = |bench: &Bench<'_>, when: &str| {
        if *bench.rack.manifest() == first { Ok(()) } else { broken(format!("the manifest changed {when}")) }
    };
    bench.prepare()?;
    same(&bench, "with prepare")?;
    bench.pass(Span::secs(1))?;
    same(&bench, "while time passed")?;
    bench.rack.release();
    same(&bench, "with release")
}

fn consistent(manifest: &RackManifest) -> Result<(), Broken> {
    use Capability as C;
    if manifest.name.trim().is_empty() {
        return broken("the rack has no name");
    }
    let ids = manifest.fleet.ids().enumerate();
    if let Some((place, id)) = { ids }.find(|(place, id)| id.0 == 0 || id.index() != *place) {
        return broken(format!("{id} stands at place {place} of the fleet; ids run from 1 without a gap"));
    }
    let has = |capability| manifest.capabilities.contains(&capability);
    // The second is nothing without the first.
    let rests_on = [
        (C::AirObserve, C::AirInterpose),
        (C::AirInterpose, C::AirPerReceiver),
        (C::AirInterpose, C::AirSinglePdu),
        (C::ProbeRead, C::ProbeWrite),
        (C::PowerSwitch, C::PowerCutAtOperation),
    ];
    if let Some((base, more)) = rests_on.into_iter().find(|(base, more)| has(*more) && !has(*base)) {
        return broken(format!("{more} without {base}"));
    }
    if has(C::VirtualTime) != (manifest.kind == RackKind::Virtual) {
        return broken("virtual time is what the virtual rack has, and no other");
    }
    if manifest.fleet.nodes.iter().any(|n| n.protocol == Protocol::Thread) && !has(C::Thread) {
        return broken("the fleet holds Thread nodes, and the manifest does not say so");
    }
    let profile = &manifest.profile;
    if profile.image_size == 0 || profile.chunk_size == 0 || profile.board.is_empty() || profile.grace == Span::ZERO {
        return broken(format!("the profile lacks a size or a time: {profile:?}"));
    }
    Ok(())
}

pub fn deadline(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    // Steps that end between events as well as at them; every one is held to the rules by the bench.
    for step in [Span::micros(1), Span::millis(7), Span::millis(500), Span::secs(3)] {
        for _ in 0..3 {
            bench.pass(step)?;
        }
    }
    Ok(())
}

pub fn gone_by(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    bench.pass(Span::secs(1))?;
    let now = bench.now;
    bench.observe(Time::ZERO)?;
    if bench.now == now { Ok(()) } else { broken(format!("a deadline gone by moved time from {now} to {}", bench.now)) }
}

pub fn in_order(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::prepared(kit, make)?;
    // Boots of a whole fleet overlap; the bench compares every event with the one before.
    bench.wait_for_boots()?;
    let boots = bench.seen.iter().filter(|e| matches!(e.fact, Fact::ImageStarted { .. })).count();
    if boots < kit.provision.fleet.nodes.len() {
        return broken(format!("{boots} images started on {} nodes", kit.provision.fleet.nodes.len()));
    }
    Ok(())
}

pub fn together(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::prepared(kit, make)?;
    let end = Time::ZERO + kit.patience.boot;
    let mut told: Option<Time> = None;
    while bench.now < end {
        let first = bench.observe(end)?;
        let news = bench.seen.get(first..).unwrap_or_default();
        if let (Some(told), Some(next)) = (told, news.first())
            && next.at == told
        {
            return broken(format!("{:?} belongs to the instant {told}, which had been told already", next.fact));
        }
        if let (Some(a), Some(b)) = (news.first(), news.last())
            && a.at != b.at
        {
            return broken(format!("events at {} and at {} came as one instant", a.at, b.at));
        }
        told = news.last().map(|e| e.at).or(told);
    }
    Ok(())
}

/// Bank A of every node as the probe found it at preparation.
fn provisioned(events: &[Event]) -> BTreeMap<NodeId, BankState> {
    let bank = |event: &Event| match &event.fact {
        Fact::Banks { moment: Moment::Provisioned, a, .. } => event.about.node().map(|node| (node, *a)),
        _ => None,
    };
    events.iter().filter_map(bank).collect()
}

pub fn running_image(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let bench = Bench::up(kit, make)?;
    let running = &kit.provision.running;
    let banks = provisioned(&bench.seen);
    for node in kit.provision.fleet.ids() {
        let Some(a) = banks.get(&node) else {
            return broken(format!("{node}: no reading of its banks as provisioned"));
        };
        if a.check != ImageCheck::Valid || a.version != Some(running.version) {
            return broken(format!("{node}: bank A is {:?} of {:?}, not {}", a.check, a.version, running.version));
        }
    }
    for event in &bench.seen {
        let Fact::ImageStarted { digest, version, trial, .. } = &event.fact else { continue };
        if *digest != running.digest || *version != Some(running.version) || *trial {
            return broken(format!("{}: started {:?} instead of {}", event.about, event.fact, running.version));
        }
    }
    Ok(())
}

pub fn prepare_again(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    let before = provisioned(&bench.seen);
    let cycle = Action::Power(node, Power::Cycle(Span::secs(1)));
    let from = bench.act(&cycle, None)?;
    bench.wait_of(from, node, "reset", kit.patience.boot, |f| matches!(f, Fact::Reset { .. }))?;
    bench.act(&Action::Power(node, Power::Off), None)?;
    bench.pass(kit.patience.action)?;
    bench.prepare()?;
    bench.wait_for_boots()?;
    if provisioned(&bench.seen) != before {
        return broken("the banks as provisioned the second time are not those of the first");
    }
    let from = bench.act(&cycle, None)?;
    let reset = bench.wait_of(from, node, "reset", kit.patience.boot, |f| matches!(f, Fact::Reset { .. }))?;
    match reset.fact {
        Fact::Reset { count: 1, .. } => Ok(()),
        other => broken(format!("the first reset after prepare is {other:?}")),
    }
}
