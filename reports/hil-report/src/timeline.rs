//! The timeline of a run: what a tired engineer reads first when a run failed.
//!
//! Time, whom, seen by whom, what; the first wrong line marked `>>`, other cited lines `*`; then seed and the command
//! that repeats the run. Nodes that nothing is wrong with are counted, not listed, and the length is bounded: the whole
//! story is in the ledger.

use crate::xml_text::{clean, clean_line};
use hil_model::fact::{BootVerdict, Moment};
use hil_model::record::Conclusion;
use hil_model::{About, Event, Fact, Finding, ImageCheck, NodeId, Party, RunRecord, Time, Verdict, words};
use std::collections::{BTreeMap, BTreeSet};

/// Most lines between head and foot.
pub const MAX_LINES: usize = 240;
/// Lines kept at the beginning and at the end of a longer story; the rest is kept around the first wrong line.
const KEPT_AT_ENDS: usize = 50;
/// Nodes whose every event is shown.
const MAX_SUSPECTS: usize = 6;
/// Like lines in a row that are shown before the rest of them is counted.
const LIKE_LINES: usize = 3;
/// Kinds of events named in a line that counts.
const KINDS_NAMED: usize = 5;

/// The timeline of a run as text, ending in a line feed.
#[must_use]
pub fn timeline(run: &RunRecord) -> String {
    let mut out = head(run);
    let lines = lines(run);
    for line in cut(lines) {
        out.push_str(&line.text);
        out.push('\n');
    }
    out.push_str(&foot(run));
    out
}

/// A line of the story.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    /// The first wrong line.
    first_wrong: bool,
}

fn head(run: &RunRecord) -> String {
    let mut out = format!("{}: {}\n", clean_line(&run.name), run.verdict.word());
    if !run.title.is_empty() {
        out += &format!("  {}\n", clean_line(&run.title));
    }
    match &run.verdict {
        Verdict::Skipped(why) | Verdict::RackFault(why) => out += &format!("  {}\n", clean_line(why)),
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => {}
    }
    for finding in run.findings.iter().filter(|f| f.conclusion != Conclusion::Holds) {
        out += &format!("  {}\n", finding_line(finding));
    }
    if !run.events.is_empty() {
        out += "\n           time  who       seen by  what\n";
    }
    out
}

/// A finding in a line: how it ended, its rule, its words, the events it rests on.
#[must_use]
pub fn finding_line(finding: &Finding) -> String {
    let word = match finding.conclusion {
        Conclusion::Holds => "holds",
        Conclusion::Broken => "BROKEN",
        Conclusion::Unproven => "unproven",
    };
    let events: Vec<String> = finding.events.iter().take(4).map(u64::to_string).collect();
    let cited = match (events.len(), finding.events.len()) {
        (0, _) => String::new(),
        (1, 1) => format!(" [event {}]", events.join("")),
        (shown, all) if shown < all => format!(" [events {}, ...]", events.join(", ")),
        _ => format!(" [events {}]", events.join(", ")),
    };
    format!("{word:<8} {}: {}{cited}", clean_line(&finding.rule), clean_line(&finding.text))
}

fn foot(run: &RunRecord) -> String {
    format!(
        "\nseed {} on rack {}, {} of rack time\nrepeat: {}\n",
        run.seed,
        clean_line(&run.rack.name),
        run.ended,
        clean(&run.repeat)
    )
}

/// Which events are told one by one.
struct Interest {
    first_wrong: Option<u64>,
    cited: BTreeSet<u64>,
    suspects: BTreeSet<NodeId>,
}

impl Interest {
    fn of(run: &RunRecord) -> Self {
        let open: Vec<&Finding> = run.findings.iter().filter(|f| f.conclusion != Conclusion::Holds).collect();
        let cited: BTreeSet<u64> = open.iter().flat_map(|f| f.events.iter().copied()).collect();
        let first_wrong = run.first_broken().and_then(|f| f.events.first().copied());
        let mut suspects = BTreeSet::new();
        // The node of the first wrong line, then those of other cited lines, then those that a fault was aimed at.
        let place = |seq: &u64| usize::try_from(*seq).ok().and_then(|i| run.events.get(i));
        let named = first_wrong.iter().chain(&cited).filter_map(place).filter_map(|e| e.about.node());
        for node in named.chain(run.events.iter().filter_map(hit_by_fault)) {
            if suspects.len() < MAX_SUSPECTS {
                suspects.insert(node);
            }
        }
        Self { first_wrong, cited, suspects }
    }

    fn tells(&self, event: &Event) -> bool {
        self.cited.contains(&event.seq)
            || match event.about {
                About::Node(node) => loud(&event.fact) || (self.suspects.contains(&node) && !humdrum(&event.fact)),
                About::Gateway(_) | About::Campaign | About::Rack => !humdrum(&event.fact),
            }
    }
}

/// The node that a fault of the scenario was aimed at.
fn hit_by_fault(event: &Event) -> Option<NodeId> {
    match &event.fact {
        Fact::Interposed { to: Some(Party::Node(node)), .. } | Fact::Interposed { from: Party::Node(node), .. } => {
            Some(*node)
        }
        Fact::ProbeWrote { .. } | Fact::PowerCut { .. } => event.about.node(),
        _ => None,
    }
}

/// What is told of any node.
fn loud(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Crashed
            | Fact::PowerCut { .. }
            | Fact::ProbeWrote { .. }
            | Fact::Unhealthy { .. }
            | Fact::ActionApplied { .. }
            | Fact::Interposed { .. }
    )
}

