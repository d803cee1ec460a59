//! A distribution from Start to the last receiver, over a channel that loses messages.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod rig;

use mk_gateway::GatewayRecord;
use mk_wire::blob;
use mk_wire::distribution::{Message, Phase, RetrievedPhase, Status, UpdatePolicy};
use mk_wire::time::Duration;
use mk_wire::update;
use rig::mesh_node::Behaviour::{self, *};
use rig::{GROUP, NEW, OLD, Rig, node};
use rstest::rstest;

fn completes(rig: &Rig) {
    for stub in &rig.mesh {
        assert_eq!(stub.received(), rig.image, "{}", stub.address);
        assert_eq!((stub.running, rig.report(stub.address).phase), (NEW, RetrievedPhase::ApplySuccess));
    }
}

#[rstest]
#[case::one_by_unicast(1, 0)]
#[case::two_by_group(2, 0)]
#[case::twenty(20, 0)]
#[case::twenty_with_one_message_in_fifty_lost(20, 20)]
#[case::six_with_one_message_in_ten_lost(6, 100)]
fn every_receiver_gets_the_image_and_runs_it(#[case] nodes: usize, #[case] loss: u64) {
    let mut rig = Rig::ready(&vec![Good; nodes], 0);
    rig.loss = loss;
    assert_eq!(rig.status(Rig::start()), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
    let delivered = rig.log.iter().filter(|r| matches!(r, GatewayRecord::MetadataDelivered { accepted: true, .. }));
    assert_eq!(delivered.count(), nodes);
    let complete = rig.log.iter().filter(|r| matches!(r, GatewayRecord::TransferComplete { .. }));
    assert_eq!(complete.count(), nodes);
    let blocks = rig.log.iter().filter(|r| matches!(r, GatewayRecord::BlockDone { .. }));
    assert_eq!(blocks.count(), 5);
}

#[test]
fn a_group_is_formed_for_two_receivers_and_dissolved_and_one_receiver_needs_none() {
    for nodes in [1, 2] {
        let mut rig = Rig::ready(&vec![Good; nodes], 0);
        rig.ask(Rig::start());
        rig.run_to_end();
        let by_group = rig.sent.iter().filter(|sent| sent.to == GROUP).count();
        assert_eq!(by_group > 0, nodes > 1);
        assert!(rig.mesh.iter().all(|stub| stub.was_subscribed == (nodes > 1) && stub.subscriptions.is_empty()));
    }
}

/// What becomes of a receiver that fails in its own way, and that the two good ones beside it are updated all the same.
#[rstest]
#[case::silent(Silent, RetrievedPhase::Unknown, update::Status::InternalError, blob::Status::Success)]
#[case::silent_at_start(
    SilentAfterSubscription,
    RetrievedPhase::Unknown,
    update::Status::InternalError,
    blob::Status::Success
)]
#[case::silent_in_the_transfer(
    SilentAfterBlocks(2),
    RetrievedPhase::TransferError,
    update::Status::Success,
    blob::Status::InternalError
)]
#[case::refuses_the_metadata(
    RefusesMetadata,
    RetrievedPhase::Idle,
    update::Status::MetadataCheckFailed,
    blob::Status::Success
)]
#[case::verification_fails(
    FailsVerification,
    RetrievedPhase::VerificationFailed,
    update::Status::Success,
    blob::Status::Success
)]
#[case::never_comes_back(DiesApplying, RetrievedPhase::ApplyFailed, update::Status::Success, blob::Status::Success)]
#[case::keeps_the_old_image(KeepsOldImage, RetrievedPhase::ApplyFailed, update::Status::Success, blob::Status::Success)]
#[case::stale_status_is_ignored(
    RepeatsStaleStatus,
    RetrievedPhase::ApplySuccess,
    update::Status::Success,
    blob::Status::Success
)]
#[case::drops_an_older_update(
    HoldsOtherUpdate,
    RetrievedPhase::ApplySuccess,
    update::Status::Success,
    blob::Status::Success
)]
fn one_lost_receiver_never_fails_the_distribution(
    #[case] behaviour: Behaviour,
    #[case] phase: RetrievedPhase,
    #[case] update_status: update::Status,
    #[case] transfer_status: blob::Status,
) {
    let mut rig = Rig::ready(&[Good, behaviour, Good], 0);
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Completed);
    let report = rig.report(node(2));
    assert_eq!((report.phase, report.update_status, report.transfer_status), (phase, update_status, transfer_status));
    for good in [1, 3] {
        assert_eq!(rig.report(node(good)).phase, RetrievedPhase::ApplySuccess);
    }
}

#[test]
fn refused_metadata_is_recorded_and_costs_no_chunk() {
    let mut rig = Rig::ready(&[RefusesMetadata], 0);
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Failed);
    assert_eq!(rig.mesh[0].chunks, 0);
    let refused = rig.log.iter().any(|record| {
        matches!(record, GatewayRecord::MetadataDelivered { accepted: false, facts: Some(facts), .. } if facts.version == NEW)
    });
    assert!(refused);
}

#[test]
fn the_receivers_list_is_used_again_without_being_sent_again() {
    let mut rig = Rig::ready(&[FailsVerification, FailsVerification], 0);
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Failed);
    for stub in &mut rig.mesh {
        stub.behaviour = Good;
    }
    assert_eq!(rig.status(Rig::start()), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
}

