//! Shrinking: the fewest faults, nodes and octets that still fail.

use super::sketch::Sketch;

/// Runs that one failure is worth.
const MOST_TRIES: u32 = 200;

/// Makes a failing sketch smaller as long as `fails` says that it still fails. Also says how many sketches were tried.
pub fn shrink(start: Sketch, mut fails: impl FnMut(&Sketch) -> bool) -> (Sketch, u32) {
    let mut best = start;
    let mut tries = 0;
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            if tries == MOST_TRIES {
                return (best, tries);
            }
            tries += 1;
            if fails(&candidate) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(candidate) => best = candidate,
            None => return (best, tries),
        }
    }
}

/// Sketches that are smaller in one respect, the greatest steps first. Each is strictly smaller, so that it ends.
fn candidates(sketch: &Sketch) -> Vec<Sketch> {
    let mut all = Vec::new();
    let mut change = |edit: &dyn Fn(&mut Sketch)| {
        let mut candidate = sketch.clone();
        edit(&mut candidate);
        if candidate != *sketch {
            all.push(candidate);
        }
    };
    for place in 0..sketch.faults.len() {
        change(&|s| {
            s.faults.remove(place);
        });
    }
    let least = |s: &Sketch| s.faults.iter().filter_map(|fault| fault.node).max().unwrap_or(1).max(1);
    change(&|s| s.first_stage = None);
    change(&|s| s.gateways = 1);
    for nodes in [least(sketch), sketch.nodes / 2, sketch.nodes.saturating_sub(1)] {
        change(&|s| {
            if nodes >= least(s) && nodes < s.nodes {
                s.nodes = nodes;
                s.gateways = s.gateways.min(nodes);
                s.first_stage = s.first_stage.filter(|count| *count < nodes);
            }
        });
    }
    change(&|s| s.thread_every = 0);
    for place in 0..sketch.faults.len() {
        // Another fault may be about that node: then two faults are about one, which is smaller too.
        for to in [1, 2] {
            change(&|s| {
                if let Some(node) = s.faults.get_mut(place).and_then(|fault| fault.node.as_mut()) {
                    *node = to.min(*node);
                }
            });
        }
        for smaller in [|n: u64| n.min(1), |n: u64| n / 2] {
            change(&|s| {
                if let Some(number) = s.faults.get_mut(place).and_then(|fault| fault.number.as_mut()) {
                    *number = smaller(*number);
                }
            });
        }
    }
    change(&|s| s.image_kib = 32.min(s.image_kib));
    change(&|s| s.soak_min = 0);
    all
}

#[cfg(test)]
mod tests {
    use super::super::sketch::SketchFault;
    use super::*;

    fn sketch() -> Sketch {
        let fault = |template: &str, node, number| SketchFault { template: template.to_owned(), node, number };
        Sketch {
            nodes: 16,
            gateways: 2,
            thread_every: 4,
            image_kib: 128,
            first_stage: Some(4),
            soak_min: 5,
            faults: vec![
                fault("silent-node: { nodes: {node} }", Some(7), None),
                fault("power-loss: { nodes: {node}, when: { at: {number} s }, dark: 5 s }", Some(9), Some(300)),
                fault("gateway-restart: { when: { at: {number} s }, down: 5 s }", None, Some(80)),
            ],
        }
    }

    #[test]
    fn what_does_not_matter_goes() {
        // It fails as long as some node loses power at 40 s or later.
        let fails = |s: &Sketch| {
            s.faults.iter().any(|f| f.template.starts_with("power-loss") && f.number.is_some_and(|n| n >= 40))
        };
        let (small, tries) = shrink(sketch(), fails);
        assert_eq!((small.faults.len(), small.nodes, small.gateways, small.thread_every), (1, 1, 1, 0));
        assert_eq!((small.image_kib, small.first_stage, small.soak_min), (32, None, 0));
        assert!(small.faults.iter().all(|f| f.node == Some(1) && f.number == Some(75)), "{small:?}");
        assert!(tries < MOST_TRIES);
    }

    #[test]
    fn what_fails_only_as_it_is_stays_as_it_is() {
        let start = sketch();
        assert_eq!(shrink(start.clone(), |s| *s == start).0, start);
    }

    #[test]
    fn no_failure_is_worth_more_than_so_many_tries() {
        let mut left = u32::MAX;
        let (_, tries) = shrink(sketch(), |_| {
            left -= 1;
            true
        });
        assert!(tries <= MOST_TRIES);
    }
}
