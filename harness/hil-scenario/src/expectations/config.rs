//! `config`: which schema version the configuration has at the end, and that the user's settings are still there.

use super::Documented;
use super::per_node::Opinion;
use super::probed::Probed;
use super::witness::Trail;
use crate::nodes::NodeSet;
use crate::plan::Plan;
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation. That the settings are kept is always part of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Which nodes.
    pub nodes: NodeSet,
    /// Schema version at the end.
    pub version: u16,
}

impl Documented for Config {
    const MANUAL: &'static str = "The configuration as the probe finds it at the end: of this schema version, complete, \
        and with the user's settings as they were at the start, whatever migrations and roll-backs lay between.";
    const EXAMPLE: &'static str = "config: { nodes: all, version: 2 }";
}

impl Probed for Config {
    fn nodes(&self) -> &NodeSet {
        &self.nodes
    }

    fn judge(&self, found: &Trail, _: &Plan) -> Opinion {
        let (Some(first), Some(last)) = (found.provisioned, found.last) else {
            return Opinion::unproven("no probe snapshot at the start or at the end");
        };
        match last.config.version {
            None => Opinion::broken("no readable configuration is left", [last.seq]),
            Some(version) if version != self.version => {
                let text = format!("configuration has version {version}, {} expected", self.version);
                Opinion::broken(text, [last.seq])
            }
            Some(_) if last.config.settings.is_none() || last.config.settings != first.config.settings => {
                Opinion::broken("the user's settings are not those of the start", [last.seq, first.seq])
            }
            Some(_) => Opinion::holds([first.seq, last.seq]),
        }
    }

    fn claim(&self) -> String {
        format!("configuration of version {} with all settings", self.version)
    }
}
