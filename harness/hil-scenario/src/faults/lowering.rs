//! What a fault file works with: it asks for rules, actions, capabilities and proof, and this collects them.

use crate::diagnostic::Trouble;
use crate::forge::{Forge, Made, Recipe};
use crate::nodes::{NodeSet, World};
use crate::proof::{Clause, Want};
use crate::scenario::Moment;
use fixture_images::examine::outline;
use hil_model::fact::UpdatePhase;
use hil_model::{
    Action, AirEffect, AirMatch, AirRule, BankArea, Capability, CapabilitySet, FaultId, Fleet, MessageKind, NodeId,
    Party, ProbeWrite, Profile, Protocol, Receivers, RuleId, Span, Time, TimedAction, Trigger, When,
};
use std::collections::BTreeSet;

/// What came of a fault.
#[derive(Debug, Default)]
pub struct Lowered {
    /// What is done, in order.
    pub actions: Vec<TimedAction>,
    /// What shows that it happened.
    pub clauses: Vec<Clause>,
    /// What the rack has to be able to do.
    pub needs: CapabilitySet,
}

/// The bench on which one fault is lowered.
#[derive(Debug)]
pub struct Lowering<'a> {
    /// The fault's place in the scenario.
    pub id: FaultId,
    /// The fleet.
    pub fleet: &'a Fleet,
    /// Nodes that the campaign addresses.
    pub targets: &'a [NodeId],
    /// Stages of the campaign.
    pub stages: usize,
    /// The rack's sizes and paces.
    pub profile: &'a Profile,
    /// Grace period of the run.
    pub grace: Span,
    /// What the package carries, all faults of the scenario included.
    pub candidate: &'a Made,
    /// The recipe behind it.
    pub recipe: &'a Recipe,
    /// For faults that need further images.
    pub forge: &'a Forge,
    /// The next free interposer rule of the run.
    pub next_rule: &'a mut u16,
    /// What came of it so far.
    pub out: Lowered,
}

/// Which messages a rule is for.
#[derive(Debug, Clone, Default)]
pub struct Aim {
    /// Sender.
    pub from: Option<Party>,
    /// Receivers; everybody when empty.
    pub to: Vec<NodeId>,
    /// BLOB block, or CoAP block for `coap-block`.
    pub block: Option<u32>,
    /// Chunks within the block.
    pub chunks: Option<(u16, u16)>,
}

/// Octets of a CoAP block (SZX 4), the product's default (radio model, section 10).
pub const COAP_BLOCK: u32 = 256;

/// Longest probe write in octets: a fault alters an image, it does not write another.
const LONGEST_PROBE_WRITE: usize = 4096;

