//! A plan as text: compact, stable, for review. Digests stay out, so that only a change of meaning shows.

use super::Plan;
use crate::proof::Want;
use crate::words;
use hil_model::{CampaignPolicy, Power, StageSize, When};
use std::fmt::Write as _;

impl Plan {
    /// The plan in a few lines.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let provision = &self.provision;
        writeln!(out, "{}: {}", self.name, self.title)?;
        writeln!(
            out,
            "  fleet     {} nodes, {} gateways, {:?} air, {:?} traffic",
            provision.fleet.nodes.len(),
            provision.fleet.gateways().len(),
            provision.level,
            provision.traffic
        )?;
        for image in &self.images {
            writeln!(
                out,
                "  {:<9} {} config {} {} {} octets, {}",
                image.label.0,
                image.version,
                image.config_version,
                words::kebab(&format!("{:?}", image.behaviour)),
                image.size,
                words::kebab(&format!("{:?}", image.check)),
            )?;
        }
        writeln!(out, "  campaign  {} to {}", policy(&self.policy), hil_model::words::nodes(&self.targets))?;
        for action in &self.actions {
            let by = action.fault.map_or_else(String::new, |fault| format!(" [{}]", fault.0));
            writeln!(out, "  {:<24}  {}{by}", when(&action.when), describe_action(&action.action))?;
        }
        for fault in &self.faults {
            writeln!(out, "  fault[{}]  {}", fault.id.0, fault.text)?;
            for clause in &fault.proof.clauses {
                let want = match &clause.want {
                    Want::AtLeast(1) => String::new(),
                    Want::AtLeast(least) => format!(", {least} times"),
                    Want::Each(nodes) => format!(", for {}", hil_model::words::nodes(nodes)),
                };
                writeln!(out, "    proof   {}{want}", without_digest(&clause.what))?;
            }
        }
        for (index, expectation) in self.expectations.iter().enumerate() {
            writeln!(out, "  expect[{index}] {}", expectation.text)?;
        }
        if let Some(canary) = &self.canary {
            writeln!(out, "  canary    {:?} must break {}", canary.composition, canary.must_break)?;
        }
        writeln!(out, "  needs     {}", words::capabilities(&self.needs))?;
        writeln!(out, "  ends      by {}, {} after quiet", self.deadline, self.settle)
    }
}

/// Hexadecimal digests change with the forge; the words around them do not.
fn without_digest(what: &str) -> String {
    let is_digest = |word: &&str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    what.split(' ').filter(|word| !is_digest(word)).collect::<Vec<_>>().join(" ")
}

fn when(when: &When) -> String {
    match when {
        When::At(at) => at.to_string(),
        When::After { trigger, nth, delay } => {
            let mut text = format!("{trigger:?}");
            if *nth > 1 {
                text.push_str(&format!(" #{nth}"));
            }
            if delay.0 > 0 {
                text.push_str(&format!(" + {delay}"));
            }
            text
        }
    }
}

fn describe_action(action: &hil_model::Action) -> String {
    match action {
        hil_model::Action::AddAirRule(rule) => {
            let aim = &rule.matches;
            let mut text = format!("air rule {}: {:?} {:?}", rule.id.0, aim.kind, rule.effect);
            if let Some(from) = aim.from {
                text.push_str(&format!(" from {from:?}"));
            }
            if let hil_model::Receivers::Only(nodes) = &aim.receivers {
                text.push_str(&format!(" to {}", hil_model::words::nodes(nodes)));
            }
            if let Some(block) = aim.block {
                text.push_str(&format!(" block {block}"));
            }
            if let Some((first, last)) = aim.chunks {
                text.push_str(&format!(" chunks {first}..{last}"));
            }
            if let Some(limit) = rule.limit {
                text.push_str(&format!(" at most {limit}"));
            }
            text
        }
        hil_model::Action::Power(node, Power::CutAtOperation { operation, tear, restore_after }) => {
            format!("{node}: power cut at flash operation {operation}, {tear:?}, dark {restore_after}")
        }
        // The offset depends on where the signing tool puts a signature; that it is there is for the proof.
        hil_model::Action::ProbeWrite(node, write) => format!("{node}: probe alters {:?}", write.area),
        other => other.describe(),
    }
}

fn policy(policy: &CampaignPolicy) -> String {
    let stages: Vec<String> = policy
        .stages
        .iter()
        .map(|stage| {
            let size = match stage.size {
                StageSize::Count(count) => count.to_string(),
                StageSize::Percent(share) => format!("{share} %"),
                StageSize::Rest => "rest".to_owned(),
            };
            format!("{size} soak {}", stage.soak)
        })
        .collect();
    let share = |permille: u16| format!("{}.{} %", permille / 10, permille % 10);
    let mut text = format!(
        "{}; success {}, throttle {}, grace {}",
        stages.join(", "),
        share(policy.success_permille),
        share(policy.throttle_permille),
        policy.grace
    );
    for window in &policy.windows {
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        text.push_str(&format!(", {}-{}", time(window.from_minute), time(window.to_minute)));
    }
    text
}
