//! Observations in words, for people: one wording for terminal, page, timeline and findings.
//!
//! Says only what the fact carries, never what it may mean. Text that comes from outside (console lines, reasons) is
//! quoted as it came; cleaning it for a format is the format's business.

use crate::air::{MessageKind, Party};
use crate::fact::{
    BootVerdict, ConfigState, Fact, FlashUse, HealthFault, Interposition, Moment, Outcome, ResetCause, UpdatePhase,
};
use crate::ids::NodeId;
use crate::image::{BankState, ImageCheck, Version};

/// An observation in words, without time, subject and witness.
#[must_use]
pub fn describe(fact: &Fact) -> String {
    match fact {
        Fact::RunStarted { .. } | Fact::ActionApplied { .. } | Fact::NodeProvisioned { .. } | Fact::RunEnded { .. } => {
            harness(fact)
        }
        Fact::Interposed { .. } | Fact::AirUse { .. } | Fact::SceneLatency { .. } => radio(fact),
        Fact::Reset { .. }
        | Fact::PowerOff
        | Fact::PowerCut { .. }
        | Fact::Banks { .. }
        | Fact::ImageStarted { .. }
        | Fact::ApplicationReady { .. }
        | Fact::Crashed
        | Fact::ProbeWrote { .. } => bench(fact),
        Fact::BootDecided { .. }
        | Fact::ConfigMigrated { .. }
        | Fact::UpdatePhase { .. }
        | Fact::ConsoleLine { .. } => console(fact),
        Fact::DistributionStarted { .. }
        | Fact::MetadataDelivered { .. }
        | Fact::BlockDone { .. }
        | Fact::TransferComplete { .. }
        | Fact::ReceiverPhase { .. }
        | Fact::ConfirmationHeard { .. }
        | Fact::ConfirmationAcked { .. }
        | Fact::ReportHeard { .. }
        | Fact::GatewayDown
        | Fact::GatewayUp => gateway(fact),
        Fact::CampaignStarted { .. }
        | Fact::StageStarted { .. }
        | Fact::SoakStarted { .. }
        | Fact::StagePassed { .. }
        | Fact::Unhealthy { .. }
        | Fact::CampaignPaused { .. }
        | Fact::Alert { .. }
        | Fact::OperatorActed { .. }
        | Fact::NodeOutcome { .. }
        | Fact::CampaignEnded { .. }
        | Fact::MeshosDown
        | Fact::MeshosUp { .. } => meshos(fact),
    }
}

fn harness(fact: &Fact) -> String {
    match fact {
        Fact::RunStarted { scenario, seed, rack, kind } => {
            format!("run of {scenario} with seed {seed} on {rack} ({kind:?})").to_lowercase()
        }
        Fact::ActionApplied { fault, what } => match fault {
            Some(fault) => format!("action for fault {}: {what}", fault.0),
            None => format!("action: {what}"),
        },
        Fact::NodeProvisioned { floor, running, config_version } => {
            format!("provisioned on floor {}: image {}, configuration {config_version}", floor.0, running.short())
        }
        Fact::RunEnded { timed_out: true } => "the deadline passed before things were quiet".to_owned(),
        Fact::RunEnded { timed_out: false } => "quiet, end of the run".to_owned(),
        _ => fact.name(),
    }
}

fn radio(fact: &Fact) -> String {
    match fact {
        Fact::Interposed { rule, did, kind, from, to, block, chunk, changed, .. } => {
            let mut text = format!("{} {}", message(*kind), interposed(*did));
            if *did == Interposition::Altered {
                text += &format!(" ({changed} octets)");
            }
            text += &format!(", from {}", party(*from));
            if let Some(to) = to {
                text += &format!(" to {}", party(*to));
            }
            if let Some(block) = block {
                text += &format!(", block {block}");
            }
            if let Some(chunk) = chunk {
                text += &format!(" chunk {chunk}");
            }
            format!("{text}, by rule {}", rule.0)
        }
        Fact::AirUse { data_pdus, peak_permille, throttle_permille, deliveries, losses, .. } => format!(
            "{data_pdus} data PDUs, busiest second {} % of the channel (throttle {} %), {deliveries} deliveries, {losses} lost",
            tenths(*peak_permille),
            tenths(*throttle_permille)
        ),
        Fact::SceneLatency { scenes, missed, p50_us, p95_us, p99_us, measured } => format!(
            "{scenes} lighting scenes, {missed} incomplete, latency {} / {} / {} ms at 50 / 95 / 99 %{}",
            p50_us / 1_000,
            p95_us / 1_000,
            p99_us / 1_000,
            if *measured { "" } else { " (drawn from a table, not measured)" }
        ),
        _ => fact.name(),
    }
}

