//! Rules of a campaign, over fake gateways and nodes.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;

use bench::{Behaviour, NEW, OLD, World, at, fleet, policy, secs};
use mk_campaign::journal::Record;
use mk_campaign::status::Activity;
use mk_campaign::{AlertKind, End, OperatorOrder, OrderError, Outcome, PauseReason, StageSize};
use mk_wire::Reason;
use mk_wire::distribution::{Phase, RetrievedPhase};
use mk_wire::north::{Notice, Order};
use mk_wire::vendor::BootOutcome;
use rstest::rstest;

const HOUR: u64 = 3600;

#[test]
fn a_campaign_updates_every_node_stage_by_stage() {
    let mut world = World::new(policy(&[(StageSize::Count(8), 600), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.start();
    world.run_until(at(2 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    assert!(world.outcomes().values().all(|o| *o == Some(Outcome::Updated)));
    assert!(world.nodes.values().all(|n| n.running == NEW && !n.trial));
    assert_eq!(world.count(|r| matches!(r, Record::StagePassed { overridden: false, .. })), 2);
    assert_eq!(world.gateways.values().next().unwrap().stored.len(), 1);
    assert_eq!(world.gateways.values().next().unwrap().stored[0].1, world.package.image);
    assert_eq!(world.campaign.status().progress_permille, 1000);
}

#[rstest]
#[case::one_below(94, false)]
#[case::exactly(95, true)]
#[case::one_above(96, true)]
fn a_stage_of_100_passes_with_95(#[case] good: u16, #[case] passes: bool) {
    let stages = [(StageSize::Count(100), 0), (StageSize::Rest, 0)];
    let mut world = World::new(policy(&stages), fleet(120, 2, 1));
    world.start();
    let first = world.records.iter().find_map(|r| match r {
        Record::StageStarted { nodes, .. } => Some(nodes.clone()),
        _ => None,
    });
    for addr in first.unwrap().into_iter().take(usize::from(100 - good)) {
        world.nodes.get_mut(&addr).unwrap().behaviour = Behaviour::RollsBack;
    }
    world.run_until(at(4 * HOUR));
    if passes {
        assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
        assert_eq!(world.paused(), []);
    } else {
        assert_eq!(world.campaign.activity(), Activity::Paused { stage: 0, reason: PauseReason::BelowThreshold });
        assert_eq!(world.paused(), [(0, good, 100)]);
        assert_eq!(world.count(|r| matches!(r, Record::StageStarted { .. })), 1);
    }
    assert_eq!(world.campaign.status().stages[0].rolled_back, 100 - good);
}

#[rstest]
#[case(Behaviour::Refuses(Reason::MigrationRequired), Outcome::Rejected(Reason::MigrationRequired))]
#[case(Behaviour::FailsVerification(Reason::HashMismatch), Outcome::Rejected(Reason::HashMismatch))]
#[case(Behaviour::RefusedAtBoot(Reason::SignatureBad), Outcome::Rejected(Reason::SignatureBad))]
#[case(Behaviour::RollsBack, Outcome::RolledBack(Reason::NotConfirmedInTime))]
#[case(Behaviour::AckLost, Outcome::RolledBack(Reason::NotConfirmedInTime))]
#[case::runs_without_a_confirmation(Behaviour::Kept, Outcome::Failed(RetrievedPhase::ApplySuccess))]
#[case::runs_without_an_ack(Behaviour::KeptAfterLostAck, Outcome::Failed(RetrievedPhase::ApplySuccess))]
#[case::repaired_after_its_confirmation(Behaviour::Restored, Outcome::Updated)]
#[case(Behaviour::Silent, Outcome::Unreachable)]
#[case(Behaviour::TransferBreaks(1), Outcome::Updated)]
#[case(Behaviour::TransferBreaks(9), Outcome::Failed(RetrievedPhase::TransferError))]
fn a_node_is_counted_by_what_it_says(#[case] behaviour: Behaviour, #[case] expected: Outcome) {
    let mut world = World::new(policy(&[(StageSize::Rest, 600)]), fleet(24, 2, 1));
    world.behave([5], behaviour);
    world.start();
    world.run_until(at(3 * HOUR));
    assert_eq!(world.outcome(5), Some(expected));
    let updated = 23 + u16::from(expected.is_updated());
    assert_eq!(world.campaign.status().stages[0].updated, updated);
    // 23 of 24 are 958 permille.
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
}

#[test]
fn a_missing_migration_is_shown_as_the_product_says() {
    assert_eq!(Outcome::Rejected(Reason::MigrationRequired).to_string(), "update rejected - migration required");
    assert!(!Outcome::Rejected(Reason::MigrationRequired).is_updated());
}

#[test]
fn a_node_that_runs_the_new_image_already_is_updated_without_a_transfer() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(12, 1, 1));
    world.node(3).running = NEW;
    world.node(3).outcome = BootOutcome::Confirmed;
    world.start();
    world.run_until(at(HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    assert_eq!((world.outcome(3), world.node(3).transfers), (Some(Outcome::Updated), 0));
}

#[test]
fn an_old_verdict_on_the_same_version_does_not_count() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(12, 1, 1));
    let node = world.node(3);
    (node.outcome, node.reason, node.about) = (BootOutcome::Rejected, Reason::SignatureBad, NEW);
    world.start();
    world.run_until(at(HOUR));
    assert_eq!(world.outcome(3), Some(Outcome::Updated));
}

#[test]
fn a_lost_acknowledgement_in_the_last_stage_is_found_out_before_the_campaign_completes() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave([1, 2], Behaviour::AckLost);
    world.start();
    world.run_until(at(3 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Paused { stage: 0, reason: PauseReason::BelowThreshold });
    assert_eq!(world.paused(), [(0, 22, 24)]);
}

#[test]
fn a_late_roll_back_takes_the_confirmation_back_and_pauses() {
    let mut world = World::new(policy(&[(StageSize::Count(12), 2 * HOUR), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave(1..=24, Behaviour::RollsBackLate(HOUR));
    world.start();
    world.run_until(at(6 * HOUR));
    let Activity::Paused { stage: 0, reason: PauseReason::ConfirmationWithdrawn } = world.campaign.activity() else {
        panic!("{:?}", world.campaign.activity());
    };
    assert_eq!(world.count(|r| matches!(r, Record::StageStarted { .. })), 1);
    assert!(world.paused()[0].1 < 12);
    assert_eq!(world.campaign.status().stages[0].rolled_back, 12);
}

#[rstest]
#[case::one_microsecond_before(1, 1)]
#[case::at_the_end(0, 2)]
fn a_soak_ends_exactly(#[case] before_us: u64, #[case] stages: usize) {
    let mut world = World::new(policy(&[(StageSize::Count(6), 7200), (StageSize::Rest, 0)]), fleet(12, 1, 1));
    world.start();
    world.run_until(at(HOUR));
    let until = world.records.iter().find_map(|r| match r {
        Record::SoakStarted { until, at, .. } => {
            assert_eq!(*until, *at + secs(7200));
            Some(*until)
        }
        _ => None,
    });
    let end = mk_wire::time::Instant::from_ticks(until.unwrap().as_ticks() - before_us);
    world.run_until(end);
    assert_eq!(world.count(|r| matches!(r, Record::StageStarted { .. })), stages);
}

#[rstest]
#[case::degraded(Behaviour::Degraded)]
#[case::silent(Behaviour::FallsSilent(1800))]
fn an_unhealthy_soak_pauses_and_the_operator_may_override(#[case] behaviour: Behaviour) {
    let mut world = World::new(policy(&[(StageSize::Count(12), 2 * HOUR), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave([1], behaviour);
    world.start();
    world.run_until(at(2 * HOUR));
    // 11 of 12 healthy nodes are 917 permille.
    let reason = PauseReason::Unhealthy { healthy: 11, updated: 12 };
    assert_eq!(world.campaign.activity(), Activity::Paused { stage: 0, reason });
    assert_eq!(world.paused(), [(0, 12, 12)]);
    world.order(OperatorOrder::Resume);
    world.run_until(at(5 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    assert_eq!(world.count(|r| matches!(r, Record::StagePassed { stage: 0, overridden: true, .. })), 1);
    assert_eq!(world.count(|r| matches!(r, Record::StagePassed { stage: 1, overridden: false, .. })), 1);
}

#[test]
fn a_weak_sample_is_the_weather_and_three_are_a_fault() {
    let mut world = World::new(policy(&[(StageSize::Rest, 4 * HOUR)]), fleet(12, 1, 1));
    world.start();
    world.run_until(at(HOUR));
    world.rssi_dbm = -93;
    world.run_for(120);
    assert_eq!(world.count(|r| matches!(r, Record::Health { .. })), 0);
    world.run_for(60);
    assert_eq!(world.count(|r| matches!(r, Record::Health { .. })), 12);
    assert!(matches!(world.campaign.activity(), Activity::Paused { reason: PauseReason::Unhealthy { .. }, .. }));
}

#[test]
fn resume_overrides_the_stage_that_paused_and_no_other() {
    let stages = [(StageSize::Count(12), 0), (StageSize::Count(12), 0), (StageSize::Rest, 0)];
    let mut world = World::new(policy(&stages), fleet(36, 3, 1));
    world.behave(1..=36, Behaviour::Refuses(Reason::MigrationRequired));
    world.start();
    world.run_until(at(2 * HOUR));
    assert_eq!(world.paused(), [(0, 0, 12)]);
    assert_eq!(world.campaign.on_order(world.now, OperatorOrder::Pause), Err(OrderError::WrongState { paused: true }));
    world.order(OperatorOrder::Resume);
    world.run_until(at(4 * HOUR));
    assert_eq!(world.paused(), [(0, 0, 12), (1, 0, 12)]);
    assert_eq!(world.campaign.status().stages[0].rejected, 12);
}

#[test]
fn a_crashing_image_stops_the_distribution_after_it_as_soon_as_it_is_known() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(250, 5, 1));
    world.behave(1..=250, Behaviour::RollsBack);
    world.start();
    world.run_until(at(5 * HOUR));
    assert_eq!(world.paused(), [(0, 0, 250)]);
    assert_eq!(world.count(|r| matches!(r, Record::DistributionStarted { .. })), 2);
    assert_eq!(world.gateways.values().next().unwrap().suspended, 1);
    assert_eq!(world.campaign.status().stages[0].rolled_back, 100);
    assert_eq!(world.campaign.status().stages[0].pending, 150);
}

#[test]
fn an_operators_pause_suspends_and_resume_goes_on_without_override() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.start();
    world.run_until(at(300));
    world.order(OperatorOrder::Pause);
    assert_eq!(world.paused(), [(0, 0, 24)]);
    world.run_until(at(2 * HOUR));
    assert_eq!(world.gateways.values().next().unwrap().suspended, 1);
    assert!(world.nodes.values().all(|n| n.running == OLD));
    world.order(OperatorOrder::Resume);
    world.run_until(at(3 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    assert_eq!(world.count(|r| matches!(r, Record::StagePassed { overridden: false, .. })), 1);
    assert_eq!(world.gateways.values().next().unwrap().started, 1);
}

#[test]
fn abort_cancels_what_runs_and_leaves_nodes_as_they_are() {
    let mut world = World::new(policy(&[(StageSize::Count(12), 0), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.start();
    world.run_until(at(1100));
    world.order(OperatorOrder::Abort);
    world.run_until(at(2 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Aborted));
    let running_new = world.nodes.values().filter(|n| n.running == NEW).count();
    let updated = world.outcomes().values().filter(|o| **o == Some(Outcome::Updated)).count();
    assert_eq!((running_new, updated), (12, 12));
    assert_eq!(world.gateways.values().next().unwrap().phase, Phase::Idle);
    assert_eq!(world.campaign.on_order(world.now, OperatorOrder::Resume), Err(OrderError::NotRunning));
    assert_eq!(world.campaign.next_wakeup(), None);
}

#[test]
fn roll_back_brings_every_updated_node_back() {
    let mut world = World::new(policy(&[(StageSize::Count(12), 6 * HOUR), (StageSize::Rest, 0)]), fleet(24, 2, 1));
    world.behave([1], Behaviour::Refuses(Reason::MigrationRequired));
    world.start();
    world.run_until(at(2 * HOUR));
    world.order(OperatorOrder::Resume);
    world.order(OperatorOrder::RollBack);
    world.run_until(at(4 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::RolledBack));
    assert!(world.nodes.values().all(|n| n.running == OLD && !n.trial));
    let rolled_back = Some(Outcome::RolledBack(Reason::Cancelled));
    assert_eq!(world.outcomes().values().filter(|o| **o == rolled_back).count(), 11);
    assert_eq!(world.outcome(1), Some(Outcome::Rejected(Reason::MigrationRequired)));
    assert_eq!(world.node(1).transfers, 1);
}

/// A release that raises the security counter has no way back: the nodes refuse the old image, and the operator reads why.
#[test]
fn a_roll_back_under_the_version_floor_tells_the_operator_why() {
    let mut world = World::new(policy(&[(StageSize::Rest, 6 * HOUR)]), fleet(4, 1, 1));
    world.behave(1..=4, Behaviour::WillNotGoBack(Reason::VersionTooOld));
    world.start();
    world.run_until(at(2 * HOUR));
    world.order(OperatorOrder::RollBack);
    world.run_until(at(6 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::RolledBack));
    assert!(world.nodes.values().all(|n| n.running == NEW));
    assert!(world.outcomes().values().all(|o| *o == Some(Outcome::Updated)), "what they run is the new image");
    let kind = AlertKind::RollBackIncomplete { nodes: 4, reason: Reason::VersionTooOld };
    let alert = world.alerts.iter().find(|alert| alert.kind == kind).unwrap();
    assert!(alert.to_string().contains("older than the version floor"), "{alert}");
}

#[test]
fn firmware_is_distributed_only_inside_windows_also_over_midnight() {
    let mut policy = policy(&[(StageSize::Rest, 0)]);
    // 23:50 to 00:05 local time; the run starts at 23:30. A transfer takes 10 minutes.
    policy.windows = vec![mk_campaign::Window { from_minute: 23 * 60 + 50, to_minute: 5 }];
    policy.start_minute = 23 * 60 + 30;
    let mut world = World::new(policy, fleet(250, 2, 1));
    world.start();
    world.run_until(at(20 * 60 - 1));
    assert_eq!(world.count(|r| matches!(r, Record::DistributionStarted { .. })), 0);
    world.run_until(at(20 * 60 + 1));
    assert_eq!(world.count(|r| matches!(r, Record::DistributionStarted { .. })), 1);
    // The second one is suspended when the window closes, and ends the night after.
    world.run_until(at(12 * HOUR));
    assert_eq!(world.count(|r| matches!(r, Record::DistributionEnded { .. })), 1);
    assert_eq!(world.gateways.values().next().unwrap().suspended, 1);
    world.run_until(at(3 * 24 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    assert_eq!(world.gateways.values().next().unwrap().started, 3);
    let windows: Vec<(u64, bool)> = (world.orders.iter())
        .filter_map(|(at, _, order)| match order {
            Order::Window { open } => Some((at.as_ticks() / 1_000_000, *open)),
            _ => None,
        })
        .collect();
    assert!(windows.contains(&(20 * 60, true)) && windows.contains(&(35 * 60, false)), "{windows:?}");
}

#[test]
fn every_gateway_is_told_the_throttle_before_it_distributes() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(24, 2, 2));
    world.start();
    world.run_until(at(2 * HOUR));
    for gateway in world.gateways.keys() {
        let orders = world.orders.iter().filter(|(_, g, _)| g == gateway);
        let first = orders.map(|(_, _, order)| order).find(|o| !matches!(o, Order::RequestReport { .. }));
        assert!(matches!(first, Some(Order::Throttle { permille: 400 } | Order::Window { open: true })), "{first:?}");
    }
}

#[rstest]
#[case(1, 2 * (600 + 60))]
#[case(2, 600 + 60)]
fn concurrency_is_gateways_at_once(#[case] concurrency: u8, #[case] at_least_s: u64) {
    let policy = mk_campaign::Policy { concurrency, ..policy(&[(StageSize::Rest, 0)]) };
    let mut world = World::new(policy, fleet(24, 2, 2));
    world.start();
    world.run_until(at(2 * HOUR));
    let ended = world.records.iter().find_map(|r| match r {
        Record::SoakStarted { at, .. } => Some(at.as_ticks() / 1_000_000),
        _ => None,
    });
    assert!((at_least_s..at_least_s + 100).contains(&ended.unwrap()), "{ended:?}");
}

#[test]
fn a_silent_gateway_pauses_the_campaign_and_blames_no_node() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(12, 1, 1));
    world.start();
    world.run_until(at(100));
    world.gateways.values_mut().next().unwrap().down = true;
    world.run_until(at(2 * HOUR));
    let gateway = mk_wire::Addr(1);
    assert_eq!(
        world.campaign.activity(),
        Activity::Paused { stage: 0, reason: PauseReason::GatewaySilent { gateway } }
    );
    assert!(world.paused().len() == 1);
    world.gateways.values_mut().next().unwrap().down = false;
    world.order(OperatorOrder::Resume);
    world.run_until(at(4 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    assert_eq!(world.count(|r| matches!(r, Record::StagePassed { overridden: false, .. })), 1);
}

#[test]
fn words_of_an_earlier_boot_do_not_count() {
    let mut world = World::new(policy(&[(StageSize::Rest, 6 * HOUR)]), fleet(12, 1, 1));
    world.start();
    let before = world.node(2).report();
    world.run_until(at(HOUR));
    assert_eq!(world.outcome(2), Some(Outcome::Updated));
    let (node, gateway) = (mk_wire::Addr(0x0102), mk_wire::Addr(1));
    world.campaign.on_notice(world.now, gateway, &Notice::Report { node, report: before });
    assert_eq!(world.outcome(2), Some(Outcome::Updated));
    // The same words from the boot that confirmed are the truth.
    let report = mk_wire::vendor::Report { boot_count: 8, ..before };
    world.campaign.on_notice(world.now, gateway, &Notice::Report { node, report });
    assert_eq!(world.outcome(2), Some(Outcome::RolledBack(Reason::None)));
}

#[test]
fn a_composition_without_threshold_never_pauses_for_it() {
    struct Anything;
    impl mk_campaign::ThresholdRule for Anything {
        fn met(&self, _: u32, _: u32, _: u16) -> bool {
            true
        }
    }
    let parts = mk_campaign::Parts { threshold: &Anything };
    let mut world = World::with(policy(&[(StageSize::Count(12), 0), (StageSize::Rest, 0)]), fleet(24, 2, 1), parts);
    world.behave(1..=24, Behaviour::RollsBack);
    world.start();
    world.run_until(at(4 * HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
}

/// Whatever an earlier campaign left at the gateway: what is distributed is this campaign's image.
#[rstest]
#[case(Phase::TransferActive)]
#[case(Phase::TransferSuspended)]
#[case(Phase::Completed)]
#[case(Phase::Failed)]
fn an_image_of_the_same_version_at_the_gateway_is_not_taken_for_ours(#[case] phase: Phase) {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(12, 1, 1));
    world.gateways.values_mut().next().unwrap().left_behind(NEW, phase);
    world.start();
    world.run_until(at(HOUR));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    let gateway = world.gateways.values().next().unwrap();
    assert_eq!((gateway.started, gateway.stored.len()), (1, 1));
    assert_eq!(gateway.stored[0].1, world.package.image);
}

#[test]
fn a_pause_while_nodes_install_lets_them_finish_and_does_not_hammer_the_gateway() {
    let mut world = World::new(policy(&[(StageSize::Rest, 0)]), fleet(12, 1, 1));
    world.start();
    world.run_until(at(630));
    world.order(OperatorOrder::Pause);
    let orders = world.orders.len();
    world.run_until(at(HOUR));
    assert!(world.nodes.values().all(|n| n.running == NEW && !n.trial));
    assert!(world.orders.len() < orders + 100, "{}", world.orders.len() - orders);
    assert!(matches!(world.campaign.activity(), Activity::Paused { .. }));
    world.order(OperatorOrder::Resume);
    world.run_for(HOUR);
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
}
