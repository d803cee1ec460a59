//! One rack under trial: drives it, keeps what it said, and holds it to the rules of `observe` at every step.

use super::{Broken, ConformanceKit, Maker};
use crate::{Rack, RackError};
use hil_model::{Action, Event, Fact, FaultId, NodeId, Protocol, Span, Time};
use std::collections::BTreeSet;

/// Observations in a row that bring neither an event nor time.
const MAX_STALLS: u32 = 1_000;

/// A broken rule in words.
pub fn broken<T>(text: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Rule(text.into()))
}

/// The kind of an error without its texts.
const fn kind(error: &RackError) -> &'static str {
    match error {
        RackError::Broken { .. } => "Broken",
        RackError::Refused { .. } => "Refused",
        RackError::Timeout { .. } => "Timeout",
    }
}

/// A rack under trial. Released when it goes, as the engine would.
pub struct Bench<'k> {
    /// The rack.
    pub rack: Box<dyn Rack>,
    /// Images and patience.
    pub kit: &'k ConformanceKit,
    /// Rack time as last told.
    pub now: Time,
    /// Every event so far.
    pub seen: Vec<Event>,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        self.rack.release();
    }
}

impl<'k> Bench<'k> {
    /// A fresh rack, not prepared.
    pub fn fresh(kit: &'k ConformanceKit, make: &mut Maker<'_>) -> Self {
        Self { rack: make(), kit, now: Time::ZERO, seen: Vec::new() }
    }

    /// A rack that has been prepared.
    pub fn prepared(kit: &'k ConformanceKit, make: &mut Maker<'_>) -> Result<Self, Broken> {
        let mut bench = Self::fresh(kit, make);
        bench.prepare()?;
        Ok(bench)
    }

    /// A rack whose nodes all run.
    pub fn up(kit: &'k ConformanceKit, make: &mut Maker<'_>) -> Result<Self, Broken> {
        let mut bench = Self::prepared(kit, make)?;
        bench.wait_for_boots()?;
        Ok(bench)
    }

    /// Prepares the rack, at time zero again.
    pub fn prepare(&mut self) -> Result<(), Broken> {
        let failed = |error| Broken::Failed { doing: "prepare".to_owned(), error };
        self.rack.prepare(&self.kit.provision).map_err(failed)?;
        self.now = Time::ZERO;
        self.seen.clear();
        Ok(())
    }

    /// Waits until every node has started an image.
    pub fn wait_for_boots(&mut self) -> Result<(), Broken> {
        let nodes: BTreeSet<NodeId> = self.kit.provision.fleet.ids().collect();
        let limit = self.kit.patience.boot;
        for node in nodes {
            self.wait(0, &format!("start of an image on {node}"), limit, |e| {
                e.about.node() == Some(node) && matches!(e.fact, Fact::ImageStarted { .. })
            })?;
        }
        Ok(())
    }

    /// A node on Bluetooth Mesh.
    pub fn mesh_node(&self) -> Result<NodeId, Broken> {
        let mesh = self.kit.provision.fleet.nodes.iter().find(|n| n.protocol == Protocol::Mesh);
        mesh.map_or_else(|| broken("the kit's fleet has no node on Bluetooth Mesh"), |n| Ok(n.id))
    }

    /// Does a thing that has to work; returns the place from which its events are kept.
    pub fn act(&mut self, action: &Action, fault: Option<FaultId>) -> Result<usize, Broken> {
        let failed = |error| Broken::Failed { doing: action.describe(), error };
        self.rack.apply(action, fault).map_err(failed)?;
        Ok(self.seen.len())
    }

    /// Does a thing that has to be refused.
    pub fn refused(&mut self, action: &Action, why: &str) -> Result<(), Broken> {
        match self.rack.apply(action, None) {
            Err(RackError::Refused { .. }) => Ok(()),
            Err(other) => broken(format!("{}: {why}; that is no {} but Refused", action.describe(), kind(&other))),
            Ok(()) => broken(format!("{}: {why}, and it was not refused", action.describe())),
        }
    }

