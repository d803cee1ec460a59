//! Sample records: what a suite of the virtual rack may look like, made up event by event.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use hil_model::fact::{
    BootVerdict, ConfigState, Fingerprint, FlashUse, Interposition, Moment, Outcome, ResetCause, UpdatePhase,
};
use hil_model::record::Conclusion;
use hil_model::{
    About, BankState, Capability, Digest, Event, Fact, FaultId, Finding, Fleet, FloorId, GatewayId, ImageCheck,
    MessageKind, NodeId, Party, Profile, RackKind, RackManifest, RuleId, RunRecord, Seed, Span, StageIndex,
    SuiteRecord, Time, Verdict, Version, Witness,
};

pub const OLD: Digest = Digest([0xA0; 32]);
pub const NEW: Digest = Digest([0xB0; 32]);

pub fn manifest() -> RackManifest {
    RackManifest {
        name: "virtual-24".to_owned(),
        kind: RackKind::Virtual,
        capabilities: [Capability::AirObserve, Capability::ProbeRead].into_iter().collect(),
        profile: Profile::default(),
        fleet: Fleet::building(2, 1, 1, 0, 2),
    }
}

pub fn record(name: &str, verdict: Verdict) -> RunRecord {
    let stem = name.split('#').next().unwrap();
    RunRecord {
        name: name.to_owned(),
        file: format!("fixtures/scenarios/{stem}.yaml"),
        title: "A forged image is never run".to_owned(),
        tags: vec!["MK-SIG-001".to_owned()],
        seed: Seed(42),
        rack: manifest(),
        firmware: Some(NEW),
        verdict,
        findings: Vec::new(),
        events: Vec::new(),
        ended: Time::ZERO,
        wall_micros: None,
        repeat: format!("cargo run --release -- run '{name}' --seed 42"),
        bundle: None,
        source: "title: A forged image is never run\n".to_owned(),
    }
}

pub fn finding(rule: &str, conclusion: Conclusion, text: &str, events: &[u64]) -> Finding {
    Finding { rule: rule.to_owned(), conclusion, text: text.to_owned(), events: events.to_vec() }
}

/// Builds the events of one run.
pub struct Tape {
    pub events: Vec<Event>,
    now: Time,
}

impl Tape {
    pub fn new(name: &str, nodes: u16) -> Self {
        let mut tape = Self { events: Vec::new(), now: Time::ZERO };
        let scenario = name.to_owned();
        let rack = "virtual-24".to_owned();
        tape.push(
            About::Rack,
            Witness::Harness,
            Fact::RunStarted { scenario, seed: Seed(42), rack, kind: RackKind::Virtual },
        );
        for node in 1..=nodes {
            let floor = FloorId(1 + u8::from(node > nodes / 2));
            tape.node(node, Witness::Harness, Fact::NodeProvisioned { floor, running: OLD, config_version: 2 });
        }
        for node in 1..=nodes {
            tape.started(node, OLD, false, ImageCheck::Valid);
        }
        tape
    }

    pub fn at(&mut self, ms: u64) -> &mut Self {
        self.now = Time::ZERO + Span::millis(ms);
        self
    }

    pub fn push(&mut self, about: About, witness: Witness, fact: Fact) -> u64 {
        let seq = self.events.len() as u64;
        self.events.push(Event { seq, at: self.now, about, witness, fact });
        seq
    }

    pub fn node(&mut self, node: u16, witness: Witness, fact: Fact) -> u64 {
        self.push(About::Node(NodeId(node)), witness, fact)
    }

    pub fn meshos(&mut self, fact: Fact) -> u64 {
        self.push(About::Campaign, Witness::Meshos, fact)
    }

    pub fn gateway(&mut self, fact: Fact) -> u64 {
        self.push(About::Gateway(GatewayId(1)), Witness::Gateway, fact)
    }

    pub fn started(&mut self, node: u16, digest: Digest, trial: bool, check: ImageCheck) -> u64 {
        let version = Some(Version::new(1, u8::from(digest != OLD), 0));
        let build = "mk-node".to_owned();
        let fact = Fact::ImageStarted { digest, check, version, build, trial, wants_config: Some(2) };
        self.node(node, Witness::Probe, fact)
    }

