//! From the opening of a stage to its soak: asking nodes what they run, distributions, and deciding what became of nodes.
//!
//! A roll-back by the operator is delivered by the same code, with the old package.

use super::evidence::{Reading, is_updated, read};
use super::state::{Distribution, NodeStep, Position, Step};
use super::{Campaign, context};
use crate::alert::AlertKind;
use crate::initiator::{Event, Initiator, later};
use crate::journal::{End, PauseReason, Record};
use crate::outcome::Outcome;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::Reason;
use mk_wire::distribution::RetrievedPhase;
use mk_wire::north::Order;
use mk_wire::time::Instant;
use mk_wire::vendor::BootOutcome;

/// First group address for distributions; lighting groups stay below. 4096 addresses follow.
const FIRST_GROUP: u16 = 0xD000;
const GROUPS: u16 = 0x1000;

/// What is to be done about a node whose distribution ended.
enum Ruling {
    Wait,
    Retry,
    Decide(Outcome),
}

impl Campaign {
    /// Nodes whose answer the survey waits for: those of the stage, or of the roll-back.
    fn surveyed_nodes(&self) -> Vec<usize> {
        match self.state.position {
            Position::Stage { stage, .. } => self.members(stage),
            Position::Reverse { .. } => {
                (0..self.state.nodes.len()).filter(|&i| self.step_of(i) == NodeStep::Untouched).collect()
            }
            Position::Ready | Position::Between { .. } | Position::Stopping(_) | Position::Ended(_) => Vec::new(),
        }
    }

    pub(super) fn members(&self, stage: u8) -> Vec<usize> {
        self.state.stages.get(usize::from(stage)).into_iter().flatten().map(|&i| usize::from(i)).collect()
    }

    fn step_of(&self, index: usize) -> NodeStep {
        self.state.nodes.get(index).map_or(NodeStep::Decided, |node| node.step)
    }

    /// Asks the surveyed nodes for reports; done when each has answered or stayed silent often enough.
    pub(super) fn survey(&mut self, now: Instant) -> bool {
        let since = self.state.survey_since;
        let waiting: Vec<usize> = self.surveyed_nodes().into_iter().filter(|&i| !self.heard_since(i, since)).collect();
        if waiting.iter().all(|&i| self.asked_in_vain(i, now)) {
            self.forget_asking();
            self.commit(Record::Surveyed { at: now });
            return true;
        }
        let tries = self.state.setup.policy.timing.ask_tries;
        self.ask(now, waiting.into_iter(), tries);
        false
    }

    fn heard_since(&self, index: usize, since: Instant) -> bool {
        self.live.get(index).and_then(|live| live.report).is_some_and(|(at, _)| at >= since)
    }

    /// Was the node asked as often as is reasonable, and given time to answer the last time?
    fn asked_in_vain(&self, index: usize, now: Instant) -> bool {
        let timing = &self.state.setup.policy.timing;
        self.live.get(index).is_none_or(|live| {
            live.asked >= timing.ask_tries && live.asked_at.is_some_and(|at| later(at, timing.answer_wait) <= now)
        })
    }

    /// Asks those of `nodes` that may be asked now for a report: not more than `tries` times, not before they had time to
    /// answer, not more than a round's worth per gateway.
    pub(super) fn ask(&mut self, now: Instant, nodes: impl Iterator<Item = usize>, tries: u8) {
        if self.round_at.is_some_and(|at| at > now) {
            return;
        }
        let timing = self.state.setup.policy.timing;
        let mut asked: Vec<(Addr, u8)> = Vec::new();
        for index in nodes {
            let (Some(live), Some(info)) = (self.live.get_mut(index), self.state.fleet.node(index)) else { continue };
            if live.asked >= tries || live.asked_at.is_some_and(|at| later(at, timing.answer_wait) > now) {
                continue;
            }
            let count = match asked.iter_mut().find(|(gateway, _)| *gateway == info.gateway) {
                Some((_, count)) => count,
                None => {
                    asked.push((info.gateway, 0));
                    let Some((_, count)) = asked.last_mut() else { continue };
                    count
                }
            };
            if *count >= timing.requests_per_round {
                continue;
            }
            *count += 1;
            live.asked += 1;
            live.asked_at = Some(now);
            self.orders.push_back((info.gateway, Order::RequestReport { node: info.addr }));
        }
        if !asked.is_empty() {
            self.round_at = Some(later(now, timing.round_interval));
        }
    }

