//! Proof that a stimulus really happened. Never about the response: whether the node refused a forged image is for the
//! expectations; that exactly the forged octets reached it is for the proof. Without proof there is no Pass.
//!
//! A proof is a list of [`Clause`]s, each a predicate over single events with the number of hits it wants. Clauses come
//! from the fault files; the predicate compares octets or digests at the receiving port, not what somebody intended.

use crate::monitor::{Monitor, cite};
use crate::plan::Plan;
use hil_model::fact::Interposition;
use hil_model::record::Conclusion;
use hil_model::{Digest, Event, Fact, FaultId, Finding, MessageKind, NodeId, Party};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What one event says to a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Nothing.
    No,
    /// The stimulus, for nobody in particular.
    Yes,
    /// The stimulus, for this node.
    Of(NodeId),
}

/// How many hits a clause wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// So many at least.
    AtLeast(u32),
    /// One at least for each of these nodes.
    Each(Vec<NodeId>),
}

type Predicate = Arc<dyn Fn(&Event) -> Hit + Send + Sync>;

/// One thing that must have been seen.
#[derive(Clone)]
pub struct Clause {
    /// In words, for findings and plans.
    pub what: String,
    /// How often.
    pub want: Want,
    pick: Predicate,
}

impl fmt::Debug for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clause").field("what", &self.what).field("want", &self.want).finish_non_exhaustive()
    }
}

impl Clause {
    /// A clause from a predicate.
    pub fn new(what: impl Into<String>, want: Want, pick: impl Fn(&Event) -> Hit + Send + Sync + 'static) -> Self {
        Self { what: what.into(), want, pick: Arc::new(pick) }
    }

    /// The interposer did `did` to messages of one of `kinds` in the name of `fault`. Where the effect changes octets,
    /// only a difference at the receiving port counts; where it drops, only that nothing arrived.
    #[must_use]
    pub fn interposed(fault: FaultId, did: Interposition, kinds: Vec<MessageKind>, want: Want) -> Self {
        let names: Vec<String> = kinds.iter().map(|kind| crate::words::kind(*kind)).collect();
        // A fault that silences a node names a dozen kinds; any of them will do, and none needs to be read out.
        let names = if names.len() > 3 { format!("one of {} kinds of", names.len()) } else { names.join(" or ") };
        let what = format!("{names} message {}", hil_model::words::interposed(did));
        Self::new(what, want, move |event| match &event.fact {
            Fact::Interposed { fault: by, did: done, kind, from, to, sent, delivered, changed, .. }
                if *by == fault && *done == did && kinds.contains(kind) =>
            {
                let real = match did {
                    Interposition::Dropped => delivered.is_none(),
                    Interposition::Altered => *changed > 0 && delivered.is_some_and(|d| d.digest != sent.digest),
                    Interposition::Held
                    | Interposition::Released
                    | Interposition::Duplicated
                    | Interposition::Reordered
                    | Interposition::Replayed => true,
                };
                match (real, to, from) {
                    (false, ..) => Hit::No,
                    (true, Some(Party::Node(node)), _) | (true, _, Party::Node(node)) => Hit::Of(*node),
                    (true, ..) => Hit::Yes,
                }
            }
            _ => Hit::No,
        })
    }

    /// A node reported its transfer complete for exactly this file.
    #[must_use]
    pub fn file_delivered(digest: Digest, want: Want) -> Self {
        let what = format!("image {} delivered whole", digest.short());
        Self::new(what, want, move |event| match event.fact {
            Fact::TransferComplete { image } if image == digest => about(event),
            _ => Hit::No,
        })
    }

    /// A node answered an Update Start that carried exactly these metadata octets.
    #[must_use]
    pub fn metadata_delivered(digest: Digest, want: Want) -> Self {
        let what = format!("metadata {} delivered", digest.short());
        Self::new(what, want, move |event| match event.fact {
            Fact::MetadataDelivered { metadata, .. } if metadata == digest => about(event),
            _ => Hit::No,
        })
    }

    /// A core began to execute exactly this image.
    #[must_use]
    pub fn image_ran(digest: Digest, want: Want) -> Self {
        let what = format!("image {} executed", digest.short());
        Self::new(what, want, move |event| match event.fact {
            Fact::ImageStarted { digest: ran, .. } if ran == digest => about(event),
            _ => Hit::No,
        })
    }