    pub fn campaign(&mut self, targets: u16, stages: u8) -> u64 {
        let version = Version::new(1, 1, 0);
        self.push(
            About::Campaign,
            Witness::Harness,
            Fact::ActionApplied { fault: None, what: format!("start campaign to 1.1.0 for {targets} nodes") },
        );
        self.meshos(Fact::CampaignStarted { version, targets, stages, success_permille: 950, throttle_permille: 400 })
    }

    pub fn stage(&mut self, stage: u8, nodes: std::ops::RangeInclusive<u16>) {
        let nodes: Vec<NodeId> = nodes.map(NodeId).collect();
        self.meshos(Fact::StageStarted { stage: StageIndex(stage), nodes: nodes.clone() });
        self.gateway(Fact::DistributionStarted { image: NEW, receivers: nodes });
    }

    pub fn metadata(&mut self, node: u16, accepted: bool) -> u64 {
        let version = Version::new(1, 1, 0);
        let metadata = Digest([0xC0; 32]);
        self.node(node, Witness::Gateway, Fact::MetadataDelivered { version, config_version: 2, metadata, accepted })
    }

    pub fn air(&mut self, block: u32, peak: u16) {
        self.gateway(Fact::BlockDone { block, rounds: 2, chunks_sent: 190, resent: 12 });
        self.push(
            About::Gateway(GatewayId(1)),
            Witness::Radio,
            Fact::AirUse {
                data_pdus: 3_200,
                data_airtime_us: 1_203_200,
                peak_permille: peak,
                throttle_permille: 400,
                depth_permille: 50,
                control_pdus: 60,
                deliveries: 3_000,
                losses: 90,
            },
        );
    }

    /// Reset, install, trial, confirmation, from `ms` on.
    pub fn update(&mut self, node: u16, ms: u64) {
        self.at(ms).node(node, Witness::Gateway, Fact::TransferComplete { image: NEW });
        self.node(node, Witness::Power, Fact::Reset { cause: ResetCause::Software, count: 1 });
        let (verdict, about) = (BootVerdict::Trial, Some(Version::new(1, 1, 0)));
        self.at(ms + 17_000).node(node, Witness::Console, Fact::BootDecided { verdict, reason: String::new(), about });
        self.started(node, NEW, true, ImageCheck::Valid);
        let version = Version::new(1, 1, 0);
        self.at(ms + 20_000).node(node, Witness::Gateway, Fact::ConfirmationHeard { version, boot_count: 2 });
        self.node(node, Witness::Gateway, Fact::ConfirmationAcked { boot_count: 2 });
        self.outcome(node, Outcome::Updated);
    }

    /// A trial that nobody confirms, from `ms` on.
    pub fn roll_back(&mut self, node: u16, ms: u64) {
        self.at(ms).node(node, Witness::Gateway, Fact::TransferComplete { image: NEW });
        self.node(node, Witness::Power, Fact::Reset { cause: ResetCause::Software, count: 1 });
        self.at(ms + 17_000).started(node, NEW, true, ImageCheck::Valid);
        self.at(ms + 137_000).node(node, Witness::Power, Fact::Reset { cause: ResetCause::Watchdog, count: 2 });
        let (verdict, about) = (BootVerdict::RolledBack, Some(Version::new(1, 1, 0)));
        let reason = "rolled back - not confirmed within the grace period".to_owned();
        self.at(ms + 154_000).node(node, Witness::Console, Fact::BootDecided { verdict, reason, about });
        self.started(node, OLD, false, ImageCheck::Valid);
        self.outcome(node, Outcome::RolledBack);
    }

    pub fn reject(&mut self, node: u16, ms: u64) {
        self.at(ms).metadata(node, false);
        self.outcome(node, Outcome::Rejected("update rejected - migration required".to_owned()));
    }