#[test]
fn verify_only_waits_for_apply() {
    let mut rig = Rig::ready(&[Good, Good], 0);
    assert_eq!(rig.status(Rig::start_with(UpdatePolicy::VerifyOnly)), Status::Success);
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.phase() == Phase::TransferSuccess));
    rig.run_for(Duration::from_secs(120));
    assert!(rig.mesh.iter().all(|stub| stub.running == OLD));
    assert_eq!(rig.status(Message::Apply), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
}

#[test]
fn a_suspended_distribution_is_silent_and_resumes_with_the_blocks_that_are_missing() {
    let mut rig = Rig::ready(&[Good, Good, Good], 0);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.mesh.iter().all(|stub| stub.blocks() >= 2)));
    assert_eq!(rig.status(Message::Suspend), Status::Success);
    assert_eq!(rig.phase(), Phase::TransferSuspended);
    assert_eq!(rig.status(Message::Suspend), Status::Success);
    let before = rig.sent.len();
    rig.run_for(Duration::from_secs(300));
    assert_eq!(rig.sent.len(), before);
    let held: Vec<u16> = rig.mesh.iter().map(|stub| stub.blocks()).collect();
    assert!(rig.mesh.iter().all(|stub| stub.phase == update::Phase::TransferError));
    for stub in &mut rig.mesh {
        stub.blocks_begun.clear();
    }
    assert_eq!(rig.status(Rig::start()), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
    for (stub, held) in rig.mesh.iter().zip(held) {
        assert!(stub.blocks_begun.iter().all(|block| *block >= held), "a finished block was sent again");
    }
}

#[test]
fn all_receivers_falling_silent_in_the_transfer_suspends_it() {
    let mut rig = Rig::ready(&[SilentAfterBlocks(1), SilentAfterBlocks(2)], 0);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(900), |rig| rig.phase() == Phase::TransferSuspended));
    for stub in &mut rig.mesh {
        stub.behaviour = Good;
    }
    assert_eq!(rig.status(Rig::start()), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
}

#[test]
fn a_cancelled_distribution_leaves_nodes_idle_and_the_group_dissolved() {
    let mut rig = Rig::ready(&[Good, Good, Silent], 0);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.mesh[0].blocks() >= 2));
    assert_eq!(rig.status(Message::Cancel), Status::Success);
    assert_eq!(rig.phase(), Phase::CancelingUpdate);
    assert_eq!(rig.status(Rig::start()), Status::BusyWithDistribution);
    assert_eq!(rig.run_to_end(), Phase::Idle);
    for stub in &rig.mesh[..2] {
        assert_eq!((stub.phase, stub.subscriptions.len()), (update::Phase::Idle, 0));
        assert_eq!(rig.report(stub.address).phase, RetrievedPhase::TransferCanceled);
    }
    // And the same receivers and image can be used at once.
    rig.mesh[2].behaviour = Good;
    assert_eq!(rig.status(Rig::start()), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
}

/// Kills the gateway at different moments of a distribution; it goes on by itself, and no finished block is sent again.
#[rstest]
fn a_gateway_that_dies_goes_on_where_it_was(#[values(0, 1, 3, 8, 20, 40, 60, 70, 75, 90, 120)] after_s: u64) {
    let mut rig = Rig::ready(&[Good, Good, FailsVerification, Good], 0);
    rig.loss = 5;
    rig.ask(Rig::start());
    rig.run_for(Duration::from_secs(after_s));
    let held: Vec<u16> = rig.mesh.iter().map(|stub| stub.blocks()).collect();
    for stub in &mut rig.mesh {
        stub.blocks_begun.clear();
    }
    rig.restart();
    assert_eq!(rig.run_to_end(), Phase::Completed);
    for (stub, held) in rig.mesh.iter().zip(held) {
        let failing = stub.behaviour == FailsVerification;
        assert_eq!(stub.running, if failing { OLD } else { NEW });
        assert_eq!(stub.received(), rig.image);
        if !failing {
            assert!(stub.blocks_begun.iter().all(|block| *block >= held), "a finished block was sent again");
            assert_eq!(rig.report(stub.address).phase, RetrievedPhase::ApplySuccess);
        }
    }
    assert_eq!(rig.report(node(3)).phase, RetrievedPhase::VerificationFailed);
}

#[test]
fn a_gateway_that_dies_every_few_seconds_still_gets_there() {
    let mut rig = Rig::ready(&[Good, Good], 0);
    rig.ask(Rig::start());
    for _ in 0..40 {
        rig.run_for(Duration::from_secs(7));
        rig.restart();
    }
    assert_eq!(rig.run_to_end(), Phase::Completed);
    completes(&rig);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut rig = Rig::ready(&[Good, SilentAfterBlocks(3), Good, FailsVerification], 2);
        rig.loss = 30;
        rig.ask(Rig::start());
        rig.run_to_end();
        (rig.now, rig.log, rig.sent.into_iter().map(|sent| (sent.at, sent.to, sent.bytes)).collect::<Vec<_>>())
    };
    assert!(run() == run());
}
