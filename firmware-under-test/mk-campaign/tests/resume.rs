//! A campaign that is killed after any of its records, with a torn record behind, ends as one that was not.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;

use bench::{Behaviour, Event, NEW, OLD, World, at, fleet, package, policy};
use mk_campaign::journal::{self, Record};
use mk_campaign::status::Activity;
use mk_campaign::{Campaign, CampaignError, OperatorOrder, Outcome, Parts, PauseReason, ResumeError, StageSize};
use mk_wire::distribution::RetrievedPhase;
use mk_wire::time::Instant;
use mk_wire::{Addr, Reason, Version};
use rstest::rstest;
use std::collections::BTreeMap;

const HOUR: u64 = 3600;

/// How a campaign went, without the times.
#[derive(PartialEq, Eq, Debug)]
struct Ended {
    activity: Activity,
    outcomes: BTreeMap<Addr, Option<Outcome>>,
    running: BTreeMap<Addr, (Version, u8)>,
    stages: Vec<(u8, Vec<Addr>)>,
    passed: Vec<(u8, u16, bool)>,
    pauses: Vec<(u8, PauseReason)>,
}

fn ended(world: &World) -> Ended {
    // Every pause was told.
    world.paused();
    Ended {
        activity: world.campaign.activity(),
        outcomes: world.outcomes(),
        running: world.nodes.iter().map(|(addr, node)| (*addr, (node.running, node.transfers))).collect(),
        stages: pick(world, |r| match r {
            Record::StageStarted { stage, nodes, .. } => Some((*stage, nodes.clone())),
            _ => None,
        }),
        passed: pick(world, |r| match r {
            Record::StagePassed { stage, confirmed, overridden, .. } => Some((*stage, *confirmed, *overridden)),
            _ => None,
        }),
        pauses: pick(world, |r| match r {
            Record::Paused { stage, reason, .. } => Some((*stage, *reason)),
            _ => None,
        }),
    }
}

fn pick<T>(world: &World, select: impl Fn(&Record) -> Option<T>) -> Vec<T> {
    world.records.iter().filter_map(select).collect()
}

/// Everything a node can do, over two gateways, a soak, a pause and an override.
fn mixed(crash_after: Option<usize>) -> World {
    let stages = [(StageSize::Count(6), 1800), (StageSize::Percent(50), 0), (StageSize::Rest, 900)];
    let mut policy = policy(&stages);
    policy.success_permille = 600;
    policy.health.healthy_permille = 500;
    policy.concurrency = 2;
    let mut world = World::new(policy, fleet(24, 2, 2));
    for (node, behaviour) in [
        (2, Behaviour::Refuses(Reason::MigrationRequired)),
        (7, Behaviour::FailsVerification(Reason::HashMismatch)),
        (9, Behaviour::RollsBack),
        (11, Behaviour::AckLost),
        (13, Behaviour::Silent),
        (15, Behaviour::TransferBreaks(1)),
        (17, Behaviour::TransferBreaks(9)),
        (19, Behaviour::RefusedAtBoot(Reason::SignatureBad)),
        (23, Behaviour::FallsSilent(300)),
    ] {
        world.node(node).behaviour = behaviour;
    }
    world.crash_after = crash_after;
    world.start();
    world.schedule(at(400), Event::Operator(OperatorOrder::Pause));
    world.schedule(at(900), Event::Operator(OperatorOrder::Resume));
    world
}

