//! `missing-reports`: application reports or heartbeats of some nodes stay away.

use super::{Documented, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use crate::scenario::Moment;
use hil_model::fact::Interposition;
use hil_model::{AirEffect, MessageKind};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MissingReports {
    /// Whose.
    pub nodes: NodeSet,
    /// From when.
    pub when: Moment,
    /// Which of them.
    #[serde(default)]
    pub which: Which,
}

/// Which reports stay away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Application reports and heartbeats.
    #[default]
    Both,
    /// Application reports.
    Reports,
    /// Heartbeats.
    Heartbeats,
}

impl Documented for MissingReports {
    const MANUAL: &'static str = "From a moment on, application reports, heartbeats or both of some nodes do not reach \
        the gateway, as if the updated application had died quietly. Updates and confirmations pass. The proof is one \
        report of each node that was not delivered.";
    const EXAMPLE: &'static str = "missing-reports: { nodes: n03, when: { after: { soak-started: 1 } } }";
}

impl Fault for MissingReports {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        let when = lab.when(&self.when)?;
        let kinds = match self.which {
            Which::Both => vec![MessageKind::AppReport, MessageKind::Health],
            Which::Reports => vec![MessageKind::AppReport],
            Which::Heartbeats => vec![MessageKind::Health],
        };
        for &kind in &kinds {
            lab.rule_from(when, kind, &nodes, &AirEffect::Drop);
        }
        lab.prove(Clause::interposed(lab.id, Interposition::Dropped, kinds, Want::Each(nodes)));
        Ok(())
    }
}
