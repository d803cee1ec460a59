//! What can be observed. One enum, matched in full by every reader, grouped by who can witness it.
//!
//! Granularity: state changes, finished blocks, faults, resets and samples that a verdict rests on are events. Chunk
//! deliveries and healthy periodic reports are counters inside an event; a *missing* report is an event.

use crate::action::{OperatorOrder, Tear};
use crate::air::{MessageKind, Party};
use crate::ids::{Digest, FaultId, FloorId, NodeId, RuleId, Seed, StageIndex};
use crate::image::{BankArea, BankState, ImageCheck, Version};
pub use crate::kinds::{
    BootVerdict, ConfigState, Fingerprint, FlashUse, HealthFault, Interposition, Moment, Outcome, OutcomeClass,
    RefusalLayer, ResetCause, UpdatePhase,
};
use crate::provision::RackKind;
use crate::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    // --- harness -------------------------------------------------------------------------------------------------
    /// The run began.
    RunStarted {
        /// Scenario.
        scenario: String,
        /// Seed.
        seed: Seed,
        /// Rack.
        rack: String,
        /// Which of the three.
        kind: RackKind,
    },
    /// An action was applied.
    ActionApplied {
        /// The fault it serves.
        fault: Option<FaultId>,
        /// In words.
        what: String,
    },
    /// A node of the fleet and what it is; once per node at the start.
    NodeProvisioned {
        /// Floor.
        floor: FloorId,
        /// Digest of the image it runs.
        running: Digest,
        /// Its configuration schema version.
        config_version: u16,
    },
    /// The run ended; nothing more was due.
    RunEnded {
        /// True when the deadline passed before things were quiet.
        timed_out: bool,
    },

    // --- radio ---------------------------------------------------------------------------------------------------
    /// A rule of the interposer acted on a message. Compares the octets at the receiving port.
    Interposed {
        /// The rule.
        rule: RuleId,
        /// The fault it serves.
        fault: FaultId,
        /// What was done.
        did: Interposition,
        /// Kind of message.
        kind: MessageKind,
        /// Sender.
        from: Party,
        /// Receiver; none when done for all receivers at once.
        to: Option<Party>,
        /// Block the message belongs to.
        block: Option<u32>,
        /// Chunk number.
        chunk: Option<u16>,
        /// As sent.
        sent: Fingerprint,
        /// As it reached the receiving port; none when nothing did.
        delivered: Option<Fingerprint>,
        /// How many octets differ.
        changed: u16,
    },
    /// Air use of one distributor since its previous report (per block, and at the end of a transfer).
    AirUse {
        /// Data PDUs originated.
        data_pdus: u64,
        /// Their air time with the estimated relay copies, in microseconds.
        data_airtime_us: u64,
        /// Most data air time in any one second of the interval, in permille.
        peak_permille: u16,
        /// The throttle that was to be kept, in permille.
        throttle_permille: u16,
        /// Bucket depth in permille of a second: what may come on top of the throttle in one window.
        depth_permille: u16,
        /// Status, Get and other control PDUs.
        control_pdus: u64,
        /// Message deliveries to nodes.
        deliveries: u64,
        /// Message deliveries lost on the air.
        losses: u64,
    },
    /// Latency of lighting scenes in the past interval.
    SceneLatency {
        /// Scenes.
        scenes: u32,
        /// Scenes with a member that never received.
        missed: u32,
        /// Median in microseconds.
        p50_us: u32,
        /// 95th percentile in microseconds.
        p95_us: u32,
        /// 99th percentile in microseconds.
        p99_us: u32,
        /// False where the level of the simulation draws latency from a table instead of measuring it.
        measured: bool,
    },

    // --- power ---------------------------------------------------------------------------------------------------
    /// The node was reset; `count` is the number of resets since the run began, this one included.
    Reset {
        /// Why.
        cause: ResetCause,
        /// How many so far.
        count: u32,
    },
    /// Power went away.
    PowerOff,
    /// Power was cut at a flash operation: proof of the cut.
    PowerCut {
        /// The fault it serves.
        fault: Option<FaultId>,
        /// Index of the operation since arming.
        operation: u64,
        /// Flash address.
        address: u32,
        /// Tear model.
        tear: Tear,
        /// Octets before; the word, or the first word of the page.
        before: [u8; 4],
        /// Octets after.
        after: [u8; 4],
    },

    // --- probe ---------------------------------------------------------------------------------------------------
    /// All banks, read without the node's help.
    Banks {
        /// Why now.
        moment: Moment,
        /// Running bank.
        a: BankState,
        /// Slot 0.
        slot0: BankState,
        /// Slot 1.
        slot1: BankState,
        /// Configuration.
        config: ConfigState,
        /// Operations in bank A since the previous snapshot.
        use_a: FlashUse,
        /// Operations in slot 0.
        use_slot0: FlashUse,
        /// Operations in slot 1.
        use_slot1: FlashUse,
        /// Operations in the configuration partition.
        use_config: FlashUse,
    },
    /// The core began to execute bank A.
    ImageStarted {
        /// Digest of the image as a file.
        digest: Digest,
        /// The examiner's finding on bank A at that moment.
        check: ImageCheck,
        /// Version in its header.
        version: Option<Version>,
        /// Build id in its payload.
        build: String,
        /// Whether the journal says it is a trial.
        trial: bool,
        /// Schema version that the image was made for.
        wants_config: Option<u16>,
    },
    /// The application opened its configuration and serves: migration, where one was due, is over.
    ApplicationReady {
        /// Configuration it runs on.
        config: ConfigState,
        /// Schema version the image was made for.
        wants_config: u16,
    },
    /// The core locked up or faulted.
    Crashed,
    /// The probe changed flash.
    ProbeWrote {
        /// The fault it serves.
        fault: Option<FaultId>,
        /// Where.
        area: BankArea,
        /// Octet offset within the area.
        offset: u32,
        /// First octets before, at most 8.
        before: Vec<u8>,
        /// First octets after, at most 8.
        after: Vec<u8>,
    },

    // --- console -------------------------------------------------------------------------------------------------
    /// The bootloader's own account of a boot.
    BootDecided {
        /// What it did.
        verdict: BootVerdict,
        /// Why, in its own words; empty when there is nothing to say.
        reason: String,
        /// Image slots the decision spoke of: version of the candidate.
        about: Option<Version>,
    },
    /// A migration ran.
    ConfigMigrated {
        /// From this schema version.
        from: u16,
        /// To this one.
        to: u16,
        /// Whether it ended well.
        ok: bool,
    },
    /// The node changed its update phase.
    UpdatePhase {
        /// The phase.
        phase: UpdatePhase,
        /// Why, where it refused.
        reason: Option<String>,
    },
    /// Any other line of the console, cut to 256 octets; not interpreted.
    ConsoleLine {
        /// As received, with control octets kept.
        text: String,
    },

    // --- gateway -------------------------------------------------------------------------------------------------
    /// A distribution began.
    DistributionStarted {
        /// SHA-256 of the image file handed out.
        image: Digest,
        /// Receivers.
        receivers: Vec<NodeId>,
    },
    /// A node answered the Update Start that carried this metadata: it was delivered.
    MetadataDelivered {
        /// Version in it.
        version: Version,
        /// `config_migration_version` in it.
        config_version: u16,
        /// SHA-256 over the metadata octets.
        metadata: Digest,
        /// Whether the node accepted it.
        accepted: bool,
    },
    /// All targets of a distributor hold a block.
    BlockDone {
        /// BLOB block number.
        block: u32,
        /// Rounds it took.
        rounds: u16,
        /// Chunk messages sent, repetitions included.
        chunks_sent: u32,
        /// Repetitions among them.
        resent: u32,
    },
    /// A node reported its transfer complete: the whole image was delivered to it.
    TransferComplete {
        /// SHA-256 of the image file handed out.
        image: Digest,
    },
    /// What the distributor knows of a receiver changed.
    ReceiverPhase {
        /// Retrieved phase.
        phase: UpdatePhase,
        /// Progress in per cent.
        percent: u8,
    },
    /// A first-boot confirmation arrived.
    ConfirmationHeard {
        /// Version that confirms.
        version: Version,
        /// The node's boot count.
        boot_count: u32,
    },
    /// The gateway sent its acknowledgement.
    ConfirmationAcked {
        /// The node's boot count.
        boot_count: u32,
    },
    /// A node report arrived.
    ReportHeard {
        /// Version it says it runs.
        running: Version,
        /// Schema version it says it has.
        config_version: u16,
        /// What it says became of the last update, in the operator's words.
        says: String,
        /// Which version that is about.
        about: Version,
        /// The node's boot count.
        boot_count: u32,
    },
    /// The gateway process went down.
    GatewayDown,
    /// The gateway process is up again.
    GatewayUp,

    // --- meshos --------------------------------------------------------------------------------------------------
    /// A campaign began.
    CampaignStarted {
        /// To this version.
        version: Version,
        /// Nodes addressed.
        targets: u16,
        /// Number of stages.
        stages: u8,
        /// Success threshold in permille.
        success_permille: u16,
        /// Throttle in permille.
        throttle_permille: u16,
    },
    /// A stage was opened.
    StageStarted {
        /// Which.
        stage: StageIndex,
        /// Its nodes.
        nodes: Vec<NodeId>,
    },
    /// A stage's delivery ended and its soak began.
    SoakStarted {
        /// Which.
        stage: StageIndex,
        /// When it ends.
        until: Time,
        /// Confirmed nodes.
        confirmed: u16,
        /// Nodes addressed.
        targeted: u16,
    },
    /// A stage was closed as passed.
    StagePassed {
        /// Which.
        stage: StageIndex,
        /// Confirmed nodes.
        confirmed: u16,
        /// Nodes addressed.
        targeted: u16,
        /// True when an operator's override let it pass.
        overridden: bool,
    },
    /// An updated node is not healthy in soak.
    Unhealthy {
        /// Why.
        fault: HealthFault,
    },
    /// The campaign paused.
    CampaignPaused {
        /// In which stage.
        stage: StageIndex,
        /// Why.
        reason: String,
        /// Confirmed nodes.
        confirmed: u16,
        /// Nodes addressed.
        targeted: u16,
    },
    /// An alert went out to the operator.
    Alert {
        /// Its text.
        text: String,
    },
    /// An operator's order was taken.
    OperatorActed {
        /// The order.
        order: OperatorOrder,
    },
    /// The campaign counts a node so; a later event for the same node replaces it.
    NodeOutcome {
        /// Stage of the node.
        stage: StageIndex,
        /// The outcome.
        outcome: Outcome,
    },
    /// The campaign ended.
    CampaignEnded {
        /// True when every stage passed; false when aborted or rolled back.
        completed: bool,
    },
    /// The campaign process went down.
    MeshosDown,
    /// The campaign process is up again and resumed from its journal.
    MeshosUp {
        /// Journal records read.
        records: u32,
    },
}

impl Fact {
    /// The name of the fact as in the ledger.
    #[must_use]
    pub fn name(&self) -> String {
        match serde_variant(self) {
            Some(name) => name,
            None => "fact".to_owned(),
        }
    }
}

/// Name of the variant as serialised, taken from its `Debug` form so that no second table has to be kept.
fn serde_variant(fact: &Fact) -> Option<String> {
    let debug = format!("{fact:?}");
    let end = debug.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(debug.len());
    let mut name = String::with_capacity(end + 4);
    for (i, c) in debug.get(..end)?.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn names_are_the_serialised_ones() {
        let facts = [
            Fact::PowerOff,
            Fact::Crashed,
            Fact::RunEnded { timed_out: false },
            Fact::Alert { text: String::new() },
            Fact::GatewayUp,
        ];
        for fact in facts {
            let json = serde_json::to_value(&fact).unwrap();
            let key = json
                .as_str()
                .map(str::to_owned)
                .unwrap_or_else(|| json.as_object().unwrap().keys().next().unwrap().clone());
            assert_eq!(fact.name(), key);
        }
    }
}
