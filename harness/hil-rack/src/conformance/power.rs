//! Power of nodes, and processes that are killed and come back.

use super::bench::{Bench, broken};
use super::{Broken, ConformanceKit, Maker};
use hil_model::fact::ResetCause;
use hil_model::{About, Action, Event, Fact, NodeId, Power, Span, Witness};

/// Long enough to tell dark from booting.
const DARK: Span = Span::secs(3);

/// Power, reset and boot of a node, in this order, after it was switched on or cycled at place `from`.
fn comes_back(bench: &mut Bench<'_>, from: usize, node: NodeId, count: u32) -> Result<Event, Broken> {
    let limit = bench.kit.patience.boot;
    let reset = bench.wait_of(from, node, "reset", limit, |f| matches!(f, Fact::Reset { .. }))?;
    match reset.fact {
        Fact::Reset { cause: ResetCause::PowerOn, count: now } if now == count && reset.witness == Witness::Power => {}
        ref other => return broken(format!("{node}: reset {count} after power on is told as {other:?}")),
    }
    let decided =
        bench.wait_of(from, node, "account of its bootloader", limit, |f| matches!(f, Fact::BootDecided { .. }))?;
    let started = bench.wait_of(from, node, "start of its image", limit, |f| matches!(f, Fact::ImageStarted { .. }))?;
    if reset.at <= decided.at && decided.at <= started.at {
        Ok(reset)
    } else {
        broken(format!("{node}: reset at {}, boot at {}, image at {}", reset.at, decided.at, started.at))
    }
}

fn goes_dark(bench: &mut Bench<'_>, from: usize, node: NodeId) -> Result<Event, Broken> {
    let limit = bench.kit.patience.action;
    let off = bench.wait_of(from, node, "loss of power", limit, |f| matches!(f, Fact::PowerOff))?;
    if off.witness == Witness::Power { Ok(off) } else { broken("power is witnessed by the power line") }
}

pub fn off_and_on(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    let from = bench.act(&Action::Power(node, Power::Off), None)?;
    goes_dark(&mut bench, from, node)?;
    let dark = bench.seen.len();
    bench.pass(DARK)?;
    let own = |e: &Event| match e.witness {
        Witness::Console | Witness::Power => true,
        Witness::Probe => matches!(e.fact, Fact::ImageStarted { .. } | Fact::ApplicationReady { .. }),
        Witness::Gateway | Witness::Meshos | Witness::Radio | Witness::Harness => false,
    };
    let alive = |e: &&Event| e.about.node() == Some(node) && own(e);
    if let Some(event) = bench.seen.get(dark..).unwrap_or_default().iter().find(alive) {
        return broken(format!("{node} has no power: {:?}", event.fact));
    }
    let from = bench.act(&Action::Power(node, Power::On), None)?;
    comes_back(&mut bench, from, node, 1)?;
    Ok(())
}

pub fn cycle(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    for count in 1..=2 {
        let from = bench.act(&Action::Power(node, Power::Cycle(DARK)), None)?;
        let off = goes_dark(&mut bench, from, node)?;
        let on = comes_back(&mut bench, from, node, count)?;
        if on.at < off.at + DARK || on.at > off.at + DARK + kit.patience.action {
            return broken(format!("{node} was dark for {} and not for {DARK}", on.at.since(off.at)));
        }
    }
    Ok(())
}

pub fn gateway(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    let Some(&id) = kit.provision.fleet.gateways().first() else { return broken("the kit's fleet has no gateway") };
    let from = bench.act(&Action::RestartGateway(id, DARK), None)?;
    let about = About::Gateway(id);
    let down = bench
        .wait(from, "gateway going down", kit.patience.action, |e| e.about == about && e.fact == Fact::GatewayDown)?;
    let up = bench
        .wait(from, "gateway coming up", DARK + kit.patience.boot, |e| e.about == about && e.fact == Fact::GatewayUp)?;
    if up.at >= down.at + DARK { Ok(()) } else { broken(format!("{id} was down for {} only", up.at.since(down.at))) }
}
