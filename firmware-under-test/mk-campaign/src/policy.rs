//! What an operator decides about a campaign before it starts: stages, soak, threshold, throttle, windows, health.
//!
//! A policy is data. It is checked once, when the campaign is created, and journalled; nothing changes it afterwards.

use crate::codec;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::time::Duration;
use serde::{Deserialize, Serialize};

/// How many nodes a stage takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StageSize {
    /// So many nodes.
    Count(u16),
    /// So many per cent of the fleet, rounded up.
    Percent(u8),
    /// All that are left.
    Rest,
}

/// One stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StagePolicy {
    /// How many nodes.
    pub size: StageSize,
    /// Time between the end of the stage's delivery and the next stage, under health checks.
    #[serde(with = "codec::duration")]
    pub soak: Duration,
}

/// A local-time interval of the day in which firmware may be sent; `to` before `from` runs over midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Minutes after local midnight.
    pub from_minute: u16,
    /// Minutes after local midnight, not included.
    pub to_minute: u16,
}

/// What soak health checks demand of updated nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// Interval at which nodes send application reports and heartbeats.
    #[serde(with = "codec::duration")]
    pub report_interval: Duration,
    /// Reports that may be missing in a row before a node counts as unhealthy.
    pub missing_reports: u8,
    /// Most hops to the gateway.
    pub max_hops: u8,
    /// Weakest signal, in dBm.
    pub min_rssi_dbm: i8,
    /// Share of the stage's updated nodes that must be healthy, in permille.
    pub healthy_permille: u16,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        HealthPolicy {
            report_interval: Duration::from_secs(60),
            missing_reports: 5,
            max_hops: 8,
            min_rssi_dbm: -92,
            healthy_permille: 950,
        }
    }
}

/// Waits and repetitions of the machine itself. An operator has no reason to touch them; a rack with fast pacing and a
/// short grace period has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// Between two looks at a running distribution.
    #[serde(with = "codec::duration")]
    pub poll_interval: Duration,
    /// Between two rounds of report requests, each of at most [`Timing::requests_per_round`] nodes per gateway.
    #[serde(with = "codec::duration")]
    pub round_interval: Duration,
    /// Most report requests per round and gateway, so that asking a large stage does not flood the channel.
    pub requests_per_round: u8,
    /// How long a node has to answer a report request before it is asked again.
    #[serde(with = "codec::duration")]
    pub answer_wait: Duration,
    /// How often a silent node is asked before it counts as silent.
    pub ask_tries: u8,
    /// On top of the grace period, from the end of a distribution until its silent nodes are given up: install, boot,
    /// roll-back and the report must fit.
    #[serde(with = "codec::duration")]
    pub settle_margin: Duration,
    /// How long a request to a gateway waits for its answer before it is repeated.
    #[serde(with = "codec::duration")]
    pub gateway_wait: Duration,
    /// How long a gateway may stay silent before the campaign pauses.
    #[serde(with = "codec::duration")]
    pub gateway_patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            poll_interval: Duration::from_secs(10),
            round_interval: Duration::from_secs(5),
            requests_per_round: 50,
            answer_wait: Duration::from_secs(15),
            ask_tries: 3,
            settle_margin: Duration::from_secs(90),
            gateway_wait: Duration::from_secs(5),
            gateway_patience: Duration::from_secs(900),
        }
    }
}

/// Parameters of Distribution Start that the campaign leaves to the installation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RadioPolicy {
    /// Time to live of the update's messages; 0xFF for the gateway's default.
    pub ttl: u8,
    /// Timeout Base: nodes and gateway wait 10 s times (base + 1) and (base + 2) for each other.
    pub timeout_base: u16,
    /// Index of the application key.
    pub app_key_index: u16,
    /// Most receivers of one distribution.
    pub group_max: u16,
}

impl Default for RadioPolicy {
    fn default() -> Self {
        RadioPolicy { ttl: 5, timeout_base: 10, app_key_index: 0, group_max: 100 }
    }
}

/// A campaign's policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Stages in order. Nodes that no stage takes are not addressed.
    pub stages: Vec<StagePolicy>,
    /// Confirmed nodes over targeted nodes that a stage must reach, in permille.
    pub success_permille: u16,
    /// Share of the channel that firmware may use, in permille.
    pub throttle_permille: u16,
    /// Time a trial image has to get its first-boot confirmation acknowledged.
    #[serde(with = "codec::duration")]
    pub grace: Duration,
    /// When firmware may be sent; always when empty.
    pub windows: Vec<Window>,
    /// Local time of day at instant zero of the host's clock, in minutes after midnight.
    pub start_minute: u16,
    /// Health checks.
    pub health: HealthPolicy,
    /// Gateways that distribute at once; 1 or 2.
    pub concurrency: u8,
    /// How often a node whose transfer failed is given another distribution within its stage.
    pub retries: u8,
    /// Parameters of the distributions.
    pub radio: RadioPolicy,
    /// Waits and repetitions.
    pub timing: Timing,
}

