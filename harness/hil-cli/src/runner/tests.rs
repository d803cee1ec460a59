//! Rules of the runner, with racks that fail as told.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::AtomicU32;

use hil_model::{Action, Event as ModelEvent, FaultId, Provision, RackManifest};
use hil_rack::{Observation, Rack, RackError};
use hil_scenario::source;
use rstest::rstest;

use super::*;
use crate::racks::BoundRack;

const SMALL: &str = "\
title: A small update
rack: { nodes: 2, floors: 1, thread-every: 0, image-size: 32 KiB }
campaign: { stages: [{ take: rest }] }
expect: [{ campaign: completed }]
";

/// A rack that does not get ready the first few times, and then is the embedded one.
struct Moody {
    inner: BoundRack,
    failures: AtomicU32,
    panics: bool,
}

struct Broken {
    manifest: RackManifest,
    panics: bool,
}

impl Moody {
    fn new(failures: u32) -> Self {
        Self { inner: BoundRack::embedded(), failures: AtomicU32::new(failures), panics: false }
    }
}

impl RackSource for Moody {
    fn manifest(&self) -> &RackManifest {
        self.inner.manifest()
    }
    fn open(&self) -> Result<Box<dyn Rack>, RackError> {
        let left = self.failures.load(Ordering::Relaxed);
        if left == 0 {
            return self.inner.open();
        }
        self.failures.store(left - 1, Ordering::Relaxed);
        Ok(Box::new(Broken { manifest: self.manifest().clone(), panics: self.panics }))
    }
}

impl Rack for Broken {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }
    fn prepare(&mut self, _: &Provision) -> Result<(), RackError> {
        assert!(!self.panics, "a bug on purpose");
        let (part, what, next) = ("cable".to_owned(), "pulled".to_owned(), "plug it in".to_owned());
        Err(RackError::Broken { part, what, next })
    }
    fn apply(&mut self, _: &Action, _: Option<FaultId>) -> Result<(), RackError> {
        Ok(())
    }
    fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        Ok(Observation { events: Vec::new(), now: until, quiet: true })
    }
    fn collect(&mut self) -> Result<Vec<ModelEvent>, RackError> {
        Ok(Vec::new())
    }
    fn release(&mut self) {}
}

fn settings(retries: u8) -> Settings<'static> {
    Settings { seed: Seed(1), inject: true, retries, wall_times: false, jobs: 1, options: "" }
}

fn run(rack: &dyn RackSource, retries: u8) -> RunRecord {
    let scenario = &source::read("test/small", "small.yaml", SMALL).unwrap()[0];
    run_guarded(scenario, rack, &Forge::new(), &settings(retries), &AtomicBool::new(false)).into_record().unwrap()
}

#[rstest]
#[case::at_once(0, 0, "pass", false)]
#[case::fails_and_is_not_tried_again(1, 0, "rack fault", false)]
#[case::fails_and_then_passes(1, 1, "inconclusive", true)]
#[case::fails_more_often_than_it_is_tried(3, 2, "rack fault", false)]
fn a_retry_that_passes_is_flaky_and_no_pass(
    #[case] failures: u32,
    #[case] retries: u8,
    #[case] verdict: &str,
    #[case] flaky: bool,
) {
    let record = run(&Moody::new(failures), retries);
    assert_eq!((record.verdict.word(), is_flaky(&record)), (verdict, flaky), "{:?}", record.findings);
}

#[test]
fn a_panic_ends_one_run_and_says_whose_fault_it_is() {
    let rack = Moody { panics: true, ..Moody::new(1) };
    let record = run(&rack, 0);
    assert!(matches!(&record.verdict, Verdict::RackFault(why) if why.contains("a bug on purpose")));
    assert_eq!(run(&rack, 0).verdict, Verdict::Pass);
}

#[test]
fn a_rack_that_lacks_something_skips_with_the_reason() {
    let mut manifest = BoundRack::embedded().manifest().clone();
    manifest.capabilities.clear();
    let rack = BoundRack::of_manifest(manifest).unwrap();
    let text = SMALL.replace("thread-every: 0", "thread-every: 1");
    let scenario = &source::read("test/small", "small.yaml", &text).unwrap()[0];
    let done = run_one(scenario, &rack, &Forge::new(), &settings(0), &AtomicBool::new(false));
    assert!(matches!(done.record().unwrap().verdict, Verdict::Skipped(_)), "{done:?}");
}

#[test]
fn a_contradiction_is_invalid_and_a_stop_is_no_result() {
    let rack = BoundRack::embedded();
    let scenario = |text: &str| source::read("test/small", "small.yaml", text).unwrap().remove(0);
    let wrong = scenario(&format!("{SMALL}faults: [{{ silent-node: {{ nodes: n09 }} }}]\n"));
    let run = |scenario: &Scenario, stop| run_one(scenario, &rack, &Forge::new(), &settings(0), &AtomicBool::new(stop));
    assert!(matches!(run(&wrong, false), Done::Invalid(d) if d[0].line > 0));
    assert!(matches!(run(&scenario(SMALL), true), Done::Stopped));
}

#[rstest]
fn results_come_in_order_with_any_number_of_threads(#[values(1, 2, 7)] jobs: usize) {
    let mut seen = Vec::new();
    // Earlier ones take longer.
    let work = |n: usize| {
        thread::sleep(std::time::Duration::from_millis(20 - 2 * n as u64));
        n * n
    };
    in_parallel(10, jobs, &work, &mut |place, square| seen.push((place, square)));
    assert_eq!(seen, (0..10).map(|n| (n, n * n)).collect::<Vec<_>>());
}