    /// The probe changed octets of flash.
    #[must_use]
    pub fn probe_wrote(fault: FaultId, want: Want) -> Self {
        Self::new("flash altered by probe", want, move |event| match &event.fact {
            Fact::ProbeWrote { fault: Some(by), before, after, .. } if *by == fault && before != after => about(event),
            _ => Hit::No,
        })
    }

    /// Power was cut at a flash operation.
    #[must_use]
    pub fn power_cut(fault: FaultId, want: Want) -> Self {
        Self::new("power cut at a flash operation", want, move |event| match event.fact {
            Fact::PowerCut { fault: Some(by), .. } if by == fault => about(event),
            _ => Hit::No,
        })
    }

    /// What the event says to this clause.
    #[must_use]
    pub fn hit(&self, event: &Event) -> Hit {
        (self.pick)(event)
    }
}

/// The node an event is about, as a hit.
#[must_use]
pub fn about(event: &Event) -> Hit {
    event.about.node().map_or(Hit::Yes, Hit::Of)
}

/// All clauses of a fault; every one has to be met.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The clauses. A proof without any is never met.
    pub clauses: Vec<Clause>,
}

/// Watches for one fault's proof. Closes with `Holds` or `Unproven`: a stimulus cannot be broken by the product.
#[derive(Debug)]
pub struct ProofMonitor {
    rule: String,
    clauses: Vec<Progress>,
}

#[derive(Debug)]
struct Progress {
    clause: Clause,
    hits: u32,
    seen: BTreeSet<NodeId>,
    events: Vec<u64>,
}

impl Progress {
    fn met(&self) -> bool {
        match &self.clause.want {
            Want::AtLeast(least) => self.hits >= *least,
            Want::Each(nodes) => nodes.iter().all(|node| self.seen.contains(node)),
        }
    }

    fn missing(&self) -> String {
        match &self.clause.want {
            Want::AtLeast(least) => format!("{}: {} of {least} seen", self.clause.what, self.hits),
            Want::Each(nodes) => {
                let absent: Vec<NodeId> = nodes.iter().copied().filter(|node| !self.seen.contains(node)).collect();
                format!("{}: not seen for {}", self.clause.what, hil_model::words::nodes(&absent))
            }
        }
    }
}

impl ProofMonitor {
    /// A monitor for the proof of the fault in place `index`.
    #[must_use]
    pub fn new(index: usize, kind: &str, proof: &Proof) -> Self {
        let clauses = proof
            .clauses
            .iter()
            .map(|clause| Progress { clause: clause.clone(), hits: 0, seen: BTreeSet::new(), events: Vec::new() })
            .collect();
        Self { rule: format!("proof[{index}] {kind}"), clauses }
    }
}

impl Monitor for ProofMonitor {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        for progress in &mut self.clauses {
            let fresh = match progress.clause.hit(event) {
                Hit::No => continue,
                Hit::Yes => matches!(progress.clause.want, Want::AtLeast(_)),
                Hit::Of(node) => progress.seen.insert(node) || matches!(progress.clause.want, Want::AtLeast(_)),
            };
            progress.hits = progress.hits.saturating_add(1);
            if fresh {
                cite(&mut progress.events, event.seq);
            }
        }
    }

    fn settled(&self) -> bool {
        !self.clauses.is_empty() && self.clauses.iter().all(Progress::met)
    }

    fn close(&self, _plan: &Plan) -> Finding {
        let missing: Vec<String> = self.clauses.iter().filter(|c| !c.met()).map(Progress::missing).collect();
        let mut events: Vec<u64> = self.clauses.iter().flat_map(|c| c.events.iter().copied()).collect();
        events.sort_unstable();
        events.dedup();
        let (conclusion, text) = if self.settled() {
            let seen: Vec<&str> = self.clauses.iter().map(|c| c.clause.what.as_str()).collect();
            (Conclusion::Holds, format!("stimulus seen: {}", seen.join("; ")))
        } else {
            (Conclusion::Unproven, format!("stimulus not seen: {}", missing.join("; ")))
        };
        Finding { rule: self.rule.clone(), conclusion, text, events }
    }
}