    /// Starts counting requests afresh.
    fn forget_asking(&mut self) {
        for live in &mut self.live {
            live.asked = 0;
            live.asked_at = None;
        }
    }

    /// One look at a stage in delivery. Returns whether anything changed.
    pub(super) fn deliver(&mut self, now: Instant, stage: u8) -> bool {
        let mut changed = self.settle(now);
        if self.state.pause.is_some() {
            return changed;
        }
        if self.pause_if_hopeless(now, stage) || self.pause_if_withdrawn(now, stage) {
            return true;
        }
        changed |= self.open_distributions(now, &self.members(stage));
        if !self.is_delivered(now, &self.members(stage)) {
            return changed;
        }
        if self.is_met(stage) || self.state.is_overridden(stage) {
            let soak = self.soak_of(stage);
            let (confirmed, targeted) = (self.state.confirmed(stage), self.state.targeted(stage));
            self.watch_since = now;
            self.commit(Record::SoakStarted { stage, at: now, until: later(now, soak), confirmed, targeted });
        } else {
            self.pause(now, stage, PauseReason::BelowThreshold);
        }
        true
    }

    /// One look at a roll-back by the operator.
    pub(super) fn reverse(&mut self, now: Instant, surveyed: bool) -> bool {
        if !surveyed {
            return self.state.pause.is_none() && self.survey(now);
        }
        let mut changed = self.settle(now);
        if self.state.pause.is_some() {
            return changed;
        }
        let nodes: Vec<usize> = (0..self.state.nodes.len()).collect();
        changed |= self.open_distributions(now, &nodes);
        if self.is_delivered(now, &nodes) {
            let left = self.state.nodes.iter().filter(|node| is_updated(node.outcome)).count();
            // A fleet has fewer nodes than a u16 counts.
            if left > 0 {
                let reason = self.why_not_back();
                self.alert(now, AlertKind::RollBackIncomplete { nodes: left as u16, reason });
            }
            self.end(now, End::RolledBack);
            changed = true;
        }
        changed
    }

    /// What a node that still runs the new image said of the old one; the first that said anything.
    fn why_not_back(&self) -> Reason {
        let old = self.state.wanted_version();
        let on_new = self.state.nodes.iter().zip(&self.live).filter(|(node, _)| is_updated(node.outcome));
        for (_, report) in on_new.filter_map(|(_, live)| live.report) {
            if let Reading::Verdict(Outcome::Rejected(reason) | Outcome::RolledBack(reason)) = read(&report, old)
                && reason != Reason::None
            {
                return reason;
            }
        }
        Reason::None
    }

    /// One look at a campaign that the operator stopped.
    pub(super) fn stopping(&mut self, now: Instant, end: End) -> bool {
        for machine in &mut self.machines {
            machine.cancel(now);
        }
        if self.state.running().next().is_some() {
            return false;
        }
        match end {
            End::Completed | End::Aborted => self.end(now, end),
            End::RolledBack => {
                let nodes = (self.state.fleet.nodes().iter().zip(&self.state.nodes))
                    .filter(|(_, node)| node.attempts > 0 || is_updated(node.outcome))
                    .map(|(info, _)| info.addr)
                    .collect();
                self.forget_asking();
                self.commit(Record::RollBackStarted { at: now, nodes });
                self.tell_gateways();
            }
        }
        true
    }

    pub(super) fn end(&mut self, now: Instant, end: End) {
        self.commit(Record::Ended { at: now, end });
        self.alert(now, AlertKind::Ended(end));
    }

