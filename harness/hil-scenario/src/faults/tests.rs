//! Every fault with its worked example: it binds, it needs something, it is proven by its stimulus and by nothing less.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::MANUAL;
use crate::monitor::Monitor as _;
use crate::plan::Plan;
use crate::proof::ProofMonitor;
use crate::testing::{plan, planned};
use hil_model::action::Tear;
use hil_model::fact::{Fingerprint, Interposition};
use hil_model::record::Conclusion;
use hil_model::{
    About, Action, AirEffect, AirRule, Capability, Digest, Event, Fact, HoldUntil, ImageCheck, MessageKind, NodeId,
    Party, Power, Receivers, Span, Time, Trigger, When, Witness,
};
use rstest::rstest;

const EXPECT: &[&str] = &["campaign: completed"];

/// The stimulus of a plan as a perfect rack would record it: what every action does, and the package delivered and run.
fn stimulus(plan: &Plan) -> Vec<Event> {
    let mut facts: Vec<(About, Fact)> = Vec::new();
    for timed in &plan.actions {
        let fault = timed.fault;
        match &timed.action {
            Action::AddAirRule(rule) => facts.extend(interposed(plan, rule)),
            Action::ProbeWrite(node, write) => facts.push((
                About::Node(*node),
                Fact::ProbeWrote { fault, area: write.area, offset: write.offset, before: vec![0], after: vec![1] },
            )),
            Action::Power(node, Power::CutAtOperation { operation, tear, .. }) => facts.push((
                About::Node(*node),
                Fact::PowerCut { fault, operation: *operation, address: 0, tear: *tear, before: [0; 4], after: [1; 4] },
            )),
            Action::Power(node, _) => facts.push((About::Node(*node), Fact::PowerOff)),
            Action::RestartGateway(gateway, _) => {
                facts.push((About::Gateway(*gateway), Fact::GatewayDown));
                facts.push((About::Gateway(*gateway), Fact::GatewayUp));
            }
            Action::RestartMeshos(_) => {
                facts.push((About::Campaign, Fact::MeshosDown));
                facts.push((About::Campaign, Fact::MeshosUp { records: 12 }));
            }
            Action::StartCampaign { package, .. } => facts.extend(delivered(plan, package)),
            Action::Operator(_) | Action::RemoveAirRule(_) | Action::ProbeRead(_) => {}
        }
    }
    let event = |(seq, (about, fact)): (usize, (About, Fact))| Event {
        seq: seq as u64,
        at: Time(seq as u64),
        about,
        witness: Witness::Harness,
        fact,
    };
    facts.into_iter().enumerate().map(event).collect()
}

fn delivered(plan: &Plan, package: &hil_model::PackageSupply) -> Vec<(About, Fact)> {
    let image = &package.image;
    let metadata = Digest(fixture_images::sha256(&image.metadata));
    let facts = |node: NodeId| {
        [
            Fact::MetadataDelivered { version: image.version, config_version: 2, metadata, accepted: true },
            Fact::TransferComplete { image: image.digest },
            Fact::ImageStarted {
                digest: image.digest,
                check: ImageCheck::Valid,
                version: None,
                build: String::new(),
                trial: true,
                wants_config: None,
            },
        ]
        .map(|fact| (About::Node(node), fact))
    };
    plan.targets.iter().flat_map(|node| facts(*node)).collect()
}

fn interposed(plan: &Plan, rule: &AirRule) -> Vec<(About, Fact)> {
    let kinds: &[Interposition] = match &rule.effect {
        AirEffect::Drop => &[Interposition::Dropped],
        AirEffect::Alter { .. } => &[Interposition::Altered],
        AirEffect::Delay(_) => &[Interposition::Held, Interposition::Released],
        AirEffect::Duplicate { .. } => &[Interposition::Duplicated],
        AirEffect::Reorder { .. } => &[Interposition::Reordered],
        AirEffect::Replay(_) => &[Interposition::Replayed],
    };
    let receivers = match (&rule.matches.receivers, rule.matches.from) {
        (Receivers::Only(nodes), _) => nodes.clone(),
        (Receivers::All, Some(Party::Node(_))) => vec![NodeId(1)],
        (Receivers::All, _) => plan.targets.clone(),
    };
    let print = |byte| Fingerprint { len: 1, digest: Digest([byte; 32]) };
    let fact = |to: NodeId, did: Interposition| Fact::Interposed {
        rule: rule.id,
        fault: rule.fault,
        did,
        kind: rule.matches.kind,
        from: rule.matches.from.unwrap_or(Party::AnyGateway),
        to: match rule.matches.from {
            Some(Party::Node(_)) => Some(Party::AnyGateway),
            _ => Some(Party::Node(to)),
        },
        block: None,
        chunk: None,
        sent: print(1),
        delivered: (did != Interposition::Dropped).then(|| print(2)),
        changed: 1,
    };
    receivers.iter().flat_map(|to| kinds.iter().map(|did| (About::Rack, fact(*to, *did)))).collect()
}

