//! `hil campaign`: one campaign on the virtual rack, with a forecast before it and a comparison after it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Instant;

use clap::Args;
use hil_engine::Ended;
use hil_model::fact::OutcomeClass;
use hil_model::record::Conclusion;
use hil_model::{AirLevel, Composition, Event, Fact, NodeId, Protocol, Seed, Span, StageIndex, Time, Verdict};
use hil_report::timeline::finding_line;
use hil_scenario::{BindError, BindOptions, Forge, Plan, bind, source};

use super::replay::class_of;
use super::size;
use crate::exit::{CommandError, ExitClass};
use crate::forecast::{self, Building, Load, StageForecast};
use crate::progress::Progress;
use crate::racks::{BoundRack, RackSource};
use crate::{runner, selection};

/// What a campaign may take beyond twice its forecast.
const SLACK: Span = Span::hours(4);
/// Events between two looks at the bar.
const EVENTS_PER_LOOK: u64 = 64;

/// Arguments of `hil campaign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil campaign --nodes 100
  hil campaign --nodes 1000 --gateways 1 --throttle 40
  hil campaign --nodes 200 --fault 'silent-node: { nodes: n07 }'
  hil campaign --nodes 100 --parts ignores-threshold --fault 'withhold-confirmation: { how: never-sent }'

The policy is the product's: 20 nodes and 24 h of soak, 100 and 12 h, 250, the rest; 95 % have to confirm. The oracle \
watches as in every run. Figures are rack time unless they say wall time.")]
pub struct CampaignArgs {
    /// Nodes of the building.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=2000))]
    nodes: u16,
    /// Floors; one for each hundred nodes when left out.
    #[arg(long)]
    floors: Option<u8>,
    /// Gateways.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=32))]
    gateways: u16,
    /// Every how-many-th node is on Thread; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    thread_every: u16,
    /// Size of the images.
    #[arg(long, value_name = "SIZE", default_value = "512KiB", value_parser = size)]
    image_size: u32,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of the channel that firmware may use, per cent.
    #[arg(long, value_name = "PERCENT", default_value_t = 40, value_parser = clap::value_parser!(u8).range(1..=100))]
    throttle: u8,
    /// Groups served at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    concurrency: u8,
    /// Fidelity of the simulated air.
    #[arg(long, value_parser = level, default_value = "link")]
    level: AirLevel,
    /// A fault, as in a scenario's list of faults; may be given more than once.
    #[arg(long = "fault", value_name = "YAML")]
    faults: Vec<String>,
    /// Assemble node, gateway and campaign from wrong parts: skips-signature, never-rolls-back ...
    #[arg(long, value_parser = super::composition, default_value = "product")]
    parts: Composition,
    /// Show the campaign as a scenario file and run nothing.
    #[arg(long)]
    print: bool,
}

fn level(text: &str) -> Result<AirLevel, String> {
    serde_yaml::from_str(text).map_err(|_| "write link or air".to_owned())
}