    /// Takes note of what distributions tell. Returns whether anything changed.
    pub(super) fn hear_machines(&mut self, now: Instant) -> bool {
        let mut events = Vec::new();
        for machine in &mut self.machines {
            while let Some(event) = machine.poll_event() {
                events.push((machine.gateway(), event));
            }
        }
        let changed = !events.is_empty();
        for (gateway, event) in events {
            match event {
                Event::Ended { number, end, receivers } => {
                    self.machines.retain(|machine| machine.gateway() != gateway);
                    for index in self.state.distributions.iter().filter(|d| d.number == number).flat_map(|d| &d.nodes) {
                        if let Some(live) = self.live.get_mut(*index) {
                            // The node has time to boot before it is asked.
                            (live.asked, live.asked_at) = (0, Some(now));
                        }
                    }
                    self.commit(Record::DistributionEnded { number, at: now, end, receivers });
                }
                Event::Silent => self.pause_running(now, PauseReason::GatewaySilent { gateway }),
                Event::Refused(status) => self.pause_running(now, PauseReason::GatewayRefused { gateway, status }),
            }
        }
        changed
    }

    /// Opens distributions while gateways and nodes are waiting and concurrency allows.
    fn open_distributions(&mut self, now: Instant, nodes: &[usize]) -> bool {
        let policy = &self.state.setup.policy;
        let (limit, group_max) = (usize::from(policy.concurrency), usize::from(policy.radio.group_max));
        let mut opened = false;
        while self.window_open == Some(true) && self.state.running().count() < limit {
            let next = self.state.fleet.gateways().iter().copied().find_map(|gateway| {
                let busy = self.state.running().any(|d| d.gateway == gateway);
                let group = self.waiting_at(gateway, nodes, group_max);
                (!busy && !group.is_empty()).then_some((gateway, group))
            });
            let Some((gateway, group)) = next else { break };
            self.open_distribution(now, gateway, &group);
            opened = true;
        }
        opened
    }

    /// The first of `nodes` that wait for a distribution at this gateway.
    fn waiting_at(&self, gateway: Addr, nodes: &[usize], most: usize) -> Vec<usize> {
        let served_here = |i: usize| self.state.fleet.node(i).is_some_and(|info| info.gateway == gateway);
        let waits = |&i: &usize| self.step_of(i) == NodeStep::Waiting && served_here(i);
        nodes.iter().copied().filter(waits).take(most).collect()
    }

    fn open_distribution(&mut self, now: Instant, gateway: Addr, members: &[usize]) {
        let number = self.state.opened;
        let group = self.group_of(number);
        let nodes: Vec<Addr> = members.iter().filter_map(|&i| self.state.fleet.node(i)).map(|info| info.addr).collect();
        // The gateway may have been restarted since it was told.
        self.tell_gateway(gateway);
        self.machines.push(Initiator::new(now, gateway, number, group, nodes.clone(), false));
        self.commit(Record::DistributionStarted { number, at: now, gateway, group, nodes });
    }

    /// A group address that neither another distribution of this campaign nor, but for chance, one of an earlier campaign
    /// has: a resumed campaign recognises its distribution by it.
    fn group_of(&self, number: u16) -> Addr {
        let mut hash = 0x811C_9DC5_u32;
        let package = self.state.wanted_package();
        for octet in self.state.started_at.as_ticks().to_le_bytes().iter().chain(&package.digest) {
            hash = (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193);
        }
        let base = (hash >> 16) as u16;
        Addr(FIRST_GROUP + base.wrapping_add(number) % GROUPS)
    }

    /// Makes the machine of a running distribution again after a restart.
    pub(super) fn adopt(&mut self, now: Instant) {
        let machines = self.state.running().map(|d| {
            let nodes = d.nodes.iter().filter_map(|&i| self.state.fleet.node(i)).map(|info| info.addr).collect();
            Initiator::new(now, d.gateway, d.number, d.group, nodes, true)
        });
        self.machines = machines.collect();
    }