impl Default for Policy {
    /// The product's: 20 nodes and 24 h, 100 and 12 h, 250, the rest; 95 %; 40 % of the channel; 120 s.
    fn default() -> Self {
        let stage = |size, hours| StagePolicy { size, soak: Duration::from_hours(hours) };
        Policy {
            stages: vec![
                stage(StageSize::Count(20), 24),
                stage(StageSize::Count(100), 12),
                stage(StageSize::Count(250), 0),
                stage(StageSize::Rest, 0),
            ],
            success_permille: 950,
            throttle_permille: 400,
            grace: Duration::from_secs(120),
            windows: Vec::new(),
            start_minute: 0,
            health: HealthPolicy::default(),
            concurrency: 1,
            retries: 1,
            radio: RadioPolicy::default(),
            timing: Timing::default(),
        }
    }
}

/// A policy that cannot be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// There is no stage, or more than 255.
    #[error("{0} stages, expected 1 to 255")]
    StageCount(usize),
    /// A stage takes no node, or more than 100 per cent.
    #[error("stage {stage}: size {size:?} is out of range")]
    StageSize {
        /// Which, from 0.
        stage: u8,
        /// Its size.
        size: StageSize,
    },
    /// A stage follows one that takes the rest.
    #[error("stage {stage} follows one that takes all nodes that are left")]
    AfterRest {
        /// Which, from 0.
        stage: u8,
    },
    /// A share is outside its range.
    #[error("{field}: {value} permille is out of range")]
    Permille {
        /// Which share.
        field: &'static str,
        /// Its value.
        value: u16,
    },
    /// A minute of the day is outside 0 to 1439 (1440 at the end of a window), or a window is empty.
    #[error("window from minute {from_minute} to minute {to_minute} is empty or not within a day")]
    Window {
        /// Start.
        from_minute: u16,
        /// End.
        to_minute: u16,
    },
    /// The local time at the start is outside 0 to 1439.
    #[error("start minute {0} is not within a day")]
    StartMinute(u16),
    /// Concurrency is not 1 or 2.
    #[error("concurrency {0}, expected 1 or 2")]
    Concurrency(u8),
    /// A wait of zero, or a count of zero, would make the machine spin or do nothing.
    #[error("{0} may not be zero")]
    Zero(&'static str),
    /// A time to live in the prohibited range 0x80 to 0xFE, or an application key index over 12 bits.
    #[error("{field}: {value:#x} is prohibited")]
    Prohibited {
        /// Which parameter.
        field: &'static str,
        /// Its value.
        value: u16,
    },
}

/// Minutes of a day.
pub(crate) const DAY_MINUTES: u16 = 24 * 60;

