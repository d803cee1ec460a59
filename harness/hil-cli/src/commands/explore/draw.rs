//! Drawing: from a seed to a sketch. Every kind of fault of the manual can be drawn; a test says so.

use super::sketch::{Sketch, SketchFault};

/// SplitMix64: small, well spread, the same everywhere.
#[derive(Debug, Clone)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn one_of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let place = self.between(0, from.len() as u64 - 1) as usize;
        from.get(place).copied().unwrap_or_default()
    }
}

/// Kinds that shape the image or its metadata: one package goes to all nodes, so one of them at most.
const OF_THE_IMAGE: usize = 7;
/// Kinds of faults that are drawn.
const KINDS: usize = 21;
/// Most faults of a sketch.
const MOST_FAULTS: u64 = 4;

/// The sketch of a seed; `draft` counts the attempts at it.
#[must_use]
pub fn draw(seed: u64, draft: u64, most_nodes: u16) -> Sketch {
    let mut draw = Draw(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ draft << 48);
    let nodes = draw.between(2, u64::from(most_nodes)) as u16;
    let mut sketch = Sketch {
        nodes,
        gateways: if nodes >= 8 { draw.between(1, 2) as u16 } else { 1 },
        thread_every: [0, 0, 3, 6][draw.between(0, 3) as usize],
        image_kib: [32, 64, 128][draw.between(0, 2) as usize],
        first_stage: None,
        soak_min: draw.between(0, 10) as u32,
        faults: Vec::new(),
    };
    if draw.between(0, 2) == 0 && nodes > 2 {
        sketch.first_stage = Some(draw.between(1, u64::from(nodes) - 1) as u16);
    }
    let mut shaped = false;
    for _ in 0..draw.between(1, MOST_FAULTS) {
        let first = if shaped { OF_THE_IMAGE } else { 0 };
        let kind = draw.between(first as u64, KINDS as u64 - 1) as usize;
        shaped |= kind < OF_THE_IMAGE;
        sketch.faults.push(fault(kind, &mut draw, nodes));
    }
    sketch
}

/// How an image or its staged copy is badly signed.
const BADNESS: [&str; 10] = [
    "wrong-key",
    "wrong-key-disguised",
    "unsigned",
    "signature-bit",
    "payload-bit",
    "payload-bit-rehashed",
    "header-bit",
    "protected-bit",
    "other-image",
    "zero",
];
const TEARS: [&str; 5] = ["not-done", "done", "random-bits", "half-erased", "first-word-left"];