    pub fn altered(&mut self, node: u16, block: u32, chunk: u16) -> u64 {
        let print = |fill| Fingerprint { len: 185, digest: Digest([fill; 32]) };
        let fact = Fact::Interposed {
            rule: RuleId(0),
            fault: FaultId(0),
            did: Interposition::Altered,
            kind: MessageKind::Chunk,
            from: Party::Gateway(GatewayId(1)),
            to: Some(Party::Node(NodeId(node))),
            block: Some(block),
            chunk: Some(chunk),
            sent: print(1),
            delivered: Some(print(2)),
            changed: 1,
        };
        self.push(About::Rack, Witness::Radio, fact)
    }

    pub fn outcome(&mut self, node: u16, outcome: Outcome) -> u64 {
        self.node(node, Witness::Meshos, Fact::NodeOutcome { stage: StageIndex(1), outcome })
    }

    pub fn soak(&mut self, stage: u8, minutes: u64, confirmed: u16, targeted: u16) {
        let until = self.now + Span::mins(minutes);
        self.meshos(Fact::SoakStarted { stage: StageIndex(stage), until, confirmed, targeted });
    }

    pub fn banks(&mut self, node: u16, a: Digest, check: ImageCheck) -> u64 {
        let bank =
            |digest, check| BankState { digest, check, version: Some(Version::new(1, 0, 0)), config_version: None };
        let none = FlashUse::default();
        self.node(
            node,
            Witness::Probe,
            Fact::Banks {
                moment: Moment::Final,
                a: bank(a, check),
                slot0: bank(OLD, ImageCheck::Valid),
                slot1: BankState {
                    digest: Digest([0xFF; 32]),
                    check: ImageCheck::Empty,
                    version: None,
                    config_version: None,
                },
                config: ConfigState { version: Some(2), settings: Some(Digest([7; 32])) },
                use_a: none,
                use_slot0: none,
                use_slot1: none,
                use_config: none,
            },
        )
    }

    pub fn end(&mut self, record: &mut RunRecord) {
        self.push(About::Rack, Witness::Harness, Fact::RunEnded { timed_out: false });
        record.ended = self.now;
        record.events = core::mem::take(&mut self.events);
    }
}

/// A campaign of two stages that goes well, but for the nodes named.
pub fn campaign(record: &mut RunRecord, nodes: u16, rejecting: &[u16], rolling_back: &[u16]) {
    let mut tape = Tape::new(&record.name, nodes);
    let first = nodes / 3;
    tape.at(1_000).campaign(nodes, 2);
    let mut ms = 2_000;
    for (stage, range) in [(1, 1..=first), (2, first + 1..=nodes)] {
        tape.at(ms).stage(stage, range.clone());
        for node in range.clone() {
            if !rejecting.contains(&node) {
                tape.at(ms + 200).metadata(node, true);
            }
        }
        for block in 0..16 {
            tape.at(ms + 4_000 * u64::from(block + 1)).air(block, 310 + (block as u16 * 37) % 110);
        }
        for node in range.clone() {
            match (rejecting.contains(&node), rolling_back.contains(&node)) {
                (true, _) => tape.reject(node, ms + 900),
                (false, true) => tape.roll_back(node, ms + 70_000),
                (false, false) => tape.update(node, ms + 70_000 + u64::from(node) * 300),
            }
        }
        let all = *range.end() - *range.start() + 1;
        let bad = range.filter(|n| rejecting.contains(n) || rolling_back.contains(n)).count() as u16;
        tape.at(ms + 230_000).soak(stage, 10, all - bad, all);
        ms += 230_000 + 600_000;
        tape.at(ms).meshos(Fact::StagePassed {
            stage: StageIndex(stage),
            confirmed: all - bad,
            targeted: all,
            overridden: false,
        });
    }
    tape.meshos(Fact::CampaignEnded { completed: true });
    tape.at(ms + 1_000);
    for node in 1..=nodes {
        tape.banks(
            node,
            if rejecting.contains(&node) || rolling_back.contains(&node) { OLD } else { NEW },
            ImageCheck::Valid,
        );
    }
    tape.end(record);
}