    /// Decides about nodes whose distribution ended, as far as that can be decided. Returns whether anything changed.
    fn settle(&mut self, now: Instant) -> bool {
        let mut rulings = Vec::new();
        let mut curious = Vec::new();
        for distribution in &self.state.distributions {
            let Some(ended_at) = distribution.ended_at else { continue };
            for index in self.nodes_of(distribution) {
                match self.step_of(index) {
                    NodeStep::Settling => match self.rule_on(index, ended_at, now) {
                        Ruling::Wait => curious.push(index),
                        ruling => rulings.push((index, ruling)),
                    },
                    NodeStep::Decided if self.is_unverified(index, ended_at, now) => curious.push(index),
                    NodeStep::Untouched | NodeStep::Waiting | NodeStep::OnAir | NodeStep::Decided => {}
                }
            }
        }
        // The deadline of the distribution bounds the asking.
        self.ask(now, curious.into_iter(), u8::MAX);
        let changed = !rulings.is_empty();
        for (index, ruling) in rulings {
            match ruling {
                Ruling::Wait => {}
                Ruling::Decide(outcome) => self.decide(now, index, outcome),
                Ruling::Retry => {
                    if let Some(info) = self.state.fleet.node(index) {
                        self.commit(Record::Retry { node: info.addr });
                    }
                }
            }
        }
        changed
    }

    fn rule_on(&self, index: usize, ended_at: Instant, now: Instant) -> Ruling {
        let Some(node) = self.state.nodes.get(index) else { return Ruling::Wait };
        let reverse = self.state.is_reverse();
        let fail = |outcome| Ruling::Decide(if reverse { Outcome::Updated } else { outcome });
        let heard = self.heard_since(index, ended_at);
        let over = self.deadline(ended_at) <= now;
        if self.state.was_refused(index) {
            let report = self.live.get(index).and_then(|live| live.report);
            return match report.map(|(_, report)| read(&report, self.state.wanted_version())) {
                Some(Reading::Verdict(outcome)) => fail(outcome),
                // It refused, and its newest word is a refusal of something else: the metadata named another version
                // than the package, or could not be read at all. The reason is of this refusal all the same.
                Some(Reading::Other) if heard && report.is_some_and(|(_, r)| r.outcome == BootOutcome::Rejected) => {
                    fail(Outcome::Rejected(report.map_or(Reason::None, |(_, r)| r.reason)))
                }
                _ if heard || over || self.asked_in_vain(index, now) => fail(Outcome::Rejected(Reason::None)),
                _ => Ruling::Wait,
            };
        }
        let phase = node.result.phase;
        match phase {
            // It has the image and may be booting, on trial, or rolling back: its own word is worth waiting for.
            RetrievedPhase::VerificationSucceeded
            | RetrievedPhase::ApplyingUpdate
            | RetrievedPhase::ApplySuccess
            | RetrievedPhase::ApplyFailed => match (over, heard) {
                (false, _) => Ruling::Wait,
                (true, true) => fail(Outcome::Failed(phase)),
                (true, false) => fail(Outcome::Unreachable),
            },
            RetrievedPhase::Idle
            | RetrievedPhase::TransferError
            | RetrievedPhase::TransferActive
            | RetrievedPhase::VerifyingUpdate
            | RetrievedPhase::VerificationFailed
            | RetrievedPhase::TransferCanceled
            | RetrievedPhase::Unknown => match (heard, over) {
                (true, _) if node.attempts <= self.state.setup.policy.retries => Ruling::Retry,
                (true, _) => fail(Outcome::Failed(phase)),
                (false, true) => fail(Outcome::Unreachable),
                (false, false) => Ruling::Wait,
            },
        }
    }

    /// When the nodes of a distribution that ended then are given up.
    fn deadline(&self, ended_at: Instant) -> Instant {
        let policy = &self.state.setup.policy;
        later(later(ended_at, policy.grace), policy.timing.settle_margin)
    }

    /// A counted confirmation whose acknowledgement the node may have missed.
    fn is_unverified(&self, index: usize, ended_at: Instant, now: Instant) -> bool {
        is_updated(self.state.nodes.get(index).and_then(|node| node.outcome))
            && !self.state.is_reverse()
            && self.live.get(index).is_some_and(|live| !live.verified)
            && now < self.deadline(ended_at)
    }