impl Policy {
    /// Is this policy one that can be carried out?
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.check_stages()?;
        for (field, value, least) in [
            ("success", self.success_permille, 0),
            ("throttle", self.throttle_permille, 1),
            ("healthy", self.health.healthy_permille, 0),
        ] {
            if !(least..=1000).contains(&value) {
                return Err(PolicyError::Permille { field, value });
            }
        }
        for &Window { from_minute, to_minute } in &self.windows {
            if from_minute >= DAY_MINUTES || to_minute > DAY_MINUTES || from_minute == to_minute {
                return Err(PolicyError::Window { from_minute, to_minute });
            }
        }
        if self.start_minute >= DAY_MINUTES {
            return Err(PolicyError::StartMinute(self.start_minute));
        }
        if !(1..=2).contains(&self.concurrency) {
            return Err(PolicyError::Concurrency(self.concurrency));
        }
        self.check_radio_and_timing()
    }

    fn check_stages(&self) -> Result<(), PolicyError> {
        if self.stages.is_empty() || self.stages.len() > 255 {
            return Err(PolicyError::StageCount(self.stages.len()));
        }
        let mut rest_taken = false;
        for (stage, policy) in (0u8..).zip(&self.stages) {
            if rest_taken {
                return Err(PolicyError::AfterRest { stage });
            }
            match policy.size {
                StageSize::Count(0) | StageSize::Percent(0 | 101..) => {
                    return Err(PolicyError::StageSize { stage, size: policy.size });
                }
                StageSize::Count(_) | StageSize::Percent(_) => {}
                StageSize::Rest => rest_taken = true,
            }
        }
        Ok(())
    }

    fn check_radio_and_timing(&self) -> Result<(), PolicyError> {
        let RadioPolicy { ttl, app_key_index, group_max, timeout_base: _ } = self.radio;
        if (0x80..=0xFE).contains(&ttl) {
            return Err(PolicyError::Prohibited { field: "ttl", value: u16::from(ttl) });
        }
        if app_key_index > 0x0FFF {
            return Err(PolicyError::Prohibited { field: "AppKey index", value: app_key_index });
        }
        let t = &self.timing;
        let zero = [
            ("group size", group_max == 0),
            ("poll interval", t.poll_interval.is_zero()),
            ("round interval", t.round_interval.is_zero()),
            ("requests per round", t.requests_per_round == 0),
            ("answer wait", t.answer_wait.is_zero()),
            ("ask tries", t.ask_tries == 0),
            ("gateway wait", t.gateway_wait.is_zero()),
            ("gateway patience", t.gateway_patience.is_zero()),
            ("grace period", self.grace.is_zero()),
            ("report interval", self.health.report_interval.is_zero()),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((field, _)) => Err(PolicyError::Zero(field)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn with(change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = Policy::default();
        change(&mut policy);
        policy
    }

    fn sized(sizes: &[StageSize]) -> Policy {
        let stage = |&size| StagePolicy { size, soak: Duration::from_secs(0) };
        with(|p| p.stages = sizes.iter().map(stage).collect())
    }

    fn window(from_minute: u16, to_minute: u16) -> Policy {
        with(|p| p.windows = vec![Window { from_minute, to_minute }])
    }

    #[rstest]
    #[case::product(Policy::default())]
    #[case::whole_fleet(sized(&[StageSize::Percent(100)]))]
    #[case::full_throttle(with(|p| p.throttle_permille = 1000))]
    #[case::no_threshold(with(|p| p.success_permille = 0))]
    #[case::window_to_midnight(window(0, 1440))]
    #[case::two_at_once(with(|p| p.concurrency = 2))]
    #[case::default_ttl(with(|p| p.radio.ttl = 0xFF))]
    fn a_policy_is_accepted(#[case] policy: Policy) {
        assert_eq!(policy.check(), Ok(()));
    }

    #[rstest]
    #[case(sized(&[]), PolicyError::StageCount(0))]
    #[case(sized(&[StageSize::Rest; 256]), PolicyError::StageCount(256))]
    #[case(sized(&[StageSize::Count(0)]), PolicyError::StageSize { stage: 0, size: StageSize::Count(0) })]
    #[case(sized(&[StageSize::Percent(101)]), PolicyError::StageSize { stage: 0, size: StageSize::Percent(101) })]
    #[case(sized(&[StageSize::Rest, StageSize::Count(1)]), PolicyError::AfterRest { stage: 1 })]
    #[case(with(|p| p.success_permille = 1001), PolicyError::Permille { field: "success", value: 1001 })]
    #[case(with(|p| p.throttle_permille = 0), PolicyError::Permille { field: "throttle", value: 0 })]
    #[case(with(|p| p.throttle_permille = 1001), PolicyError::Permille { field: "throttle", value: 1001 })]
    #[case(with(|p| p.health.healthy_permille = 1001), PolicyError::Permille { field: "healthy", value: 1001 })]
    #[case(window(60, 60), PolicyError::Window { from_minute: 60, to_minute: 60 })]
    #[case(window(1440, 60), PolicyError::Window { from_minute: 1440, to_minute: 60 })]
    #[case(window(0, 1441), PolicyError::Window { from_minute: 0, to_minute: 1441 })]
    #[case(with(|p| p.start_minute = 1440), PolicyError::StartMinute(1440))]
    #[case(with(|p| p.concurrency = 0), PolicyError::Concurrency(0))]
    #[case(with(|p| p.concurrency = 3), PolicyError::Concurrency(3))]
    #[case(with(|p| p.radio.ttl = 0x80), PolicyError::Prohibited { field: "ttl", value: 0x80 })]
    #[case(with(|p| p.radio.app_key_index = 0x1000), PolicyError::Prohibited { field: "AppKey index", value: 0x1000 })]
    #[case(with(|p| p.timing.ask_tries = 0), PolicyError::Zero("ask tries"))]
    fn a_policy_is_refused(#[case] policy: Policy, #[case] error: PolicyError) {
        assert_eq!(policy.check(), Err(error));
    }
}