fn bench(fact: &Fact) -> String {
    match fact {
        Fact::Reset { cause, count } => format!("reset {count}, {}", reset(*cause)),
        Fact::PowerOff => "power off".to_owned(),
        Fact::PowerCut { operation, address, tear, before, after, .. } => format!(
            "power cut at flash operation {operation}, address {address:#010x}, {tear:?}: {} became {}",
            hex(before),
            hex(after)
        ),
        Fact::Banks { moment, a, slot0, slot1, config: found, use_a, use_slot0, use_slot1, use_config } => format!(
            "banks {}: A {}, slot 0 {}, slot 1 {}, configuration {}{}",
            when(*moment),
            bank(a),
            bank(slot0),
            bank(slot1),
            config(*found),
            flash_use([("A", *use_a), ("slot 0", *use_slot0), ("slot 1", *use_slot1), ("configuration", *use_config)])
        ),
        Fact::ImageStarted { digest, check: found, version: v, build, trial, .. } => format!(
            "{} started: {} ({build}), image {}, {}",
            if *trial { "trial image" } else { "image" },
            version(*v),
            digest.short(),
            check(*found)
        ),
        Fact::ApplicationReady { config: found, wants_config } => {
            format!("application serves on configuration {}, made for {wants_config}", config(*found))
        }
        Fact::Crashed => "the core crashed".to_owned(),
        Fact::ProbeWrote { area, offset, before, after, .. } => {
            format!("probe altered {area:?} at {offset:#x}: {} became {}", hex(before), hex(after))
        }
        _ => fact.name(),
    }
}

fn console(fact: &Fact) -> String {
    match fact {
        Fact::BootDecided { verdict, reason, about } => {
            let about = about.map(|v| format!(" {v}")).unwrap_or_default();
            with_reason(format!("bootloader: {}{about}", boot(*verdict)), reason)
        }
        Fact::ConfigMigrated { from, to, ok } => {
            format!("configuration {} from {from} to {to}", if *ok { "migrated" } else { "migration failed" })
        }
        Fact::UpdatePhase { phase: now, reason } => {
            with_reason(format!("update: {}", phase(*now)), reason.as_deref().unwrap_or_default())
        }
        Fact::ConsoleLine { text } => format!("says: {text}"),
        _ => fact.name(),
    }
}

fn gateway(fact: &Fact) -> String {
    match fact {
        Fact::DistributionStarted { image, receivers } => {
            format!("distribution of image {} to {} nodes", image.short(), receivers.len())
        }
        Fact::MetadataDelivered { version, config_version, accepted, .. } => format!(
            "metadata of {version} (configuration {config_version}) delivered, {}",
            if *accepted { "accepted" } else { "refused" }
        ),
        Fact::BlockDone { block, rounds, chunks_sent, resent } => {
            format!("block {block} delivered in {rounds} rounds, {chunks_sent} chunks sent, {resent} of them again")
        }
        Fact::TransferComplete { image } => format!("image {} delivered whole", image.short()),
        Fact::ReceiverPhase { phase: now, percent } => format!("distributor: {} at {percent} %", phase(*now)),
        Fact::ConfirmationHeard { version, boot_count } => {
            format!("confirmation of {version} heard (boot {boot_count})")
        }
        Fact::ConfirmationAcked { boot_count } => format!("confirmation acknowledged (boot {boot_count})"),
        Fact::ReportHeard { running, config_version, says, about, boot_count } => {
            let text = format!("report: runs {running}, configuration {config_version}, boot {boot_count}");
            if says.is_empty() { text } else { format!("{text}; of {about}: {says}") }
        }
        Fact::GatewayDown => "gateway down".to_owned(),
        Fact::GatewayUp => "gateway up again".to_owned(),
        _ => fact.name(),
    }
}