fn fault(kind: usize, draw: &mut Draw, nodes: u16) -> SketchFault {
    let node = Some(draw.between(1, u64::from(nodes)) as u16);
    let number = |least, most, draw: &mut Draw| Some(draw.between(least, most));
    let plain = |template: String| SketchFault { template, node: None, number: None };
    let at_node = |template: String| SketchFault { template, node, number: None };
    let counted = |template: String, number| SketchFault { template, node, number };
    match kind {
        // --- the image, for all nodes
        0 => plain(format!("bad-signature: {{ how: {}, layer: verifying }}", draw.one_of(&BADNESS))),
        1 => {
            let how = draw.one_of(&["wrong-key", "unsigned", "signature-bit", "protected-bit", "other-image", "zero"]);
            plain(format!("bad-signature: {{ how: {how}, layer: update-start }}"))
        }
        2 => {
            let (how, layer) =
                (draw.one_of(&["no-handler", "handler-too-new"]), draw.one_of(&["update-start", "verifying"]));
            plain(format!("missing-migration: {{ how: {how}, layer: {layer} }}"))
        }
        3 => plain("missing-migration: { how: handler-fails }".to_owned()),
        4 => {
            let how = draw.one_of(&["never-sent", "crash-at-boot", "crash-loop", "hang-at-boot"]);
            plain(format!("withhold-confirmation: {{ how: {how} }}"))
        }
        5 => {
            let text = draw.one_of(&[
                "downgrade: { counter: 1 }",
                "tampered-image: { how: truncated, at: 4096 }",
                "tampered-metadata: { how: other-version }",
                "wrong-board: { layer: update-start }",
            ]);
            plain(text.to_owned())
        }
        6 => plain("degraded-firmware: {}".to_owned()),
        // --- one node, or the building
        7 | 8 => {
            let (block, what) = (draw.one_of(&["first", "middle", "last"]), draw.one_of(&["bit", "chunk", "block"]));
            let place = draw.one_of(&["air", "staging"]);
            at_node(format!("corrupt-block: {{ nodes: {{node}}, block: {block}, what: {what}, place: {place} }}"))
        }
        9 => at_node(format!("bad-signature: {{ how: {}, layer: boot, nodes: {{node}} }}", draw.one_of(&BADNESS))),
        10 => at_node("missing-migration: { how: no-handler, layer: boot, nodes: {node} }".to_owned()),
        11 => {
            let how =
                draw.one_of(&["never-heard", "ack-lost", "{ until-before-grace: 1 s }", "{ until-after-grace: 1 s }"]);
            at_node(format!("withhold-confirmation: {{ how: {how}, nodes: {{node}} }}"))
        }
        12 | 13 => {
            let (during, most) =
                [("download", 40), ("install", 20_000), ("trial", 10), ("confirm", 4)][draw.between(0, 3) as usize];
            let tear = draw.one_of(&TEARS);
            let text = format!(
                "power-cut: {{ nodes: {{node}}, during: {during}, operation: {{number}}, tear: {tear}, dark: {} s }}",
                draw.between(1, 30)
            );
            counted(text, number(0, most, draw))
        }
        14 => {
            let dark = draw.between(1, 300);
            let text = format!("power-loss: {{ nodes: {{node}}, when: {{ at: {{number}} s }}, dark: {dark} s }}");
            counted(text, number(2, 600, draw))
        }
        15 => at_node("silent-node: { nodes: {node} }".to_owned()),
        16 => {
            let (kind, effect) = (
                draw.one_of(&[
                    "chunk",
                    "block-start",
                    "block-status",
                    "transfer",
                    "update-start",
                    "update-status",
                    "update-apply",
                    "confirm",
                    "confirm-ack",
                    "report",
                ]),
                draw.one_of(&["drop", "{ delay: 3 s }", "{ duplicate: 2 }", "{ reorder: 3 }", "{ replay: 20 s }"]),
            );
            let text = format!("message: {{ kind: {kind}, nodes: {{node}}, effect: {effect}, limit: {{number}} }}");
            counted(text, number(1, 20, draw))
        }
        17 => counted("gateway-restart: { when: { at: {number} s }, down: 20 s }".to_owned(), number(2, 600, draw)),
        18 => counted("meshos-restart: { when: { at: {number} s }, down: 60 s }".to_owned(), number(2, 900, draw)),
        19 => at_node(format!("stale-update-status: {{ nodes: {{node}}, after: {} s }}", draw.between(1, 60))),
        _ => at_node("missing-reports: { nodes: {node}, when: { after: { soak-started: 1 } } }".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hil_scenario::{faults, source};
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_sketch() {
        assert_eq!(draw(7, 0, 16), draw(7, 0, 16));
        assert_ne!(draw(7, 0, 16), draw(8, 0, 16));
        assert_ne!(draw(7, 0, 16), draw(7, 1, 16));
    }

    #[test]
    fn every_sketch_can_be_read_and_every_fault_is_drawn() {
        let mut drawn = BTreeSet::new();
        for seed in 0..500 {
            let sketch = draw(seed, 0, 16);
            let read = source::read("explore/x", "x.yaml", &sketch.text());
            assert!(read.is_ok(), "seed {seed}: {read:?}\n{}", sketch.text());
            let names = sketch.faults.iter().filter_map(|f| f.template.split(':').next().map(str::to_owned));
            drawn.extend(names);
        }
        let all: BTreeSet<String> = faults::MANUAL.iter().map(|entry| entry.name.to_owned()).collect();
        assert_eq!(drawn, all);
    }
}
