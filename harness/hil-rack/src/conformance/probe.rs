//! The debug probe: reads without the node's help, writes behind its back, and proves what it wrote.

use super::bench::{Bench, broken};
use super::{Broken, ConformanceKit, Maker};
use hil_model::fact::Moment;
use hil_model::{Action, BankArea, BankState, Event, Fact, FaultId, NodeId, ProbeWrite, Witness};

/// Reads the banks of a node: A, slot 0, slot 1.
fn banks(bench: &mut Bench<'_>, node: NodeId) -> Result<[BankState; 3], Broken> {
    let from = bench.act(&Action::ProbeRead(node), None)?;
    let asked = |e: &Event| {
        e.about.node() == Some(node)
            && e.witness == Witness::Probe
            && matches!(e.fact, Fact::Banks { moment: Moment::Asked, .. })
    };
    let event = bench.wait(from, &format!("reading of the banks of {node}"), bench.kit.patience.action, asked)?;
    match event.fact {
        Fact::Banks { a, slot0, slot1, .. } => Ok([a, slot0, slot1]),
        other => broken(format!("{other:?} is no reading of banks")),
    }
}

pub fn read(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    let mut bench = Bench::up(kit, make)?;
    for node in kit.provision.fleet.ids() {
        let [a, ..] = banks(&mut bench, node)?;
        if a.version != Some(kit.provision.running.version) {
            return broken(format!("{node}: the probe reads {:?} in bank A", a.version));
        }
    }
    Ok(())
}

pub fn write(kit: &ConformanceKit, make: &mut Maker<'_>) -> Result<(), Broken> {
    const FAULT: FaultId = FaultId(7);
    let mut bench = Bench::up(kit, make)?;
    let node = bench.mesh_node()?;
    let write = ProbeWrite { area: BankArea::Staging, offset: 0x140, mask: vec![0xA5, 0, 0xFF, 0x01] };
    let first = banks(&mut bench, node)?;
    let mut then = first;
    for round in ["first", "second"] {
        let from = bench.act(&Action::ProbeWrite(node, write.clone()), Some(FAULT))?;
        let proof = bench
            .wait_of(from, node, "proof of a probe write", kit.patience.action, |f| {
                matches!(f, Fact::ProbeWrote { .. })
            })?
            .fact;
        let Fact::ProbeWrote { fault, area, offset, before, after } = &proof else { continue };
        if (*fault, *area, *offset) != (Some(FAULT), write.area, write.offset) {
            return broken(format!("the proof of the {round} write speaks of another: {proof:?}"));
        }
        let masked: Vec<u8> = before.iter().zip(&write.mask).map(|(octet, mask)| octet ^ mask).collect();
        if before.len() != write.mask.len() || *after != masked {
            return broken(format!("the {round} write made {after:02x?} of {before:02x?} by {:02x?}", write.mask));
        }
        let now = banks(&mut bench, node)?;
        if now[0] != first[0] {
            return broken("a write to staging changed bank A");
        }
        if now == then {
            return broken(format!("the probe does not see the {round} write"));
        }
        then = now;
    }
    if then == first { Ok(()) } else { broken("the same mask twice does not give back what was there") }
}