/// What is told of nobody unless it is cited.
fn humdrum(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::NodeProvisioned { .. }
            | Fact::AirUse { .. }
            | Fact::SceneLatency { .. }
            | Fact::BlockDone { .. }
            | Fact::ReceiverPhase { .. }
    )
}

/// Part of a node's first start, when nothing is wrong with it: every ledger begins with that of every node.
fn first_start(fact: &Fact) -> bool {
    match fact {
        Fact::Banks { moment, .. } => matches!(moment, Moment::Provisioned | Moment::AfterBoot),
        Fact::BootDecided { verdict, .. } => *verdict == BootVerdict::Normal,
        Fact::ImageStarted { check, trial, .. } => *check == ImageCheck::Valid && !trial,
        Fact::ApplicationReady { .. } | Fact::ConsoleLine { .. } | Fact::ReportHeard { .. } => true,
        _ => false,
    }
}

/// Whether an event belongs to a node's first start. It is over once the application serves or anything else happens.
fn is_fresh(served: &mut BTreeSet<NodeId>, node: NodeId, fact: &Fact) -> bool {
    let fresh = first_start(fact) && !served.contains(&node);
    let over = !first_start(fact) && !matches!(fact, Fact::NodeProvisioned { .. });
    if over || matches!(fact, Fact::ApplicationReady { .. }) {
        served.insert(node);
    }
    fresh
}

/// Events that are counted, not told.
#[derive(Default)]
struct Counted {
    kinds: BTreeMap<String, usize>,
    nodes: BTreeSet<NodeId>,
    last: Time,
}

impl Counted {
    fn add(&mut self, event: &Event) {
        *self.kinds.entry(event.fact.name()).or_default() += 1;
        self.nodes.extend(event.about.node());
        self.last = event.at;
    }

    fn all(&self) -> usize {
        self.kinds.values().sum()
    }

    fn flush(&mut self, out: &mut Vec<Line>) {
        let counted = core::mem::take(self);
        let all = counted.all();
        if all == 0 {
            return;
        }
        let mut kinds: Vec<(String, usize)> = counted.kinds.into_iter().collect();
        kinds.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let more = kinds.len().saturating_sub(KINDS_NAMED);
        let mut named: Vec<String> =
            kinds.into_iter().take(KINDS_NAMED).map(|(kind, count)| format!("{count} {kind}")).collect();
        if more > 0 {
            named.push(format!("{more} kinds more"));
        }
        let who = match counted.nodes.len() {
            0 => String::new(),
            1 => " of one node".to_owned(),
            n => format!(" of {n} nodes"),
        };
        let events = if all == 1 { "event" } else { "events" };
        let text = format!("   {:>12}  ... {all} {events}{who}: {}", counted.last, named.join(", "));
        out.push(Line { text, first_wrong: false });
    }
}

fn lines(run: &RunRecord) -> Vec<Line> {
    let interest = Interest::of(run);
    let mut out = Vec::new();
    let mut counted = Counted::default();
    let mut served: BTreeSet<NodeId> = BTreeSet::new();
    let mut like: (Option<(About, String)>, usize) = (None, 0);
    for event in &run.events {
        let fresh = event.about.node().is_some_and(|node| is_fresh(&mut served, node, &event.fact));
        let mut tells = interest.tells(event) && (!fresh || interest.cited.contains(&event.seq));
        if tells {
            let key = Some((event.about, event.fact.name()));
            like = if like.0 == key { (key, like.1 + 1) } else { (key, 1) };
            tells = like.1 <= LIKE_LINES || interest.cited.contains(&event.seq);
        }
        // Counted once per instant, after what is told of it: nothing of one instant comes before the rest of it.
        if tells && event.at > counted.last {
            counted.flush(&mut out);
        }
        if tells {
            out.push(line(event, &interest));
        } else {
            counted.add(event);
        }
    }
    counted.flush(&mut out);
    out
}

fn line(event: &Event, interest: &Interest) -> Line {
    let first_wrong = interest.first_wrong == Some(event.seq);
    let mark = match (first_wrong, interest.cited.contains(&event.seq)) {
        (true, _) => ">>",
        (false, true) => " *",
        (false, false) => "  ",
    };
    let text = format!(
        "{mark} {:>12}  {:<9} {:<8} {}",
        event.at,
        event.about,
        event.witness,
        clean_line(&words::describe(&event.fact))
    );
    Line { text, first_wrong }
}

/// Keep the beginning, the end and what stands around the first wrong line.
fn cut(lines: Vec<Line>) -> Vec<Line> {
    if lines.len() <= MAX_LINES {
        return lines;
    }
    let middle = MAX_LINES - 2 * KEPT_AT_ENDS;
    let wrong = lines.iter().position(|line| line.first_wrong).unwrap_or(lines.len());
    let last_start = lines.len() - KEPT_AT_ENDS - middle;
    let start = wrong.saturating_sub(middle * 3 / 4).clamp(KEPT_AT_ENDS, last_start);
    let kept = |i: usize| i < KEPT_AT_ENDS || (start..start + middle).contains(&i) || i >= lines.len() - KEPT_AT_ENDS;
    let mut out = Vec::with_capacity(MAX_LINES + 2);
    let mut left_out = 0;
    for (i, line) in lines.iter().enumerate() {
        if kept(i) {
            push_gap(&mut out, core::mem::take(&mut left_out));
            out.push(line.clone());
        } else {
            left_out += 1;
        }
    }
    out
}

fn push_gap(out: &mut Vec<Line>, left_out: usize) {
    if left_out > 0 {
        let text = format!("{:>15}  ... {left_out} lines left out; the ledger has them", "");
        out.push(Line { text, first_wrong: false });
    }
}