/// A stage under its threshold, resumed by the operator, then rolled back.
fn rolled_back(crash_after: Option<usize>) -> World {
    let mut world = World::new(policy(&[(StageSize::Count(12), 2 * HOUR), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave([1, 3], Behaviour::RollsBack);
    world.crash_after = crash_after;
    world.start();
    world.schedule(at(HOUR), Event::Operator(OperatorOrder::Resume));
    world.schedule(at(HOUR + 1800), Event::Operator(OperatorOrder::RollBack));
    world
}

/// Aborted while a distribution is on the air.
fn aborted(crash_after: Option<usize>) -> World {
    let mut world = World::new(policy(&[(StageSize::Count(12), 0), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.crash_after = crash_after;
    world.start();
    world.schedule(at(1100), Event::Operator(OperatorOrder::Abort));
    world
}

#[rstest]
#[case::mixed(mixed, 4 * HOUR)]
#[case::rolled_back(rolled_back, 6 * HOUR)]
#[case::aborted(aborted, 2 * HOUR)]
fn a_crash_after_any_record_changes_nothing(#[case] script: fn(Option<usize>) -> World, #[case] until: u64) {
    let mut whole = script(None);
    whole.run_until(at(until));
    let expected = ended(&whole);
    assert!(matches!(expected.activity, Activity::Ended(_)), "{:?}", expected.activity);
    for k in 1..=whole.records.len() {
        let mut world = script(Some(k));
        world.run_until(at(until));
        assert_eq!(world.crashes, 1, "record {k} was made");
        assert_eq!(ended(&world), expected, "after record {k}: {:?}", whole.records[k - 1]);
    }
}

#[test]
fn the_scripts_show_every_outcome() {
    let mut world = mixed(None);
    world.run_until(at(4 * HOUR));
    let outcomes: Vec<Outcome> = world.outcomes().into_values().flatten().collect();
    for outcome in [
        Outcome::Updated,
        Outcome::Rejected(Reason::MigrationRequired),
        Outcome::Rejected(Reason::HashMismatch),
        Outcome::Rejected(Reason::SignatureBad),
        Outcome::RolledBack(Reason::NotConfirmedInTime),
        Outcome::Unreachable,
        Outcome::Failed(RetrievedPhase::TransferError),
    ] {
        assert!(outcomes.contains(&outcome), "{outcome:?}");
    }
}

/// A campaign that is killed after every record it makes.
#[test]
fn a_crash_after_every_record_changes_nothing() {
    let mut whole = mixed(None);
    whole.run_until(at(4 * HOUR));
    let mut world = mixed(None);
    world.crash_always = true;
    world.run_until(at(4 * HOUR));
    assert!(world.crashes > 50, "{}", world.crashes);
    assert_eq!(ended(&world), ended(&whole));
}

#[test]
fn a_paused_campaign_alerts_again_and_stays_paused() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave([1, 3], Behaviour::RollsBack);
    world.start();
    world.run_until(at(HOUR));
    let told = world.alerts.len();
    let before = world.campaign.activity();
    assert!(matches!(before, Activity::Paused { .. }));
    world.crash();
    world.run_for(HOUR);
    assert_eq!(world.campaign.activity(), before);
    assert_eq!(world.alerts[told..], [*world.alerts[..told].last().unwrap()]);
}

#[test]
fn a_soak_whose_end_was_missed_watches_the_nodes_before_it_passes() {
    let mut world = World::new(policy(&[(StageSize::Count(12), 2 * HOUR), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave([1], Behaviour::FallsSilent(600));
    world.start();
    // MeshOS is down from before the silence could be noticed until after the end of the soak.
    world.run_until(at(1200));
    assert!(matches!(world.campaign.activity(), Activity::Soaking { .. }));
    world.now = at(4 * HOUR);
    world.crash();
    world.run_until(at(6 * HOUR));
    let reason = PauseReason::Unhealthy { healthy: 11, updated: 12 };
    assert_eq!(world.campaign.activity(), Activity::Paused { stage: 0, reason });
}

#[test]
fn resume_refuses_what_is_not_this_campaigns() {
    let (new, old) = (package(NEW, 100), package(OLD, 100));
    let fleet = fleet(4, 1, 1);
    let policy = policy(&[(StageSize::Rest, 0)]);
    let campaign = Campaign::new(policy.clone(), fleet.clone(), new.clone(), Some(old.clone()), Parts::product());
    let created = campaign.unwrap().poll_journal().unwrap();
    let resume =
        |records: Vec<Record>, package, rollback| Campaign::resume(records, package, rollback, Parts::product()).err();
    assert_eq!(resume(vec![], new.clone(), None), Some(ResumeError::NotCreated));
    assert_eq!(resume(vec![created.clone()], new.clone(), Some(old.clone())), None);
    assert!(matches!(resume(vec![created.clone()], new.clone(), None), Some(ResumeError::OtherPackage { .. })));
    let other = mk_campaign::Package { image: vec![1; 100], ..new.clone() };
    assert!(matches!(resume(vec![created.clone()], other, Some(old.clone())), Some(ResumeError::OtherPackage { .. })));
    for record in [
        created.clone(),
        Record::Surveyed { at: at(1) },
        Record::Retry { node: Addr(0x7000) },
        Record::StageStarted { stage: 9, at: at(1), nodes: vec![] },
        Record::DistributionEnded { number: 3, at: at(1), end: journal::DistributionEnd::Completed, receivers: vec![] },
        Record::Operator { order: OperatorOrder::Resume, at: at(1) },
    ] {
        let records = vec![created.clone(), Record::Started { at: at(0) }, record];
        assert_eq!(resume(records, new.clone(), Some(old.clone())), Some(ResumeError::Inconsistent { index: 2 }));
    }
    let same = Campaign::new(policy, fleet, new.clone(), Some(new), Parts::product()).err();
    assert_eq!(same, Some(CampaignError::SameVersion(NEW)));
}

#[test]
fn a_torn_record_is_dropped_and_a_damaged_one_is_not_passed_over() {
    let mut world = aborted(None);
    world.run_until(at(2 * HOUR));
    let whole = journal::read(&world.file).unwrap();
    assert_eq!((whole.records.len(), whole.good_len), (world.records.len(), world.file.len()));
    assert_eq!(whole.records, world.records);
    let mut last = Vec::new();
    world.records.last().unwrap().encode(&mut last).unwrap();
    let start = world.file.len() - last.len();
    for cut in start..world.file.len() {
        let contents = journal::read(&world.file[..cut]).unwrap();
        assert_eq!((contents.records.len(), contents.good_len), (world.records.len() - 1, start));
    }
    // The last record, damaged in any octet but its length, is torn; any other is damage.
    for octet in start + 4..world.file.len() {
        let mut file = world.file.clone();
        file[octet] ^= 0x40;
        assert_eq!(journal::read(&file).unwrap().good_len, start);
    }
    let mut file = world.file.clone();
    file[20] ^= 1;
    let damaged = journal::read(&file).unwrap_err();
    assert_eq!((damaged.offset, damaged.records), (0, 0));
}

#[test]
fn resumed_at_the_same_instant_nothing_is_sent_twice_but_what_is_idempotent() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(12, 1, 1));
    world.start();
    world.run_until(at(300));
    assert_eq!(world.gateways.values().next().unwrap().started, 1);
    world.crash();
    world.run_until(Instant::from_ticks(HOUR * 1_000_000));
    assert_eq!(world.gateways.values().next().unwrap().started, 1);
    assert_eq!(world.gateways.values().next().unwrap().stored.len(), 1);
    assert!(world.nodes.values().all(|n| n.running == NEW && n.transfers == 1));
}