    /// Nodes for which this was the latest distribution; the others are judged by a later one.
    fn nodes_of<'a>(&'a self, distribution: &'a Distribution) -> impl Iterator<Item = usize> + 'a {
        let latest = |i: &usize| self.state.nodes.get(*i).is_some_and(|node| node.distribution == distribution.number);
        distribution.nodes.iter().copied().filter(latest)
    }

    fn is_settled(&self, distribution: &Distribution, now: Instant) -> bool {
        distribution.ended_at.is_some_and(|ended_at| {
            self.nodes_of(distribution).all(|index| match self.step_of(index) {
                NodeStep::Decided => !self.is_unverified(index, ended_at, now),
                NodeStep::Waiting => true,
                NodeStep::OnAir | NodeStep::Untouched | NodeStep::Settling => false,
            })
        })
    }

    fn is_delivered(&self, now: Instant, nodes: &[usize]) -> bool {
        nodes.iter().all(|&i| self.step_of(i) == NodeStep::Decided)
            && self.state.distributions.iter().all(|d| self.is_settled(d, now))
    }

    /// Pauses when the stage cannot reach its threshold any more. A node counts against it once its distribution is
    /// settled: what that distribution began on other nodes is let finish, what others began is suspended.
    fn pause_if_hopeless(&mut self, now: Instant, stage: u8) -> bool {
        if self.state.is_overridden(stage) {
            return false;
        }
        let mut open = vec![false; self.state.nodes.len()];
        for distribution in self.state.distributions.iter().filter(|d| !self.is_settled(d, now)) {
            for index in self.nodes_of(distribution) {
                if let Some(open) = open.get_mut(index) {
                    *open = true;
                }
            }
        }
        let lost = (self.state.nodes.iter().zip(open))
            .filter(|(node, open)| node.stage == stage && !open && node.outcome.is_some_and(|o| !o.is_updated()))
            .count();
        let targeted = u32::from(self.state.targeted(stage));
        let best = targeted.saturating_sub(lost as u32);
        if self.parts.threshold.met(best, targeted, self.state.setup.policy.success_permille) {
            return false;
        }
        self.pause(now, stage, PauseReason::BelowThreshold);
        true
    }

    /// Pauses on behalf of whatever runs.
    fn pause_running(&mut self, now: Instant, reason: PauseReason) {
        let stage = self.stage_to_blame();
        self.pause(now, stage, reason);
    }

    /// Orders that every gateway of the fleet has to know before firmware is sent.
    pub(super) fn tell_gateways(&mut self) {
        for gateway in self.state.fleet.gateways().to_vec() {
            self.tell_gateway(gateway);
        }
    }

    fn tell_gateway(&mut self, gateway: Addr) {
        self.orders.push_back((gateway, Order::Throttle { permille: self.state.setup.policy.throttle_permille }));
        if let Some(open) = self.window_open {
            self.orders.push_back((gateway, Order::Window { open }));
        }
    }

    /// The next message of a distribution to its gateway.
    pub(super) fn poll_machines(&mut self) -> Option<(Addr, Order)> {
        let context = context(&self.state, &self.images);
        let now = self.now;
        self.machines.iter_mut().find_map(|machine| {
            let message = machine.poll(now, &context)?;
            Some((machine.gateway(), Order::Access(message)))
        })
    }

    /// The stage that runs; outside of stages, the last one that has nodes.
    pub(super) fn stage_to_blame(&self) -> u8 {
        match self.state.position {
            Position::Stage { stage, step: Step::Survey | Step::Deliver | Step::Soak { .. } } => stage,
            Position::Between { next } => next,
            Position::Ready | Position::Stopping(_) | Position::Reverse { .. } | Position::Ended(_) => {
                let last = self.state.stages.iter().rposition(|members| !members.is_empty());
                last.and_then(|stage| u8::try_from(stage).ok()).unwrap_or(0)
            }
        }
    }
}