fn meshos(fact: &Fact) -> String {
    match fact {
        Fact::CampaignStarted { version, targets, stages, success_permille, throttle_permille } => format!(
            "campaign to {version}: {targets} nodes in {stages} stages, threshold {} %, throttle {} %",
            tenths(*success_permille),
            tenths(*throttle_permille)
        ),
        Fact::StageStarted { stage, nodes } => format!("stage {} started with {} nodes", stage.0, nodes.len()),
        Fact::SoakStarted { stage, until, confirmed, targeted } => {
            format!("stage {} soaks until {until}, {confirmed} of {targeted} confirmed", stage.0)
        }
        Fact::StagePassed { stage, confirmed, targeted, overridden } => format!(
            "stage {} passed{} with {confirmed} of {targeted} confirmed",
            stage.0,
            if *overridden { " by the operator's override" } else { "" }
        ),
        Fact::Unhealthy { fault } => format!("unhealthy: {}", health(*fault)),
        Fact::CampaignPaused { stage, reason, confirmed, targeted } => {
            with_reason(format!("campaign paused in stage {}, {confirmed} of {targeted} confirmed", stage.0), reason)
        }
        Fact::Alert { text } => format!("alert: {text}"),
        Fact::OperatorActed { order } => format!("operator: {order:?}").to_lowercase(),
        Fact::NodeOutcome { stage, outcome: said } => format!("counted in stage {} as {}", stage.0, outcome(said)),
        Fact::CampaignEnded { completed: true } => "campaign completed".to_owned(),
        Fact::CampaignEnded { completed: false } => "campaign ended before its last stage".to_owned(),
        Fact::MeshosDown => "MeshOS down".to_owned(),
        Fact::MeshosUp { records } => format!("MeshOS up again, {records} journal records read"),
        _ => fact.name(),
    }
}

/// An outcome as an operator reads it.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Updated => "updated".to_owned(),
        Outcome::RolledBack => "rolled back".to_owned(),
        Outcome::Rejected(reason) if reason.starts_with("update rejected") => reason.clone(),
        Outcome::Rejected(reason) => with_reason("update rejected".to_owned(), reason),
        Outcome::Failed(phase_at) => format!("failed ({})", phase(*phase_at)),
        Outcome::Unreachable => "unreachable".to_owned(),
    }
}

/// An update phase.
#[must_use]
pub const fn phase(phase: UpdatePhase) -> &'static str {
    match phase {
        UpdatePhase::Idle => "idle",
        UpdatePhase::TransferError => "transfer broke off",
        UpdatePhase::TransferActive => "receiving",
        UpdatePhase::Verifying => "verifying",
        UpdatePhase::VerificationSucceeded => "verified",
        UpdatePhase::VerificationFailed => "verification failed",
        UpdatePhase::Applying => "applying",
        UpdatePhase::TransferCanceled => "transfer cancelled",
        UpdatePhase::ApplySuccess => "new firmware id read back",
        UpdatePhase::ApplyFailed => "old firmware id read back",
        UpdatePhase::Unknown => "unknown",
    }
}

/// The examiner's finding on an image.
#[must_use]
pub const fn check(check: ImageCheck) -> &'static str {
    match check {
        ImageCheck::Valid => "valid",
        ImageCheck::Empty => "empty",
        ImageCheck::Malformed => "malformed",
        ImageCheck::HashMismatch => "hash mismatch",
        ImageCheck::BadSignature => "BAD SIGNATURE",
        ImageCheck::Unsigned => "UNSIGNED",
    }
}

/// `n03`, `n01, n02` or `n01..n24`; long lists are given as runs.
#[must_use]
pub fn nodes(ids: &[NodeId]) -> String {
    let mut runs: Vec<(NodeId, NodeId)> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some((_, last)) if last.0.checked_add(1) == Some(id.0) => *last = id,
            Some(_) | None => runs.push((id, id)),
        }
    }
    let parts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last.0 - first.0 {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}..{last}"),
        })
        .collect();
    if parts.is_empty() { "no node".to_owned() } else { parts.join(", ") }
}

const fn boot(verdict: BootVerdict) -> &'static str {
    match verdict {
        BootVerdict::Normal => "starts the confirmed image",
        BootVerdict::Trial => "installed staging, starts a trial of",
        BootVerdict::Rejected => "refuses staging",
        BootVerdict::RolledBack => "put the golden image back instead of",
        BootVerdict::Healed => "repaired the running bank from golden",
        BootVerdict::Stuck => "has no image that fits and stays",
    }
}

const fn reset(cause: ResetCause) -> &'static str {
    match cause {
        ResetCause::PowerOn => "power on",
        ResetCause::Pin => "by pin",
        ResetCause::Software => "by software",
        ResetCause::Watchdog => "by the watchdog",
        ResetCause::Lockup => "after a lockup",
    }
}

const fn when(moment: Moment) -> &'static str {
    match moment {
        Moment::Provisioned => "as provisioned",
        Moment::BeforeBoot => "before boot",
        Moment::AfterBoot => "at hand-over",
        Moment::Asked => "as asked",
        Moment::Final => "at the end",
    }
}

const fn health(fault: HealthFault) -> &'static str {
    match fault {
        HealthFault::ReportsMissing => "reports stay away",
        HealthFault::HeartbeatsMissing => "heartbeats stay away",
        HealthFault::TooManyHops => "too many hops",
        HealthFault::WeakSignal => "weak signal",
        HealthFault::Degraded => "says that it is degraded",
        HealthFault::WrongImage => "runs another image than counted",
    }
}