fn proven(plan: &Plan, events: &[Event]) -> Conclusion {
    let fault = &plan.faults[0];
    let mut monitor = ProofMonitor::new(0, fault.kind, &fault.proof);
    events.iter().for_each(|event| monitor.on_event(event));
    monitor.close(plan).conclusion
}

#[test]
fn every_worked_example_is_proven_by_its_stimulus_and_not_without_it() {
    for entry in MANUAL {
        let with = plan(&[entry.example], EXPECT);
        assert_eq!(with.faults[0].kind, entry.name);
        assert!(!with.faults[0].proof.clauses.is_empty(), "{} proves nothing", entry.name);
        assert_eq!(proven(&with, &stimulus(&with)), Conclusion::Holds, "{}", entry.name);
        // The injector off: the same scenario, the same rack, everything else as it was.
        let without = planned(&[entry.example], EXPECT, false);
        assert_eq!(proven(&without, &stimulus(&without)), Conclusion::Unproven, "{}", entry.name);
        assert!(!with.needs.is_empty(), "{} needs nothing of a rack", entry.name);
    }
}

#[test]
fn one_node_less_is_no_proof() {
    let plan = plan(&["power-cut: { nodes: [n03, n04], during: install, operation: 7 }"], EXPECT);
    let mut events = stimulus(&plan);
    assert_eq!(proven(&plan, &events), Conclusion::Holds);
    events.retain(|event| event.about != About::Node(NodeId(4)));
    assert_eq!(proven(&plan, &events), Conclusion::Unproven);
}

#[test]
fn an_alteration_that_changed_nothing_is_no_proof() {
    let plan = plan(&["corrupt-block: { nodes: n03, block: first, what: bit }"], EXPECT);
    let mut events = stimulus(&plan);
    for event in &mut events {
        if let Fact::Interposed { changed, .. } = &mut event.fact {
            *changed = 0;
        }
    }
    assert_eq!(proven(&plan, &events), Conclusion::Unproven);
}

#[test]
fn the_effect_of_another_fault_is_no_proof() {
    let two =
        ["message: { kind: chunk, nodes: n04, effect: drop }", "message: { kind: chunk, nodes: n03, effect: drop }"];
    let plan = plan(&two, EXPECT);
    let events: Vec<Event> = stimulus(&plan)
        .into_iter()
        .filter(|event| !matches!(event.fact, Fact::Interposed { fault, .. } if fault.0 == 0))
        .collect();
    assert_eq!(proven(&plan, &events), Conclusion::Unproven);
}

fn rules(plan: &Plan) -> Vec<AirRule> {
    let rule = |timed: &hil_model::TimedAction| match &timed.action {
        Action::AddAirRule(rule) => Some(rule.clone()),
        _ => None,
    };
    plan.actions.iter().filter_map(rule).collect()
}

#[test]
fn a_block_on_a_thread_node_is_a_coap_block() {
    let plan = plan(&["corrupt-block: { nodes: [n03, n06], block: last, what: block }"], EXPECT);
    let rules = rules(&plan);
    // 64 KiB: 16 BLOB blocks of 4 KiB, 256 CoAP blocks of 256 octets.
    assert_eq!((rules[0].matches.kind, rules[0].matches.block), (MessageKind::Chunk, Some(15)));
    assert_eq!((rules[1].matches.kind, rules[1].matches.block), (MessageKind::CoapBlock, Some(255)));
    assert_eq!(rules[1].matches.receivers, Receivers::Only(vec![NodeId(6)]));
}

#[test]
fn what_is_altered_for_everybody_needs_no_per_receiver_interposer() {
    let needs =
        |nodes: &str| plan(&[&format!("corrupt-block: {{ nodes: {nodes}, block: 1, what: bit }}")], EXPECT).needs;
    assert!(needs("n03").contains(&Capability::AirPerReceiver));
    assert!(!needs("all").contains(&Capability::AirPerReceiver));
    // An acknowledgement is addressed to one node: any interposer can drop it for that node.
    let ack = plan(&["withhold-confirmation: { how: ack-lost, nodes: n03 }"], EXPECT).needs;
    assert!(ack.contains(&Capability::AirInterpose) && !ack.contains(&Capability::AirPerReceiver));
}

