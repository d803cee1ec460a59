//! Ledgers for the tests of the rules: a healthy fleet, and one line for everything that may happen to it.

use super::{Context, Oracle};
use hil_model::air::MessageKind;
use hil_model::fact::{
    BootVerdict, ConfigState, Fingerprint, FlashUse, Interposition, Moment, Outcome, RefusalLayer, ResetCause,
    UpdatePhase,
};
use hil_model::{
    About, BankArea, BankState, CampaignPolicy, Capability, Digest, Event, Fact, FaultId, Finding, FloorId, GatewayId,
    ImageCheck, NodeId, Party, RuleId, Span, StageIndex, StagePolicy, StageSize, Time, Version, Witness,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Fill octet of the digest of the image that runs at the start.
pub const OLD: u8 = 0xA0;
/// Fill octet of the digest of the candidate.
pub const NEW: u8 = 0xB0;

/// What the probe will find on a node at the end.
#[derive(Clone, Copy)]
struct Last {
    a: u8,
    check: ImageCheck,
    golden: ImageCheck,
    settings: Option<u8>,
}

/// A ledger under construction.
pub struct Script {
    events: Vec<Event>,
    now: Time,
    context: Context,
    last: BTreeMap<u16, Last>,
    timed_out: bool,
}

fn digest(fill: u8) -> Digest {
    Digest([fill; 32])
}

fn version(fill: u8) -> Version {
    Version::new(1, u8::from(fill == NEW), 0)
}

fn bank(fill: u8, check: ImageCheck) -> BankState {
    BankState { digest: digest(fill), check, version: Some(version(fill)), config_version: Some(2) }
}

impl Script {
    /// Nodes that nobody but the harness knows of: no probe, no console.
    pub fn blind(nodes: u16) -> Self {
        let stage = StagePolicy { size: StageSize::Rest, soak: Span::secs(600) };
        let policy = CampaignPolicy { stages: vec![stage, stage], ..CampaignPolicy::default() };
        let context = Context {
            grace: Span::secs(120),
            install: Span::secs(34),
            boot: Span::secs(10),
            running: digest(OLD),
            candidate: Some(digest(NEW)),
            policy: Some(policy),
            capabilities: Capability::ALL.iter().copied().collect(),
        };
        let mut script = Self { events: Vec::new(), now: Time::ZERO, context, last: BTreeMap::new(), timed_out: false };
        for node in 1..=nodes {
            let fact = Fact::NodeProvisioned { floor: FloorId(1), running: digest(OLD), config_version: 2 };
            script.node(node, fact);
        }
        script
    }

    /// Nodes that run the old image since time zero and are read by probe at the end.
    pub fn healthy(nodes: u16) -> Self {
        let mut script = Self::blind(nodes);
        for node in 1..=nodes {
            let last = Last { a: OLD, check: ImageCheck::Valid, golden: ImageCheck::Valid, settings: Some(1) };
            script.last.insert(node, last);
            script.banks(node, Moment::Provisioned, OLD, false);
            script.image(node, OLD, false).ready(node, Some(2), Some(1));
        }
        script.now = Time::ZERO;
        script
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    pub fn policy(&mut self, change: impl FnOnce(&mut CampaignPolicy)) {
        if let Some(policy) = &mut self.context.policy {
            change(policy);
        }
    }

    pub fn at(&mut self, seconds: u64) -> &mut Self {
        self.at_ms(seconds * 1_000)
    }

    pub fn at_ms(&mut self, ms: u64) -> &mut Self {
        self.now = Time::ZERO + Span::millis(ms);
        self
    }

    pub fn timed_out(&mut self) -> &mut Self {
        self.timed_out = true;
        self
    }

    pub fn fact(&mut self, about: About, fact: Fact) -> &mut Self {
        self.events.push(Event::new(self.now, about, Witness::Harness, fact));
        self
    }

    pub fn node(&mut self, node: u16, fact: Fact) -> &mut Self {
        self.fact(About::Node(NodeId(node)), fact)
    }

    pub fn campaign_fact(&mut self, fact: Fact) -> &mut Self {
        self.fact(About::Campaign, fact)
    }

    pub fn image(&mut self, node: u16, fill: u8, trial: bool) -> &mut Self {
        self.image_checked(node, fill, trial, ImageCheck::Valid)
    }

    pub fn image_checked(&mut self, node: u16, fill: u8, trial: bool, check: ImageCheck) -> &mut Self {
        let fact = Fact::ImageStarted {
            digest: digest(fill),
            check,
            version: Some(version(fill)),
            build: "mk-node".to_owned(),
            trial,
            wants_config: Some(2),
        };
        self.node(node, fact)
    }

    pub fn ready(&mut self, node: u16, version: Option<u16>, settings: Option<u8>) -> &mut Self {
        let config = ConfigState { version, settings: settings.map(digest) };
        self.node(node, Fact::ApplicationReady { config, wants_config: 2 })
    }

    pub fn reset(&mut self, node: u16, cause: ResetCause) -> &mut Self {
        self.node(node, Fact::Reset { cause, count: 1 })
    }

    pub fn boot(&mut self, node: u16, verdict: BootVerdict, reason: &str) -> &mut Self {
        self.node(node, Fact::BootDecided { verdict, reason: reason.to_owned(), about: None })
    }

    pub fn banks(&mut self, node: u16, moment: Moment, a: u8, written: bool) -> &mut Self {
        let used = FlashUse { words: u64::from(written), erases: 0 };
        let a = bank(a, ImageCheck::Valid);
        self.reading(node, moment, a, ImageCheck::Valid, Some(1), used, FlashUse::default())
    }

    #[expect(clippy::too_many_arguments, reason = "one argument for each part of a reading")]
    fn reading(
        &mut self,
        node: u16,
        moment: Moment,
        a: BankState,
        golden: ImageCheck,
        settings: Option<u8>,
        use_a: FlashUse,
        use_slot: FlashUse,
    ) -> &mut Self {
        let fact = Fact::Banks {
            moment,
            a,
            slot0: bank(OLD, golden),
            slot1: bank(0xFF, ImageCheck::Empty),
            config: ConfigState { version: Some(2), settings: settings.map(digest) },
            use_a,
            use_slot0: FlashUse::default(),
            use_slot1: use_slot,
            use_config: FlashUse::default(),
        };
        self.node(node, fact)
    }

    pub fn slot_written(&mut self, node: u16, moment: Moment) -> &mut Self {
        let used = FlashUse { words: 8, erases: 1 };
        let a = bank(OLD, ImageCheck::Valid);
        self.reading(node, moment, a, ImageCheck::Valid, Some(1), FlashUse::default(), used)
    }

    pub fn final_bank(&mut self, node: u16, fill: u8) -> &mut Self {
        self.change_last(node, |last| last.a = fill)
    }

    pub fn final_check(&mut self, node: u16, check: ImageCheck) -> &mut Self {
        self.change_last(node, |last| last.check = check)
    }

    pub fn final_golden(&mut self, node: u16, check: ImageCheck) -> &mut Self {
        self.change_last(node, |last| last.golden = check)
    }

    pub fn final_settings(&mut self, node: u16, settings: Option<u8>) -> &mut Self {
        self.change_last(node, |last| last.settings = settings)
    }

    fn change_last(&mut self, node: u16, change: impl FnOnce(&mut Last)) -> &mut Self {
        if let Some(last) = self.last.get_mut(&node) {
            change(last);
        }
        self
    }

    pub fn probe_wrote(&mut self, node: u16, area: BankArea) -> &mut Self {
        let fact = Fact::ProbeWrote { fault: None, area, offset: 0, before: vec![0], after: vec![1] };
        self.node(node, fact)
    }

    /// Reset, install, trial, confirmation: a node that takes the candidate.
    pub fn update(&mut self, node: u16) -> &mut Self {
        self.at(100).reset(node, ResetCause::Software).banks(node, Moment::BeforeBoot, OLD, false);
        self.at(120).boot(node, BootVerdict::Trial, "").banks(node, Moment::AfterBoot, NEW, true);
        self.image(node, NEW, true).ready(node, Some(2), Some(1));
        self.at(130).confirmed(node).node(node, Fact::ConfirmationAcked { boot_count: 2 });
        self.final_bank(node, NEW)
    }

    /// A node refuses the candidate at this layer; at the boot layer with the one reset of Apply.
    pub fn refuse(&mut self, node: u16, layer: RefusalLayer) -> &mut Self {
        let metadata = |accepted| Fact::MetadataDelivered {
            version: version(NEW),
            config_version: 3,
            metadata: digest(1),
            accepted,
        };
        match layer {
            RefusalLayer::UpdateStart => self.node(node, metadata(false)),
            RefusalLayer::Verifying => {
                let phase = UpdatePhase::VerificationFailed;
                self.node(node, metadata(true)).node(node, Fact::UpdatePhase { phase, reason: None })
            }
            RefusalLayer::Boot => self
                .node(node, metadata(true))
                .reset(node, ResetCause::Software)
                .boot(node, BootVerdict::Rejected, "update rejected - migration required")
                .image(node, OLD, false),
        }
    }

    pub fn outcome(&mut self, node: u16, outcome: Outcome) -> &mut Self {
        self.node(node, Fact::NodeOutcome { stage: StageIndex(1), outcome })
    }

    pub fn confirmed(&mut self, node: u16) -> &mut Self {
        self.node(node, Fact::ConfirmationHeard { version: version(NEW), boot_count: 2 })
    }

    pub fn report(&mut self, node: u16, says: &str) -> &mut Self {
        let fact = Fact::ReportHeard {
            running: version(OLD),
            config_version: 2,
            says: says.to_owned(),
            about: version(NEW),
            boot_count: 3,
        };
        self.node(node, fact)
    }

    pub fn ack_interposed(&mut self, node: u16, did: Interposition) -> &mut Self {
        let fact = Fact::Interposed {
            rule: RuleId(0),
            fault: FaultId(0),
            did,
            kind: MessageKind::ConfirmAck,
            from: Party::Gateway(GatewayId(1)),
            to: Some(Party::Node(NodeId(node))),
            block: None,
            chunk: None,
            sent: Fingerprint { len: 1, digest: digest(1) },
            delivered: None,
            changed: 0,
        };
        self.fact(About::Rack, fact)
    }

    pub fn campaign(&mut self, targets: u16) -> &mut Self {
        let fact = Fact::CampaignStarted {
            version: version(NEW),
            targets,
            stages: 2,
            success_permille: 950,
            throttle_permille: 400,
        };
        self.campaign_fact(fact)
    }

    pub fn stage(&mut self, stage: u8, nodes: RangeInclusive<u16>) -> &mut Self {
        self.campaign_fact(Fact::StageStarted { stage: StageIndex(stage), nodes: nodes.map(NodeId).collect() })
    }

    pub fn soak(&mut self, stage: u8, until_s: u64, confirmed: u16, targeted: u16) -> &mut Self {
        let until = Time::ZERO + Span::secs(until_s);
        self.campaign_fact(Fact::SoakStarted { stage: StageIndex(stage), until, confirmed, targeted })
    }

    pub fn passed(&mut self, stage: u8, confirmed: u16, targeted: u16, overridden: bool) -> &mut Self {
        self.campaign_fact(Fact::StagePassed { stage: StageIndex(stage), confirmed, targeted, overridden })
    }

    pub fn paused(&mut self, stage: u8, confirmed: u16, targeted: u16) -> &mut Self {
        let reason = "below the threshold".to_owned();
        self.campaign_fact(Fact::CampaignPaused { stage: StageIndex(stage), reason, confirmed, targeted })
    }

    pub fn alert(&mut self) -> &mut Self {
        self.campaign_fact(Fact::Alert { text: "campaign paused".to_owned() })
    }

    pub fn block_done(&mut self, block: u32) -> &mut Self {
        self.fact(About::Gateway(GatewayId(1)), Fact::BlockDone { block, rounds: 1, chunks_sent: 178, resent: 0 })
    }

    pub fn air_use(&mut self, peak: u16, throttle: u16, depth: u16) -> &mut Self {
        let fact = Fact::AirUse {
            data_pdus: 10,
            data_airtime_us: 3_760,
            peak_permille: peak,
            throttle_permille: throttle,
            depth_permille: depth,
            control_pdus: 1,
            deliveries: 10,
            losses: 0,
        };
        self.fact(About::Gateway(GatewayId(1)), fact)
    }

    pub fn latency(&mut self, p95_us: u32, measured: bool) -> &mut Self {
        let fact = Fact::SceneLatency { scenes: 40, missed: 0, p50_us: 1, p95_us, p99_us: p95_us, measured };
        self.fact(About::Rack, fact)
    }

    /// The ledger with its end: final readings, and the end of the run.
    pub fn events(&self) -> Vec<Event> {
        let mut whole = Self {
            events: self.events.clone(),
            now: self.now,
            context: self.context.clone(),
            last: BTreeMap::new(),
            timed_out: self.timed_out,
        };
        for (&node, last) in &self.last {
            let a = bank(last.a, last.check);
            let none = FlashUse::default();
            whole.reading(node, Moment::Final, a, last.golden, last.settings, none, none);
        }
        whole.fact(About::Rack, Fact::RunEnded { timed_out: self.timed_out });
        for (seq, event) in whole.events.iter_mut().enumerate() {
            event.seq = seq as u64;
        }
        whole.events
    }

    /// What one rule finds.
    pub fn finding(&self, rule: &str) -> Finding {
        let findings = Oracle::judge(&self.context, &self.events());
        findings.into_iter().find(|finding| finding.rule == rule).unwrap_or_else(|| panic!("no rule {rule}"))
    }
}
