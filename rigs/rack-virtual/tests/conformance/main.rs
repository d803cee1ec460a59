//! The conformance suite of all racks on the virtual one: `cargo test -p rack-virtual --test conformance`.
//!
//! `virtual::` is the rack as it is, `bare::` the same with no ability that can be taken from it, and `wrong::` a rack
//! that breaks one rule: there the case has to fail. A case that no wrong rack fails would prove nothing, so each has one.

mod wrong;

use hil_model::{Action, Capability, RackManifest, Seed, Span};
use hil_rack::Rack;
use hil_rack::conformance::{Broken, CASES, Case, ConformanceKit, Patience};
use hil_scenario::{BindOptions, Forge, bind, source};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rack_virtual::VirtualRack;
use std::process::ExitCode;
use std::sync::Arc;
use wrong::{WRONGS, Wrong};

/// Four nodes, the last on Thread, and a campaign that all of them take.
const SCENARIO: &str = "title: What a rack has to carry
rack: { nodes: 4, floors: 1, gateways: 1, thread-every: 4, image-size: 64 KiB }
campaign: { stages: [{ take: rest }] }
expect: [{ campaign: completed }]
";

/// Images and policy of the scenario. None where it does not bind, which is a failure of every trial.
fn kit() -> Option<ConformanceKit> {
    let scenario = source::read("conformance/kit", "conformance.yaml", SCENARIO).ok()?.pop()?;
    let rack = VirtualRack::new();
    let plan = bind(&scenario, rack.manifest(), Seed(1), &Forge::new(), BindOptions::default()).ok()?;
    let (package, policy) = plan.actions.iter().find_map(|timed| match &timed.action {
        Action::StartCampaign { policy, package, .. } => Some((package.clone(), policy.clone())),
        _ => None,
    })?;
    let patience = Patience { action: Span::secs(1), boot: Span::secs(30), campaign: Span::hours(1) };
    Some(ConformanceKit { provision: plan.provision, package, policy, patience })
}

/// The rack with no capability but those that say what the simulation is.
fn bare() -> RackManifest {
    let kept = [Capability::VirtualTime, Capability::Thread, Capability::NodeImages];
    let mut manifest = VirtualRack::new().manifest().clone();
    manifest.capabilities.retain(|c| kept.contains(c));
    manifest
}

type Make = fn() -> Box<dyn Rack>;

fn passes(case: &Case, kit: &ConformanceKit, make: Make) -> Result<Completion, Failed> {
    let lacks = case.lacks(make().manifest());
    if let Some(first) = lacks.first() {
        return Ok(Completion::ignored_with(format!("the rack lacks {first}")));
    }
    (case.check)(kit, &mut || make()).map_err(|broken| Failed::from(broken.to_string()))?;
    Ok(Completion::Completed)
}

fn fails(case: &Case, kit: &ConformanceKit, wrong: Wrong) -> Result<(), Failed> {
    let mut made = 0;
    let judged = (case.check)(kit, &mut || {
        made += 1;
        Box::new(wrong.rack(made))
    });
    match judged {
        Err(Broken::Rule(_) | Broken::NeverCame { .. } | Broken::Failed { .. }) => Ok(()),
        Ok(()) => Err(format!("a rack that {wrong:?} keeps the rule").into()),
    }
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let Some(kit) = kit().map(Arc::new) else {
        eprintln!("the scenario of the conformance kit does not bind");
        return ExitCode::FAILURE;
    };
    let mut trials = Vec::new();
    for case in CASES {
        let name = case.name;
        let racks: [(&str, Make); 2] =
            [("virtual", || Box::new(VirtualRack::new())), ("bare", || Box::new(VirtualRack::from_manifest(bare())))];
        for (rack, make) in racks {
            let kit = Arc::clone(&kit);
            trials.push(Trial::ignorable_test(format!("{rack}::{name}"), move || passes(case, &kit, make)));
        }
        let wrongs: Vec<Wrong> = WRONGS.iter().filter(|(of, _)| *of == name).map(|(_, wrong)| *wrong).collect();
        if wrongs.is_empty() {
            trials.push(Trial::test(format!("wrong::{name}"), || Err("no rack is known that breaks this rule".into())));
        }
        for wrong in wrongs {
            let kit = Arc::clone(&kit);
            trials.push(Trial::test(format!("wrong::{name}::{wrong:?}"), move || fails(case, &kit, wrong)));
        }
    }
    trials.push(Trial::test("every_wrong_rack_is_for_a_case_there_is", || {
        let unknown = WRONGS.iter().find(|(of, _)| CASES.iter().all(|case| case.name != *of));
        unknown.map_or(Ok(()), |(of, wrong)| Err(format!("{wrong:?} is for {of}, which is no case").into()))
    }));
    libtest_mimic::run(&args, trials).exit_code()
}
