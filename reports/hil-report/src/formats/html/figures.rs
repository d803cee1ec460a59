//! The figures of a run as inline SVG and tiles. All text goes through the cleaner; all numbers are rounded to a tenth,
//! so that the bytes do not hang on the last bit of a logarithm.

use super::axis::Axis;
use super::story::{Air, Doing, Lane, MarkKind, Stage, Story};
use crate::xml_text::{clean_line, escape};
use hil_model::fact::{Outcome, OutcomeClass};
use hil_model::{NodeId, RunRecord, StageIndex, Time, words};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Width of every figure.
const WIDTH: f64 = 980.0;
/// Where the drawing begins, right of the labels.
const LEFT: f64 = 64.0;
/// Height of a lane.
const LANE: f64 = 15.0;
/// Most lanes drawn.
const MAX_LANES: usize = 48;
/// Most tiles drawn.
const MAX_TILES: usize = 2_000;
/// Most columns of the air figure.
const MAX_COLUMNS: usize = 240;

fn line(text: &str) -> String {
    escape(&clean_line(text))
}

/// All figures of a run, or nothing for a run without events.
pub(super) fn figures(run: &RunRecord) -> String {
    if run.events.is_empty() {
        return String::new();
    }
    let story = Story::of(run);
    let mut out = String::from("<div class=\"figures\">\n");
    out += &stages(&story);
    out += &tiles(&story);
    out += &lanes(&story);
    out += &air(&story);
    out + "</div>\n"
}

fn figure(title: &str, note: &str, body: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!(" <span class=\"note\">{note}</span>") };
    format!("<figure><figcaption>{title}{note}</figcaption>\n{body}</figure>\n")
}

fn svg(height: f64, label: &str, body: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>\n", line(label))
}

const fn class(outcome: Option<OutcomeClass>) -> &'static str {
    match outcome {
        Some(OutcomeClass::Updated) => "updated",
        Some(OutcomeClass::RolledBack) => "rolledback",
        Some(OutcomeClass::Rejected) => "rejected",
        Some(OutcomeClass::Failed) => "failed",
        Some(OutcomeClass::Unreachable) => "unreachable",
        None => "none",
    }
}

/// Classes in the order in which they are stacked and listed.
const CLASSES: [(Option<OutcomeClass>, &str); 6] = [
    (Some(OutcomeClass::Updated), "updated"),
    (Some(OutcomeClass::RolledBack), "rolled back"),
    (Some(OutcomeClass::Rejected), "rejected"),
    (Some(OutcomeClass::Failed), "failed"),
    (Some(OutcomeClass::Unreachable), "unreachable"),
    (None, "not yet counted"),
];

fn outcome_of(story: &Story, node: NodeId) -> Option<OutcomeClass> {
    story.lanes.get(&node).and_then(|lane| lane.outcome.as_ref()).map(Outcome::class)
}

// --- stages ------------------------------------------------------------------------------------------------------------

fn stages(story: &Story) -> String {
    if story.stages.is_empty() {
        return String::new();
    }
    const ROW: f64 = 30.0;
    let (x, width) = (LEFT, 560.0);
    let mut body = String::new();
    for (i, (index, stage)) in story.stages.iter().enumerate() {
        let y = 6.0 + ROW * i as f64;
        let _ = writeln!(body, "<text x=\"0\" y=\"{:.1}\" class=\"lbl\">stage {}</text>", y + 13.0, index.0);
        body += &stacked(story, stage, x, y, width);
        if let Some(permille) = story.success_permille {
            let at = x + width * f64::from(permille.min(1_000)) / 1_000.0;
            let _ = writeln!(
                body,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" class=\"limit\"><title>threshold {} permille</title></line>",
                y - 3.0,
                y + 21.0,
                permille
            );
        }
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"val\">{}</text>",
            x + width + 12.0,
            y + 13.0,
            line(&stage_words(story, *index, stage))
        );
    }
    let height = 10.0 + ROW * story.stages.len() as f64;
    figure("Stages", &legend(story), &svg(height, "confirmed nodes per stage against the threshold", &body))
}