/// Runs the command.
///
/// # Errors
/// The campaign could not be run, or the oracle is not content.
pub fn run(args: &CampaignArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let text = scenario(args);
    if args.print {
        out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let rack = BoundRack::embedded();
    let mut plan = plan(&text, &rack, args.seed)?;
    plan.provision.composition = args.parts;
    let stop = super::run::stop_on_interrupt()?;
    let forecast = tell_forecast(&plan, args, out)?;
    out.flush()?;
    // Many gateways one after the other take longer than any scenario of the suite: twice the forecast is enough.
    let expected = forecast.iter().fold(Span::ZERO, |all, stage| all + stage.delivery.times(2) + stage.soak);
    plan.deadline = plan.deadline.max(expected + SLACK);

    let started = Instant::now();
    let progress = Progress::new(plan.targets.len(), "{bar:30} {pos}/{len} {msg}");
    let mut course = Follower::default();
    let mut observer = |event: &Event| {
        course.on_event(event);
        if event.seq.is_multiple_of(EVENTS_PER_LOOK) {
            progress.set(course.outcomes.len() as u64, course.message());
        }
    };
    let (outcome, judgement) = runner::attempt_plan(&plan, &rack, &mut observer, &stop);
    progress.finish();
    let wall = started.elapsed();
    if outcome.ended == Ended::Interrupted {
        return Err(CommandError::new(ExitClass::Interrupted, format!("interrupted at {}", outcome.at)));
    }
    course.compare(&forecast, out)?;
    let events = outcome.ledger.events().len();
    writeln!(out, "wall time {:.3} s, {events} events, {}", wall.as_secs_f64(), peak_memory())?;
    for finding in judgement.findings.iter().filter(|finding| finding.conclusion != Conclusion::Holds) {
        writeln!(out, "  {}", finding_line(finding))?;
    }
    writeln!(
        out,
        "verdict {}, ledger {}\nseed {}",
        judgement.verdict.word(),
        outcome.ledger.digest().short(),
        args.seed
    )?;
    match (class_of(&judgement.verdict), &judgement.verdict) {
        (Some(_), Verdict::RackFault(why)) => Err(CommandError::new(ExitClass::RackFault, why.clone())),
        (Some(class), verdict) => Err(CommandError::new(class, format!("the campaign ended: {}", verdict.word()))),
        (None, _) => Ok(()),
    }
}

/// The campaign as a scenario file.
fn scenario(args: &CampaignArgs) -> String {
    let floors = args.floors.map_or(args.nodes.div_ceil(100), u16::from).max(1);
    let level = if args.level == AirLevel::Air { "air" } else { "link" };
    let mut text = format!(
        "title: A campaign to {nodes} nodes under the product's policy\n\
         rack: {{ nodes: {nodes}, floors: {floors}, gateways: {gateways}, thread-every: {thread}, \
         image-size: {size} B, traffic: building, level: {level} }}\n\
         campaign: {{ throttle: {throttle} %, concurrency: {concurrency} }}\n",
        nodes = args.nodes,
        gateways = args.gateways,
        thread = args.thread_every,
        size = args.image_size,
        throttle = args.throttle,
        concurrency = args.concurrency,
    );
    if !args.faults.is_empty() {
        text.push_str("faults:\n");
        for fault in &args.faults {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  - {}", fault.trim().replace('\n', "\n    "));
        }
    }
    let expected = if args.faults.is_empty() { "campaign: completed" } else { "event: { fact: campaign-started }" };
    let _ = writeln!(text, "expect:\n  - {expected}");
    text
}

fn plan(text: &str, rack: &BoundRack, seed: u64) -> Result<Plan, CommandError> {
    let scenarios = source::read("campaign", "campaign.yaml", text).map_err(|d| selection::invalid(&d))?;
    let scenario = scenarios.first().ok_or_else(|| CommandError::internal("the campaign has no scenario"))?;
    bind(scenario, rack.manifest(), Seed(seed), &Forge::new(), BindOptions::default()).map_err(|error| match error {
        BindError::Invalid(diagnostics) => {
            selection::invalid(&diagnostics).hint("`hil campaign --print` shows the file that these places are in")
        }
        BindError::Lacks(_) => CommandError::usage(error.to_string()),
    })
}

fn tell_forecast(plan: &Plan, args: &CampaignArgs, out: &mut dyn Write) -> Result<Vec<StageForecast>, CommandError> {
    let fleet = &plan.provision.fleet;
    let thread = fleet.nodes.iter().filter(|spec| spec.protocol == Protocol::Thread).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let building =
        Building { nodes: count(fleet.nodes.len()), thread: count(thread), gateways: count(fleet.gateways().len()) };
    // The limit allows two passes over every page; an install without a cut takes one.
    let install = Span(plan.limits.install.0 / 2);
    let load = Load::new(&plan.provision.profile, args.image_size, plan.policy.throttle_permille, install);
    let stages = forecast::stages(&plan.policy, &load, building);
    writeln!(out, "seed {}", args.seed)?;
    writeln!(
        out,
        "{} nodes ({} on Thread), {} gateways, {} octets, {} % of the channel",
        building.nodes, building.thread, building.gateways, args.image_size, args.throttle
    )?;
    let all: u64 = stages.iter().map(|stage| (stage.delivery + stage.soak).0).sum();
    writeln!(
        out,
        "forecast: {} in all, scenes within {} (95 of 100) while firmware is on the air",
        hours(Span(all)),
        load.scene_p95()
    )?;
    Ok(stages)
}

/// Follows the campaign from its events.
#[derive(Debug, Default)]
struct Follower {
    now: Time,
    started: Option<Time>,
    stage: Option<StageIndex>,
    /// Begin of each stage, its nodes, and begin of its soak.
    stages: BTreeMap<StageIndex, Stage>,
    outcomes: BTreeMap<NodeId, OutcomeClass>,
    peak_permille: u16,
    data_airtime_us: u64,
    deliveries: u64,
    losses: u64,
    p95_us: u32,
    ended: Option<(Time, bool)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stage {
    nodes: u32,
    opened: Time,
    delivered: Option<Time>,
    passed: Option<Time>,
}

impl Follower {
    fn on_event(&mut self, event: &Event) {
        self.now = event.at;
        match &event.fact {
            Fact::CampaignStarted { .. } => self.started = Some(event.at),
            Fact::StageStarted { stage, nodes } => {
                self.stage = Some(*stage);
                let nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
                self.stages.insert(*stage, Stage { nodes, opened: event.at, ..Stage::default() });
            }
            Fact::SoakStarted { stage, .. } => {
                self.stages.entry(*stage).or_default().delivered = Some(event.at);
            }
            Fact::StagePassed { stage, .. } => {
                let stage = self.stages.entry(*stage).or_default();
                stage.passed = Some(event.at);
                stage.delivered.get_or_insert(event.at);
            }
            Fact::NodeOutcome { outcome, .. } => {
                if let Some(node) = event.about.node() {
                    self.outcomes.insert(node, outcome.class());
                }
            }
            Fact::AirUse { data_airtime_us, peak_permille, deliveries, losses, .. } => {
                self.peak_permille = self.peak_permille.max(*peak_permille);
                self.data_airtime_us += data_airtime_us;
                self.deliveries += deliveries;
                self.losses += losses;
            }
            Fact::SceneLatency { p95_us, .. } => self.p95_us = self.p95_us.max(*p95_us),
            Fact::CampaignEnded { completed } => self.ended = Some((event.at, *completed)),
            _ => {}
        }
    }

    fn message(&self) -> String {
        let stage = self.stage.map_or_else(|| "-".to_owned(), |stage| stage.0.to_string());
        format!("{} stage {stage}, {} per mille of the channel", hours(self.now.since(Time::ZERO)), self.peak_permille)
    }

    fn compare(&self, forecast: &[StageForecast], out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\nstage  nodes       delivery   forecast  difference       soak")?;
        for ((index, stage), expected) in self.stages.iter().zip(forecast) {
            let end = stage.delivered.unwrap_or(self.now);
            let delivery = end.since(stage.opened);
            let soak = stage.passed.unwrap_or(end).since(end);
            let difference = (delivery.0 as f64 / expected.delivery.0.max(1) as f64 - 1.0) * 100.0;
            writeln!(
                out,
                "{:>5}  {:>5}  {:>13}  {:>9}  {difference:>+8.1} %  {:>9}",
                index.0,
                stage.nodes,
                hours(delivery),
                hours(expected.delivery),
                hours(soak)
            )?;
        }
        let mut classes: BTreeMap<OutcomeClass, usize> = BTreeMap::new();
        self.outcomes.values().for_each(|class| *classes.entry(*class).or_default() += 1);
        let classes: Vec<String> =
            classes.iter().map(|(class, count)| format!("{count} {}", format!("{class:?}").to_lowercase())).collect();
        let (end, word) = match self.ended {
            Some((at, true)) => (at, "completed"),
            Some((at, false)) => (at, "stopped"),
            None => (self.now, "not ended"),
        };
        let whole = end.since(self.started.unwrap_or(Time::ZERO));
        writeln!(out, "\n{word} after {}: {}", hours(whole), classes.join(", "))?;
        writeln!(
            out,
            "air: at most {}.{} % in any second, {} of firmware; {} deliveries, {} lost; scenes within {} ms",
            self.peak_permille / 10,
            self.peak_permille % 10,
            hours(Span::micros(self.data_airtime_us)),
            self.deliveries,
            self.losses,
            self.p95_us.div_ceil(1000)
        )
    }
}

/// `39:48:12`: hours, minutes, seconds.
fn hours(span: Span) -> String {
    let s = span.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// Most memory this process has held; for people, never in a report.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.map_or_else(|| "peak memory unknown".to_owned(), |kib| format!("peak memory {} MiB", kib / 1024))
}
