//! A sketch: a scenario as the explorer thinks of it, easy to change one thing of; and its text.

use std::fmt::Write as _;

use hil_model::Composition;

/// A fault of a sketch. `{node}` and `{number}` in the template stand for the node and the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SketchFault {
    /// As in a scenario's list of faults.
    pub template: String,
    /// The node it is about, if it is about one.
    pub node: Option<u16>,
    /// A number that may be made smaller.
    pub number: Option<u64>,
}

impl SketchFault {
    /// As in a scenario's list of faults.
    #[must_use]
    pub fn text(&self) -> String {
        let node = self.node.map(|node| format!("n{node:02}")).unwrap_or_default();
        let number = self.number.map(|number| number.to_string()).unwrap_or_default();
        self.template.replace("{node}", &node).replace("{number}", &number)
    }
}

/// A scenario as drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// Nodes.
    pub nodes: u16,
    /// Gateways.
    pub gateways: u16,
    /// Every how-many-th node is on Thread; 0: none.
    pub thread_every: u16,
    /// Size of the images, KiB.
    pub image_kib: u32,
    /// Nodes of the first stage; none: there is one stage.
    pub first_stage: Option<u16>,
    /// Soak of every stage, minutes.
    pub soak_min: u32,
    /// Faults.
    pub faults: Vec<SketchFault>,
}

impl Sketch {
    /// As a scenario file that leaves the judgement to the oracle.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("title: Drawn by the explorer; the oracle alone judges\n");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "rack: {{ nodes: {}, floors: 1, gateways: {}, thread-every: {}, image-size: {} KiB }}",
            self.nodes, self.gateways, self.thread_every, self.image_kib
        );
        let soak = self.soak_min;
        let rest = format!("{{ take: rest, soak: {soak} min }}");
        let stages = match self.first_stage {
            Some(count) => format!("{{ take: {count}, soak: {soak} min }}, {rest}"),
            None => rest,
        };
        // A node that resets for ever fills the ledger: no sound campaign of this size takes so long.
        let _ = writeln!(text, "campaign: {{ stages: [{stages}] }}\ndeadline: 3 h");
        if !self.faults.is_empty() {
            text.push_str("faults:\n");
            for fault in &self.faults {
                let _ = writeln!(text, "  - {}", fault.text());
            }
        }
        text.push_str("expect:\n  - event: { fact: campaign-started }\n");
        text
    }

    /// The same as a file to keep: with wrong parts it says which, and which rule catches them.
    #[must_use]
    pub fn judged_text(&self, parts: Composition, rule: &str) -> String {
        let mut text = self.text();
        if parts != Composition::Product
            && let Ok(parts) = serde_yaml::to_string(&parts)
        {
            let rule = rule.split([' ', ':']).next().unwrap_or_default();
            let _ = writeln!(text, "canary: {{ composition: {}, must-break: {rule} }}", parts.trim());
        }
        text
    }
}
