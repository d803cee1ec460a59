//! Oracle 4: the application never starts on a configuration it was not made for; configuration is never lost by an
//! update or a roll-back.
//!
//! Evidence: the configuration as found by the probe when the application opens it (`ApplicationReady`), against the
//! schema version that the examiner read from the image in bank A (`ImageStarted.wants_config`); and the digest of the
//! user's settings, comparable between schema versions, in every reading of the banks: the same from the first reading
//! to the last.
//!
//! Exempt: a node whose configuration partition the harness's own probe wrote.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::fact::ConfigState;
use hil_model::{BankArea, Capability, Digest, Event, Fact, Finding, NodeId};
use std::collections::BTreeMap;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-4",
    invariant: "the application never starts on a configuration it was not made for, and configuration is never lost",
    needs: &[Capability::ProbeRead],
    make: |_: &Context| Box::new(Configuration::default()),
};

#[derive(Debug, Default)]
struct State {
    /// The settings as first found.
    settings: Option<Digest>,
    /// Schema version that the image in bank A wants.
    wants: Option<u16>,
    /// The harness wrote into the partition.
    meddled: bool,
    /// A loss was reported; once is enough.
    reported: bool,
}

#[derive(Default)]
struct Configuration {
    nodes: BTreeMap<NodeId, State>,
    tally: Tally,
}

impl State {
    /// What is wrong with the settings as found now.
    fn settings_now(&mut self, found: ConfigState) -> Option<&'static str> {
        if self.meddled || self.reported {
            return None;
        }
        let wrong = match (self.settings, found.settings) {
            (_, None) => Some("there is no readable configuration any more"),
            (None, Some(first)) => {
                self.settings = Some(first);
                None
            }
            (Some(first), Some(now)) => (first != now).then_some("the user's settings are not those of the beginning"),
        };
        self.reported = wrong.is_some();
        wrong
    }
}

impl Rule for Configuration {
    fn on_event(&mut self, event: &Event) {
        let Some(node) = event.about.node() else { return };
        let state = self.nodes.entry(node).or_default();
        let found = match &event.fact {
            Fact::ImageStarted { wants_config, .. } => {
                state.wants = *wants_config;
                return;
            }
            Fact::ProbeWrote { area: BankArea::Config, .. } => {
                state.meddled = true;
                return;
            }
            Fact::ApplicationReady { config, wants_config } => {
                self.tally.check();
                let wants = state.wants.unwrap_or(*wants_config);
                if !state.meddled && config.version != Some(wants) {
                    let has = config.version.map_or("none".to_owned(), |v| format!("version {v}"));
                    let text = format!("{node}: the application serves on configuration {has}, made for {wants}");
                    self.tally.broken(event.seq, text);
                }
                *config
            }
            Fact::Banks { config, .. } => *config,
            _ => return,
        };
        if let Some(wrong) = state.settings_now(found) {
            self.tally.broken(event.seq, format!("{node}: {wrong}"));
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        if self.tally.checks() == 0 {
            self.tally.unproven("no application was seen opening its configuration".to_owned());
        }
        let holds =
            format!("{} on the right configuration, no setting lost", many(self.tally.checks(), "application start"));
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::BankArea;
    use hil_model::record::Conclusion::{Broken, Holds, Unproven};
    use rstest::rstest;

    #[rstest]
    #[case::made_for_it(Some(2), Some(1), Holds)]
    #[case::older(Some(1), Some(1), Broken)]
    #[case::newer(Some(3), Some(1), Broken)]
    #[case::none_left(None, None, Broken)]
    #[case::settings_gone(Some(2), None, Broken)]
    #[case::other_settings(Some(2), Some(9), Broken)]
    fn the_application_starts_on_its_own_configuration(
        #[case] version: Option<u16>,
        #[case] settings: Option<u8>,
        #[case] want: hil_model::record::Conclusion,
    ) {
        let mut script = Script::healthy(1);
        script.at(60).reset(1, hil_model::fact::ResetCause::Software).image(1, OLD, false).ready(1, version, settings);
        assert_eq!(script.finding("oracle-4").conclusion, want);
    }

    #[test]
    fn settings_lost_while_nobody_looks_are_found_at_the_end() {
        let mut script = Script::healthy(1);
        script.final_settings(1, Some(9));
        assert_eq!(script.finding("oracle-4").conclusion, Broken);
    }

    #[test]
    fn a_configuration_that_the_harness_wrote_is_exempt() {
        let mut script = Script::healthy(1);
        script.at(60).probe_wrote(1, BankArea::Config).ready(1, Some(1), None);
        assert_eq!(script.finding("oracle-4").conclusion, Holds);
    }

    #[test]
    fn without_a_witness_nothing_is_said() {
        assert_eq!(Script::blind(1).finding("oracle-4").conclusion, Unproven);
    }
}