impl Lowering<'_> {
    /// The nodes of a selection, at key `nodes`.
    ///
    /// # Errors
    /// As [`NodeSet::resolve`].
    pub fn select(&self, nodes: &NodeSet) -> Result<Vec<NodeId>, Trouble> {
        let nobody = BTreeSet::new();
        let world = World { fleet: self.fleet, targets: self.targets, touched: &nobody };
        nodes.resolve(&world).map_err(|why| Trouble::at("nodes", why))
    }

    /// Those of `nodes` that take their updates over `protocol`.
    #[must_use]
    pub fn on(&self, protocol: Protocol, nodes: &[NodeId]) -> Vec<NodeId> {
        let over = |node: &NodeId| self.fleet.get(*node).is_some_and(|spec| spec.protocol == protocol);
        nodes.iter().copied().filter(over).collect()
    }

    /// The rack must be able to do this.
    pub fn need(&mut self, capability: Capability) {
        self.out.needs.insert(capability);
    }

    /// Demands proof.
    pub fn prove(&mut self, clause: Clause) {
        self.out.clauses.push(clause);
    }

    /// Something is done.
    pub fn act(&mut self, when: When, action: Action) {
        self.out.needs.extend(action.needs());
        self.out.actions.push(TimedAction { when, action, fault: Some(self.id) });
    }

    /// An interposer rule, in place from `when` on.
    pub fn rule(&mut self, when: When, kind: MessageKind, aim: Aim, effect: AirEffect, limit: Option<u32>) {
        let receivers = if aim.to.is_empty() { Receivers::All } else { Receivers::Only(aim.to) };
        let matches = AirMatch { kind, from: aim.from, block: aim.block, chunks: aim.chunks, receivers };
        let id = RuleId(*self.next_rule);
        *self.next_rule = self.next_rule.saturating_add(1);
        self.act(when, Action::AddAirRule(AirRule { id, fault: self.id, matches, effect, limit }));
    }

    /// Rules on messages from each of `nodes`.
    pub fn rule_from(&mut self, when: When, kind: MessageKind, nodes: &[NodeId], effect: &AirEffect) {
        for &node in nodes {
            let aim = Aim { from: Some(Party::Node(node)), ..Aim::default() };
            self.rule(when, kind, aim, effect.clone(), None);
        }
    }

    /// A rule on messages to `nodes`.
    pub fn rule_to(&mut self, when: When, kind: MessageKind, nodes: &[NodeId], effect: AirEffect) {
        let aim = Aim { to: nodes.to_vec(), ..Aim::default() };
        self.rule(when, kind, aim, effect, None);
    }

    /// The time of a moment as written, at key `when`.
    ///
    /// # Errors
    /// As [`Horizon::when`].
    pub fn when(&self, moment: &Moment) -> Result<When, Trouble> {
        Horizon { fleet: self.fleet, blocks: self.blocks(), stages: self.stages }.when(moment)
    }

    /// BLOB blocks of the image.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        blocks(self.size(), self.profile)
    }

    /// CoAP blocks of the image.
    #[must_use]
    pub fn coap_blocks(&self) -> u32 {
        self.size().div_ceil(COAP_BLOCK)
    }

    fn size(&self) -> u32 {
        u32::try_from(self.candidate.bytes.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Alters the staged image of each node once the node has found it good and before it is installed, so that
    /// staging then holds `wanted` where it held the candidate.
    ///
    /// # Errors
    /// The two do not differ, or in more octets than a probe write takes.
    pub fn alter_staging(&mut self, nodes: &[NodeId], wanted: &[u8]) -> Result<(), Trouble> {
        let (offset, mask) = difference(&self.candidate.bytes, wanted)?;
        for &node in nodes {
            let trigger = Trigger::Phase(node, UpdatePhase::VerificationSucceeded);
            let write = ProbeWrite { area: BankArea::Staging, offset, mask: mask.clone() };
            self.act(When::After { trigger, nth: 1, delay: Span::ZERO }, Action::ProbeWrite(node, write));
        }
        self.prove(Clause::probe_wrote(self.id, Want::Each(nodes.to_vec())));
        Ok(())
    }

    /// The candidate's octets with the value of one TLV replaced.
    ///
    /// # Errors
    /// The candidate has no such TLV.
    pub fn with_tlv(&self, kind: u16, value: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut bytes = self.candidate.bytes.to_vec();
        let absent = || Trouble::here(format!("the candidate has no TLV {kind:#06x} to alter in staging"));
        let at = outline(&self.candidate.bytes).ok().and_then(|o| o.tlv(kind).map(|tlv| tlv.offset));
        let start = at.ok_or_else(absent)? + fixture_images::layout::TLV_HEAD;
        bytes.get_mut(start..start + value.len()).ok_or_else(absent)?.copy_from_slice(value);
        Ok(bytes)
    }
}

/// Offset and XOR mask that turn `old` into `new`. What lies behind the shorter one counts as erased flash.
fn difference(old: &[u8], new: &[u8]) -> Result<(u32, Vec<u8>), Trouble> {
    const ERASED: u8 = 0xFF;
    let len = old.len().max(new.len());
    let at = |bytes: &[u8], i: usize| bytes.get(i).copied().unwrap_or(ERASED);
    let differs = |i: &usize| at(old, *i) != at(new, *i);
    let nothing = || Trouble::here("this changes nothing in the staged image");
    let first = (0..len).find(differs).ok_or_else(nothing)?;
    let last = (0..len).rev().find(differs).ok_or_else(nothing)?;
    if last - first >= LONGEST_PROBE_WRITE {
        let message = format!(
            "differs from the staged image over {} octets; a probe alters at most {LONGEST_PROBE_WRITE}",
            last - first
        );
        return Err(Trouble::here(message));
    }
    let mask = (first..=last).map(|i| at(old, i) ^ at(new, i)).collect();
    Ok((u32::try_from(first).unwrap_or(u32::MAX), mask))
}

/// BLOB blocks of an image of `size` octets.
#[must_use]
pub fn blocks(size: u32, profile: &Profile) -> u32 {
    // A block is at most 4 GiB by its own field's width; a larger exponent means one block.
    size.div_ceil(1_u32.checked_shl(profile.block_size_log.into()).unwrap_or(u32::MAX))
}

/// What can happen in a run at all, so that nothing waits for what cannot.
#[derive(Debug, Clone, Copy)]
pub struct Horizon<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// BLOB blocks of the image.
    pub blocks: u32,
    /// Stages of the campaign.
    pub stages: usize,
}

impl Horizon<'_> {
    /// The time of a moment as written, at key `when`.
    ///
    /// # Errors
    /// Neither `at` nor `after`, both, something that only goes with `after`, or an event that cannot come.
    pub fn when(&self, moment: &Moment) -> Result<When, Trouble> {
        let wrong = |message: &str| Err(Trouble::at("when", message));
        match (moment.at, moment.after) {
            (Some(at), None) if moment.nth.is_none() && moment.delay.is_none() => Ok(When::At(Time::ZERO + at)),
            (Some(_), None) => wrong("`nth` and `delay` go with `after`"),
            (Some(_), Some(_)) => wrong("give `at` or `after`, not both"),
            (None, None) => wrong("give `at` or `after`"),
            (None, Some(trigger)) => {
                self.can_come(trigger).map_err(|why| Trouble::at("when.after", why))?;
                match moment.nth {
                    Some(0) => Err(Trouble::at("when.nth", "events are counted from 1")),
                    nth => {
                        Ok(When::After { trigger, nth: nth.unwrap_or(1), delay: moment.delay.unwrap_or(Span::ZERO) })
                    }
                }
            }
        }
    }

    fn can_come(&self, trigger: Trigger) -> Result<(), String> {
        match trigger {
            Trigger::CampaignPaused => Ok(()),
            Trigger::StageStarted(stage) | Trigger::SoakStarted(stage) => {
                let exists = (1..=self.stages).contains(&usize::from(stage.0));
                if exists {
                    Ok(())
                } else {
                    Err(format!("there is no stage {}; stages are 1 to {}", stage.0, self.stages))
                }
            }
            Trigger::BlockDone(block) if block < self.blocks => Ok(()),
            Trigger::BlockDone(block) => {
                Err(format!("there is no block {block}; the image has {}, counted from 0", self.blocks))
            }
            Trigger::TransferComplete(node)
            | Trigger::Phase(node, _)
            | Trigger::Reset(node)
            | Trigger::TrialStarted(node)
            | Trigger::ConfirmationHeard(node) => match self.fleet.get(node) {
                Some(_) => Ok(()),
                None => Err(format!("there is no node {node}")),
            },
        }
    }
}

/// From the start of the run.
pub const FROM_THE_START: When = When::At(Time::ZERO);