#[rstest]
#[case("until-before-grace: 1 s", 119)]
#[case("until-after-grace: 1 s", 121)]
fn a_confirmation_is_held_on_either_side_of_the_limit(#[case] how: &str, #[case] seconds: u64) {
    let plan = plan(&[&format!("withhold-confirmation: {{ how: {{ {how} }}, nodes: n03 }}")], EXPECT);
    let until = HoldUntil::AfterTrialStart(Span::secs(seconds));
    assert_eq!(rules(&plan)[0].effect, AirEffect::Delay(until));
}

#[rstest]
#[case("bad-signature: { how: wrong-key }", ImageCheck::BadSignature)]
#[case("bad-signature: { how: unsigned }", ImageCheck::Unsigned)]
#[case("bad-signature: { how: payload-bit }", ImageCheck::HashMismatch)]
#[case("bad-signature: { how: payload-bit-rehashed }", ImageCheck::BadSignature)]
#[case("bad-signature: { how: other-image }", ImageCheck::BadSignature)]
#[case("bad-signature: { how: wrong-key, layer: update-start }", ImageCheck::Valid)]
#[case("missing-migration: { how: no-handler, layer: verifying }", ImageCheck::Valid)]
#[case("missing-migration: { how: no-handler, layer: verifying, and-bad-signature: true }", ImageCheck::BadSignature)]
#[case("tampered-image: { how: truncated }", ImageCheck::Malformed)]
#[case("wrong-board: { layer: verifying }", ImageCheck::Valid)]
fn the_examiner_knows_what_the_package_carries(#[case] fault: &str, #[case] want: ImageCheck) {
    let plan = plan(&[fault], EXPECT);
    assert_eq!(plan.labelled(Plan::CANDIDATE).unwrap().check, want);
}

#[test]
fn metadata_that_hide_a_missing_migration_are_signed_and_say_otherwise() {
    let plan = plan(&["missing-migration: { how: no-handler, layer: verifying }"], EXPECT);
    let Action::StartCampaign { package, .. } = &plan.actions[0].action else { panic!("no campaign") };
    let said = fixture_images::Metadata::read(&package.image.metadata).unwrap();
    let image = fixture_images::examine(&package.image.bytes, None).facts.unwrap();
    assert_eq!(said.config_migration_version, 2);
    assert_eq!(image.config_migration_version, Some(3));
    let key = fixture_images::TestKey::release();
    let public = fixture_images::Signer::public(&key);
    assert!(fixture_images::metadata::verifies(&package.image.metadata, public, fixture_images::metadata::COMPANY_ID));
}

#[test]
fn staging_is_altered_after_verification_and_becomes_what_was_meant() {
    let plan = plan(&["missing-migration: { how: no-handler, layer: boot, nodes: n03 }"], EXPECT);
    let timed = plan.actions.iter().find(|timed| matches!(timed.action, Action::ProbeWrite(..))).unwrap();
    let When::After { trigger: Trigger::Phase(node, phase), nth: 1, .. } = timed.when else {
        panic!("{:?}", timed.when)
    };
    assert_eq!((node, phase), (NodeId(3), hil_model::fact::UpdatePhase::VerificationSucceeded));
    let Action::ProbeWrite(_, write) = &timed.action else { panic!("no write") };
    let Action::StartCampaign { package, .. } = &plan.actions[0].action else { panic!("no campaign") };
    let mut staged = package.image.bytes.to_vec();
    for (i, mask) in write.mask.iter().enumerate() {
        staged[write.offset as usize + i] ^= mask;
    }
    let facts = fixture_images::examine(&staged, None).facts.unwrap();
    assert_eq!(facts.config_migration_version, Some(3));
    assert_eq!(plan.labelled(Plan::CANDIDATE).unwrap().config_version, 2);
}

#[test]
fn every_tear_has_its_word() {
    for (word, tear) in [("done", Tear::Done), ("first-word-left", Tear::FirstWordLeft)] {
        let fault = format!("power-cut: {{ nodes: n03, during: trial, operation: 3, tear: {word} }}");
        let plan = plan(&[&fault], EXPECT);
        assert!(plan.actions.iter().any(|timed| matches!(
            timed.action,
            Action::Power(_, Power::CutAtOperation { tear: planned, operation: 3, .. }) if planned == tear
        )));
    }
}