    /// One observation, held to the rules of the port; returns the place of its first event.
    pub fn observe(&mut self, until: Time) -> Result<usize, Broken> {
        let failed = |error| Broken::Failed { doing: format!("observe until {until}"), error };
        let seen = self.rack.observe(until).map_err(failed)?;
        if seen.now < self.now {
            return broken(format!("time went back from {} to {}", self.now, seen.now));
        }
        if seen.now > until.max(self.now) {
            return broken(format!("observe until {until} went on to {}", seen.now));
        }
        if seen.events.is_empty() && seen.now < until {
            return broken(format!("nothing happened, and observe until {until} came back at {}", seen.now));
        }
        let first = self.seen.len();
        let mut last = self.seen.last().map_or(Time::ZERO, |e| e.at);
        for event in &seen.events {
            if event.at < last {
                return broken(format!("{:?} at {} comes after an event at {last}", event.fact, event.at));
            }
            if event.at > seen.now {
                return broken(format!("{:?} at {} is told at {}, before it happened", event.fact, event.at, seen.now));
            }
            last = event.at;
        }
        self.now = seen.now;
        self.seen.extend(seen.events);
        Ok(first)
    }

    /// Lets `span` pass.
    pub fn pass(&mut self, span: Span) -> Result<(), Broken> {
        let end = self.now + span;
        let mut stalls = 0;
        while self.now < end {
            let (before, events) = (self.now, self.seen.len());
            self.observe(end)?;
            stalls = if self.now > before || self.seen.len() > events { 0 } else { stalls + 1 };
            if stalls > MAX_STALLS {
                return broken(format!("time stands still at {before}"));
            }
        }
        Ok(())
    }

    /// Waits for an event, from place `from` on, at most `limit` from now.
    pub fn wait(
        &mut self,
        from: usize,
        what: &str,
        limit: Span,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, Broken> {
        let end = self.now + limit;
        let mut next = from;
        let mut stalls = 0;
        loop {
            if let Some(found) = self.seen.get(next..).unwrap_or_default().iter().find(|e| wanted(e)) {
                return Ok(found.clone());
            }
            next = self.seen.len();
            if self.now >= end {
                return Err(Broken::NeverCame { what: what.to_owned(), limit });
            }
            let before = self.now;
            self.observe(end)?;
            stalls = if self.now > before || self.seen.len() > next { 0 } else { stalls + 1 };
            if stalls > MAX_STALLS {
                return broken(format!("time stands still at {before}"));
            }
        }
    }

    /// Waits for an event about a node.
    pub fn wait_of(
        &mut self,
        from: usize,
        node: NodeId,
        what: &str,
        limit: Span,
        wanted: impl Fn(&Fact) -> bool,
    ) -> Result<Event, Broken> {
        self.wait(from, &format!("{what} of {node}"), limit, |e| e.about.node() == Some(node) && wanted(&e.fact))
    }

    /// Starts the kit's campaign over the whole fleet.
    pub fn start_campaign(&mut self) -> Result<usize, Broken> {
        let kit = self.kit;
        let targets = kit.provision.fleet.ids().collect();
        self.act(&Action::StartCampaign { policy: kit.policy.clone(), package: kit.package.clone(), targets }, None)
    }

    /// Waits until the campaign has completed.
    pub fn wait_for_campaign(&mut self, from: usize) -> Result<(), Broken> {
        let limit = self.kit.patience.campaign;
        let ended = |e: &Event| matches!(e.fact, Fact::CampaignEnded { .. } | Fact::CampaignPaused { .. });
        let end = self.wait(from, "end of the campaign", limit, ended)?;
        match end.fact {
            Fact::CampaignEnded { completed: true } => Ok(()),
            other => broken(format!("the kit's campaign does not complete on this rack: {other:?}")),
        }
    }
}
