//! A plan: a scenario fully resolved, bound to a rack and a seed. Everything a run does, and everything it is judged by.
//!
//! A plan holds no position of any file and asks no rack: what it needs is in [`Plan::needs`], what it knows of images in
//! [`Plan::images`]. The verdict of a run is a function of a plan and a ledger.

mod describe;

use crate::expectations::ExpectationSpec;
use crate::monitor::Monitor;
use crate::proof::{Proof, ProofMonitor};
use hil_model::{
    Behaviour, CampaignPolicy, CapabilitySet, Composition, Digest, FaultId, ImageCheck, ImageLabel, NodeId, Provision,
    RackManifest, Seed, Span, TimedAction, Version,
};

/// An image that may show up in a run, as the harness knows it: nothing here comes from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// `running`, `candidate`, `untampered`.
    pub label: ImageLabel,
    /// SHA-256 of the file: what `ImageStarted` and `TransferComplete` carry.
    pub digest: Digest,
    /// SHA-256 of the whole of bank A with this image installed and nothing else in it; none when it does not fit or is
    /// no well-formed image.
    pub bank_a: Option<Digest>,
    /// SHA-256 of the payload, where there is one.
    pub payload: Option<Digest>,
    /// What the examiner says of the file under the provisioned key.
    pub check: ImageCheck,
    /// What the payload does.
    pub behaviour: Behaviour,
    /// Version it was made with.
    pub version: Version,
    /// Configuration schema it was made for.
    pub config_version: u16,
    /// Octets.
    pub size: u32,
}

/// A fault as planned.
#[derive(Debug, Clone)]
pub struct PlannedFault {
    /// Its place in the scenario.
    pub id: FaultId,
    /// Kind: `corrupt-block`.
    pub kind: &'static str,
    /// As written, on one line.
    pub text: String,
    /// Nodes it names; empty when it is aimed at all.
    pub nodes: Vec<NodeId>,
    /// What shows that it happened.
    pub proof: Proof,
}

/// An expectation as planned.
#[derive(Debug, Clone)]
pub struct PlannedExpectation {
    /// Its name in findings: `expect[0] outcome`.
    pub rule: String,
    /// As written, on one line.
    pub text: String,
    /// What is expected.
    pub spec: ExpectationSpec,
}

/// Times that rules of the oracle lean on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Grace period of a trial, counted from its start.
    pub grace: Span,
    /// Longest install or roll-back of one image on this board: two passes over every page of the image.
    pub install: Span,
    /// Longest boot without install: hashes and signature checks.
    pub boot: Span,
}

impl Limits {
    /// How long after a trial's start an unconfirmed node may take until its old image runs again (design, 5.6).
    #[must_use]
    pub fn back_on_old_image(&self) -> Span {
        self.grace + self.install + self.boot
    }
}

/// A composition that must be caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// The wrong composition.
    pub composition: Composition,
    /// Name of the rule that has to break: `oracle-1`, or `expect[0]`.
    pub must_break: String,
}

impl Canary {
    /// Whether `rule`, the name of a finding, is the one that has to break.
    #[must_use]
    pub fn means(&self, rule: &str) -> bool {
        rule.strip_prefix(&self.must_break).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

/// A scenario resolved for one rack and one seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `<theme>/<file stem>` or `<theme>/<file stem>#<variant>`.
    pub name: String,
    /// Scenario file, relative to the repository.
    pub file: String,
    /// One line on what it proves.
    pub title: String,
    /// Requirement tags.
    pub proves: Vec<String>,
    /// The file's text.
    pub source: String,
    /// Seed of the run.
    pub seed: Seed,
    /// The rack it is bound to.
    pub manifest: RackManifest,
    /// What the rack is prepared with.
    pub provision: Provision,
    /// The campaign's policy; the same as in the first action.
    pub policy: CampaignPolicy,
    /// Nodes addressed, in order.
    pub targets: Vec<NodeId>,
    /// Every image the plan knows: first what runs at the start, second what the package carries.
    pub images: Vec<KnownImage>,
    /// What is done; the first is `StartCampaign`. Actions of one time are applied in the order given.
    pub actions: Vec<TimedAction>,
    /// The faults and their proofs. Present also where they are not injected.
    pub faults: Vec<PlannedFault>,
    /// What is expected.
    pub expectations: Vec<PlannedExpectation>,
    /// Times for the oracle.
    pub limits: Limits,
    /// Rack time by which everything is quiet.
    pub deadline: Span,
    /// How long to go on watching after things are quiet, so that a late roll-back is seen.
    pub settle: Span,
    /// What the rack has to be able to do.
    pub needs: CapabilitySet,
    /// The canary, if this is one.
    pub canary: Option<Canary>,
    /// False when every stimulus was left out on purpose: such a run must end Inconclusive.
    pub injected: bool,
}

impl Plan {
    /// Label of the image every node runs at the start.
    pub const RUNNING: &'static str = "running";
    /// Label of the image that the package carries.
    pub const CANDIDATE: &'static str = "candidate";
    /// Label of the image that the package would carry without its image faults.
    pub const UNTAMPERED: &'static str = "untampered";

    /// The image with this file digest.
    #[must_use]
    pub fn image(&self, digest: Digest) -> Option<&KnownImage> {
        self.images.iter().find(|image| image.digest == digest)
    }

    /// The image with this label.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Option<&KnownImage> {
        self.images.iter().find(|image| image.label.0 == label)
    }

    /// Whether `digest` is the file that every node runs at the start.
    #[must_use]
    pub fn is_running(&self, digest: Digest) -> bool {
        self.provision.running.digest == digest
    }

    /// Whether `digest` is the file in the package.
    #[must_use]
    pub fn is_candidate(&self, digest: Digest) -> bool {
        self.labelled(Self::CANDIDATE).is_some_and(|image| image.digest == digest)
    }

    /// Monitors for all proofs and all expectations, in the order of the scenario.
    #[must_use]
    pub fn monitors(&self) -> Vec<Box<dyn Monitor>> {
        let proofs = self.faults.iter().map(|fault| {
            let monitor = ProofMonitor::new(usize::from(fault.id.0), fault.kind, &fault.proof);
            Box::new(monitor) as Box<dyn Monitor>
        });
        proofs.chain(self.expectations.iter().map(|e| e.spec.monitor(&e.rule, self))).collect()
    }
}