fn stacked(story: &Story, stage: &Stage, x: f64, y: f64, width: f64) -> String {
    let all = stage.nodes.len().max(1) as f64;
    let mut body = String::new();
    let mut from = x;
    for (outcome, words) in CLASSES {
        let count = stage.nodes.iter().filter(|node| outcome_of(story, **node) == outcome).count();
        if count > 0 {
            let w = width * count as f64 / all;
            let _ = writeln!(
                body,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"18\" class=\"c-{}\"><title>{count} {words}</title></rect>",
                class(outcome)
            );
            from += w;
        }
    }
    body
}

fn stage_words(story: &Story, _index: StageIndex, stage: &Stage) -> String {
    let updated = stage.nodes.iter().filter(|n| outcome_of(story, **n) == Some(OutcomeClass::Updated)).count();
    let mut text = format!("{updated} of {} updated", stage.nodes.len());
    if let Some((from, until)) = stage.soak {
        text += &format!(", soak {}", short_span(until.since(from).as_secs()));
    }
    text += match (stage.passed, stage.overridden, &stage.paused) {
        (true, true, _) => ", passed by override",
        (true, false, _) => ", passed",
        (false, _, Some(_)) => ", PAUSED",
        (false, _, None) => "",
    };
    text
}

fn short_span(seconds: u64) -> String {
    match seconds {
        s if s >= 3_600 && s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Only the classes that occur.
fn legend(story: &Story) -> String {
    let staged: Vec<NodeId> = story.stages.values().flat_map(|stage| stage.nodes.iter().copied()).collect();
    let mut out = String::new();
    for (outcome, words) in CLASSES {
        let count = staged.iter().filter(|node| outcome_of(story, **node) == outcome).count();
        if count > 0 {
            let _ = write!(out, "<span class=\"key\"><i class=\"c-{}\"></i>{words} {count}</span>", class(outcome));
        }
    }
    out
}

// --- outcomes ----------------------------------------------------------------------------------------------------------

fn tiles(story: &Story) -> String {
    if story.lanes.values().all(|lane| lane.outcome.is_none()) {
        return String::new();
    }
    let mut body = String::from("<div class=\"tiles\">");
    for (node, lane) in story.lanes.iter().take(MAX_TILES) {
        let outcome = lane.outcome.as_ref();
        // An update is what the colour says; anything else wants words.
        let title = match outcome {
            Some(Outcome::Updated) => String::new(),
            Some(other) => format!(" title=\"{node}: {}\"", line(&words::outcome(other))),
            None => format!(" title=\"{node}: no word on it\""),
        };
        let class = class(outcome.map(Outcome::class));
        let _ = write!(body, "<span class=\"tile c-{class}\"{title}>{}</span>", node.0);
    }
    body += "</div>\n";
    let note = match story.lanes.len() {
        n if n > MAX_TILES => format!("the first {MAX_TILES} of {n} nodes"),
        n => format!("{n} nodes, as the campaign counts them"),
    };
    figure("Outcome per node", &note, &body)
}

// --- lanes -------------------------------------------------------------------------------------------------------------

fn lanes(story: &Story) -> String {
    if story.lanes.is_empty() {
        return String::new();
    }
    let chosen = chosen_lanes(story);
    let axis = Axis::new(&story.times, LEFT, WIDTH - 8.0);
    let top = 18.0;
    let height = top + LANE * chosen.len() as f64 + 6.0;
    let mut body = grid(&axis, top, height);
    let (mut plain, mut notable) = (Plain::default(), String::new());
    for (i, (node, lane)) in chosen.iter().enumerate() {
        let y = top + LANE * i as f64;
        let _ = writeln!(body, "<text x=\"0\" y=\"{:.1}\" class=\"lbl\">{node}</text>", y + 10.0);
        if lane.notable() {
            notable += &one_lane(&axis, **node, lane, y);
        } else {
            plain.add(&axis, lane, y);
        }
    }
    body += &plain.drawn();
    body += &notable;
    let shown = match (chosen.len(), story.lanes.len()) {
        (shown, all) if shown < all => format!("{shown} of {all} nodes, the notable ones first; "),
        _ => String::new(),
    };
    let keys = "<span class=\"key\"><i class=\"s-old\"></i>old image</span><span class=\"key\"><i class=\"s-trial\"></i>trial</span>\
                <span class=\"key\"><i class=\"s-new\"></i>new image</span><span class=\"key\"><i class=\"s-down\"></i>down or booting</span>\
                <span class=\"key\"><i class=\"s-recv\"></i>receiving</span><span class=\"key\"><b class=\"k-fault\">◆</b>fault</span>\
                <span class=\"key\"><b class=\"k-refused\">▲</b>refused</span><span class=\"key\"><b class=\"k-fall\">✕</b>fell</span>\
                <span class=\"key\"><b class=\"k-wrong\">●</b>first wrong</span>";
    let drawing = svg(height, "what every node ran, over time", &body);
    let body = format!("<div class=\"keys\">{keys}</div>\n{drawing}");
    figure("Nodes over time", &format!("{shown}long waits are drawn shorter"), &body)
}

/// All lanes where they fit; else the notable ones, then the rest, in the order of their ids.
fn chosen_lanes(story: &Story) -> Vec<(&NodeId, &Lane)> {
    if story.lanes.len() <= MAX_LANES {
        return story.lanes.iter().collect();
    }
    let notable = story.lanes.iter().filter(|(_, lane)| lane.notable());
    let plain = story.lanes.iter().filter(|(_, lane)| !lane.notable());
    notable.chain(plain).take(MAX_LANES / 2).collect()
}

fn grid(axis: &Axis, top: f64, bottom: f64) -> String {
    let mut body = String::new();
    for (time, x) in axis.labels() {
        let text = time.to_string();
        let text = text.split('.').next().unwrap_or_default();
        let anchor = if x > WIDTH - 60.0 { "end" } else { "start" };
        let _ = writeln!(
            body,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\" class=\"grid\"/><text x=\"{x:.1}\" y=\"10\" class=\"tick\" text-anchor=\"{anchor}\">{text}</text>",
            top - 4.0
        );
    }
    body
}

const fn doing(doing: Doing) -> (&'static str, &'static str) {
    match doing {
        Doing::Old => ("s-old", "old image"),
        Doing::Trial => ("s-trial", "trial"),
        Doing::New => ("s-new", "new image"),
        Doing::Down => ("s-down", "down or booting"),
    }
}

/// The lanes on which nothing out of the ordinary happened: one path for all that looks the same. In a suite they are
/// most of the page, and their times are in the timeline.
#[derive(Default)]
struct Plain(BTreeMap<(&'static str, &'static str), String>);

impl Plain {
    fn bar(&mut self, class: (&'static str, &'static str), x: f64, y: f64, width: f64, height: u8) {
        let width = width.max(0.8);
        let _ = write!(self.0.entry(class).or_default(), "M{x:.1} {y:.0}h{width:.1}v{height}h-{width:.1}z");
    }

    fn add(&mut self, axis: &Axis, lane: &Lane, y: f64) {
        for segment in &lane.segments {
            let (x0, x1) = (axis.at(segment.from), axis.at(segment.to));
            self.bar(doing(segment.doing), x0, y + 2.0, x1 - x0, 8);
        }
        if let Some((from, until)) = lane.receiving {
            let (x0, x1) = receiving(axis, from, until);
            self.bar(("s-recv", "receiving"), x0, y + 11.0, x1 - x0, 2);
        }
        for mark in &lane.marks {
            self.bar(("k-reset", "reset"), axis.at(mark.at) - 0.6, y + 1.0, 1.2, 10);
        }
    }

    /// Marks over segments, whatever their names.
    fn drawn(&self) -> String {
        let (marks, bars): (Vec<_>, Vec<_>) = self.0.iter().partition(|((class, _), _)| *class == "k-reset");
        let path = |((class, words), d): (&(&str, &str), &String)| {
            format!("<path class=\"{class}\" d=\"{d}\"><title>{words}</title></path>\n")
        };
        bars.into_iter().chain(marks).map(path).collect()
    }
}

/// Where the bar of a transfer begins and ends.
fn receiving(axis: &Axis, from: Time, until: Option<Time>) -> (f64, f64) {
    (axis.at(from), until.map_or(WIDTH - 8.0, |until| axis.at(until)))
}

/// A lane on which something happened: every stretch and mark with its words and times.
fn one_lane(axis: &Axis, node: NodeId, lane: &Lane, y: f64) -> String {
    let mut body = String::new();
    for segment in &lane.segments {
        let (x0, x1) = (axis.at(segment.from), axis.at(segment.to));
        let (class, words) = doing(segment.doing);
        let _ = writeln!(
            body,
            "<rect x=\"{x0:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"8\" class=\"{class}\"><title>{node} {words}, {} to {}</title></rect>",
            y + 2.0,
            (x1 - x0).max(0.8),
            segment.from,
            segment.to
        );
    }
    if let Some((from, until)) = lane.receiving {
        let (x0, x1) = receiving(axis, from, until);
        let _ = writeln!(
            body,
            "<rect x=\"{x0:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"2\" class=\"s-recv\"><title>{node} receiving</title></rect>",
            y + 11.0,
            (x1 - x0).max(0.8)
        );
    }
    for mark in &lane.marks {
        let (class, sign) = match mark.kind {
            MarkKind::Reset => ("k-reset", "|"),
            MarkKind::Fall => ("k-fall", "✕"),
            MarkKind::Refused => ("k-refused", "▲"),
            MarkKind::Fault => ("k-fault", "◆"),
            MarkKind::Wrong => ("k-wrong", "●"),
        };
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"mark {class}\">{sign}<title>{}</title></text>",
            axis.at(mark.at),
            y + 10.0,
            line(&mark.text)
        );
    }
    body
}

// --- air ---------------------------------------------------------------------------------------------------------------

fn air(story: &Story) -> String {
    if story.air.is_empty() {
        return String::new();
    }
    let axis = Axis::new(&story.times, LEFT, WIDTH - 8.0);
    let (top, bottom) = (18.0, 98.0);
    let highest = story.air.iter().map(|a| a.peak.max(a.throttle.saturating_add(a.depth))).max().unwrap_or(1_000);
    let scale = f64::from(highest.max(100)) * 1.1;
    let y = |permille: f64| bottom - (bottom - top) * permille / scale;
    let mut body = grid(&axis, top, bottom);
    for column in columns(&story.air) {
        let over = column.peak > column.throttle.saturating_add(column.depth);
        let (x0, x1, top) = (axis.at(column.from), axis.at(column.at), y(f64::from(column.peak)));
        let _ = writeln!(
            body,
            "<rect x=\"{x0:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"{}\"><title>{} to {}: busiest second {} permille</title></rect>",
            (x1 - x0 - 0.6).max(1.2),
            (bottom - top).max(0.0),
            if over { "a-over" } else { "a-use" },
            column.from,
            column.at,
            column.peak
        );
    }
    if let Some(first) = story.air.first() {
        for (value, class, words) in [
            (first.throttle, "limit", "throttle"),
            (first.throttle.saturating_add(first.depth), "limit soft", "throttle and bucket"),
        ] {
            let at = y(f64::from(value));
            let _ = writeln!(
                body,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" class=\"{class}\"><title>{words}: {value} permille</title></line>",
                WIDTH - 8.0
            );
        }
        let _ = writeln!(
            body,
            "<text x=\"0\" y=\"{:.1}\" class=\"lbl\">{} %</text>",
            y(f64::from(first.throttle)) + 4.0,
            first.throttle / 10
        );
    }
    let _ = writeln!(body, "<text x=\"0\" y=\"{bottom:.1}\" class=\"lbl\">0 %</text>");
    let note =
        "busiest second of every interval, data of the update with relay copies; dashed: throttle, dotted: with bucket";
    figure("Channel use", note, &svg(bottom + 6.0, "share of the channel used by the update", &body))
}

/// At most [`MAX_COLUMNS`] columns: neighbours are joined, and the busiest of them counts. Neighbours that say the same are
/// one column.
fn columns(all: &[Air]) -> Vec<Air> {
    let group = all.len().div_ceil(MAX_COLUMNS).max(1);
    let join = |chunk: &[Air]| {
        let busiest = chunk.iter().max_by_key(|air| air.peak).copied()?;
        let (from, at) = (chunk.iter().map(|air| air.from).min()?, chunk.iter().map(|air| air.at).max()?);
        Some(Air { from, at, ..busiest })
    };
    let same = |a: &Air, b: &Air| b.from <= a.at && (a.peak, a.throttle, a.depth) == (b.peak, b.throttle, b.depth);
    let joined: Vec<Air> = all.chunks(group).filter_map(join).collect();
    joined.chunk_by(same).filter_map(join).collect()
}