/// What the interposer did, after the message.
#[must_use]
pub const fn interposed(did: Interposition) -> &'static str {
    match did {
        Interposition::Dropped => "dropped",
        Interposition::Altered => "altered",
        Interposition::Held => "held back",
        Interposition::Released => "released late",
        Interposition::Duplicated => "duplicated",
        Interposition::Reordered => "overtaken",
        Interposition::Replayed => "replayed",
    }
}

const fn message(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Chunk => "chunk",
        MessageKind::BlockStart => "block start",
        MessageKind::BlockGet => "block get",
        MessageKind::BlockStatus => "block status",
        MessageKind::Transfer => "transfer message",
        MessageKind::UpdateStart => "update start",
        MessageKind::UpdateApply => "update apply",
        MessageKind::UpdateStatus => "update status",
        MessageKind::UpdateOther => "update message",
        MessageKind::Confirm => "first-boot confirmation",
        MessageKind::ConfirmAck => "acknowledgement of the confirmation",
        MessageKind::Report => "node report",
        MessageKind::Health => "heartbeat",
        MessageKind::AppReport => "application report",
        MessageKind::Light => "lighting command",
        MessageKind::CoapBlock => "CoAP block",
        MessageKind::CoapOther => "CoAP message",
        MessageKind::Other => "message",
    }
}

fn party(party: Party) -> String {
    match party {
        Party::Node(node) => node.to_string(),
        Party::Gateway(gateway) => gateway.to_string(),
        Party::AnyNode => "any node".to_owned(),
        Party::AnyGateway => "any gateway".to_owned(),
    }
}

fn bank(state: &BankState) -> String {
    match (state.check, state.version) {
        (ImageCheck::Empty, _) => "empty".to_owned(),
        (found, Some(version)) => format!("{version} {}", check(found)),
        (found, None) => check(found).to_owned(),
    }
}

fn config(found: ConfigState) -> String {
    found.version.map_or_else(|| "NONE".to_owned(), |version| version.to_string())
}

fn flash_use(areas: [(&str, FlashUse); 4]) -> String {
    let used: Vec<String> = areas
        .into_iter()
        .filter(|(_, used)| used.any())
        .map(|(area, used)| format!("{area} {} words {} erases", used.words, used.erases))
        .collect();
    if used.is_empty() { String::new() } else { format!("; written since: {}", used.join(", ")) }
}

fn version(version: Option<Version>) -> String {
    version.map_or_else(|| "no version".to_owned(), |v| v.to_string())
}

fn with_reason(text: String, reason: &str) -> String {
    if reason.is_empty() { text } else { format!("{text}: {reason}") }
}

/// Permille as per cent, with a decimal only where there is one.
fn tenths(permille: u16) -> String {
    match permille % 10 {
        0 => (permille / 10).to_string(),
        tenth => format!("{}.{tenth}", permille / 10),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, StageIndex};

    #[test]
    fn what_an_operator_has_to_read_is_said_as_agreed() {
        let rejected = Outcome::Rejected("update rejected - migration required".to_owned());
        assert_eq!(outcome(&rejected), "update rejected - migration required");
        let fact = Fact::NodeOutcome { stage: StageIndex(1), outcome: rejected };
        assert_eq!(describe(&fact), "counted in stage 1 as update rejected - migration required");
    }

    #[test]
    fn a_bad_signature_is_loud() {
        let fact = Fact::ImageStarted {
            digest: Digest([0xAB; 32]),
            check: ImageCheck::BadSignature,
            version: Some(Version::new(1, 1, 0)),
            build: "mk-node".to_owned(),
            trial: true,
            wants_config: None,
        };
        assert_eq!(describe(&fact), "trial image started: 1.1.0 (mk-node), image abababab, BAD SIGNATURE");
    }

    #[test]
    fn permille_reads_as_per_cent() {
        assert_eq!((tenths(400).as_str(), tenths(455).as_str()), ("40", "45.5"));
    }

    #[test]
    fn lists_of_nodes_are_short() {
        let ids = |numbers: &[u16]| numbers.iter().copied().map(NodeId).collect::<Vec<_>>();
        assert_eq!(nodes(&ids(&[3])), "n03");
        assert_eq!(nodes(&ids(&[3, 4, 9])), "n03, n04, n09");
        assert_eq!(nodes(&ids(&[1, 2, 3, 4, 9])), "n01..n04, n09");
        assert_eq!(nodes(&[]), "no node");
    }
}