/// A forged image that a node runs: the worst that can be found.
pub fn forged(name: &str) -> RunRecord {
    let mut record = record(name, Verdict::Fail);
    let mut tape = Tape::new(name, 4);
    tape.at(1_000).campaign(4, 1);
    tape.at(2_000).stage(1, 1..=4);
    for node in 1..=4 {
        tape.at(2_200).metadata(node, true);
    }
    let proof = tape.altered(3, 7, 11);
    tape.at(60_000).node(3, Witness::Gateway, Fact::TransferComplete { image: NEW });
    tape.node(3, Witness::Console, Fact::UpdatePhase { phase: UpdatePhase::VerificationSucceeded, reason: None });
    tape.node(
        3,
        Witness::Console,
        Fact::ConsoleLine { text: "verify \u{1b}[32mok\u{1b}[0m ]]> <script>\u{0}".to_owned() },
    );
    tape.node(3, Witness::Power, Fact::Reset { cause: ResetCause::Software, count: 1 });
    let wrong = tape.at(77_123).started(3, NEW, true, ImageCheck::BadSignature);
    tape.at(80_000).outcome(3, Outcome::Updated);
    tape.end(&mut record);
    record.findings = vec![
        finding("oracle-1", Conclusion::Broken, "n03 executed an image whose signature does not verify", &[wrong]),
        finding("proof[0] bad-signature", Conclusion::Holds, "stimulus seen: image b0b0b0b0 delivered whole", &[proof]),
        finding("oracle-2", Conclusion::Holds, "4 nodes ended on a complete, valid image", &[]),
    ];
    record
}

/// A small suite with one of each verdict.
pub fn small_suite() -> SuiteRecord {
    let mut happy = record("integrity/happy-path", Verdict::Pass);
    happy.title = "A release goes out in two stages".to_owned();
    campaign(&mut happy, 6, &[], &[]);
    happy.findings = vec![finding("oracle-1", Conclusion::Holds, "12 starts, every image valid", &[])];
    let mut unproven = record("rollback/withheld#never-heard", Verdict::Inconclusive);
    campaign(&mut unproven, 3, &[], &[2]);
    unproven.findings = vec![finding("proof[0] withhold-confirmation", Conclusion::Unproven, "stimulus not seen", &[])];
    let skipped = record("thread/resume", Verdict::Skipped("the rack has no Thread nodes (thread)".to_owned()));
    let fault =
        record("field/brown-out", Verdict::RackFault("power: relay 3 does not answer; check its cable".to_owned()));
    SuiteRecord {
        name: "qualification".to_owned(),
        rack: "virtual-24".to_owned(),
        kind: RackKind::Virtual,
        seed: Seed(42),
        started: Some("2026-11-01T08:30:15Z".to_owned()),
        complete: true,
        runs: vec![fault, happy, forged("rejection/bad-signature#wrong-key"), unproven, skipped],
    }
}

/// Thirty runs of all kinds, for looking at.
pub fn large_suite() -> SuiteRecord {
    let mut suite = small_suite();
    let themes = [
        "integrity/corrupt-block",
        "rejection/missing-migration",
        "rollback/withheld",
        "stage-pause/threshold",
        "throttle/share",
    ];
    for i in 0..25_u16 {
        let theme = themes[usize::from(i) % themes.len()];
        let mut run = record(&format!("{theme}#variant-{}", i / 5), Verdict::Pass);
        run.title = format!("Variant {} of a rule that a product keeps under this fault", i / 5);
        let nodes = if i == 8 { 100 } else { 24 };
        let rejecting: Vec<u16> = if i % 5 == 1 { vec![3, 9] } else { vec![] };
        let rolling: Vec<u16> = if i % 5 == 2 { vec![5] } else { vec![] };
        campaign(&mut run, nodes, &rejecting, &rolling);
        run.wall_micros = Some(41_000 + u64::from(i) * 777);
        run.findings = (1..=9)
            .map(|n| finding(&format!("oracle-{n}"), Conclusion::Holds, "holds over the whole run", &[]))
            .collect();
        suite.runs.push(run);
    }
    suite.runs.sort_by(|a, b| a.name.cmp(&b.name));
    suite
}
