//! The thread that owns the campaign's machine and its files.
//!
//! Every record is on the disk before an order or an alert that follows from it leaves.

use super::links::Link;
use super::store::{Store, StoreError};
use crate::api::meshos::{
    CampaignAccepted, CampaignClock, CampaignPhase, CampaignRequest, CampaignState, GatewayLink, MeshosEvent,
    MeshosState, NodeState, StageState,
};
use crate::api::{EventId, Refusal};
use crate::clock::Clock;
use crate::disk::{self, DiskError};
use crate::feed::Feed;
use mk_campaign::status::{Activity, StageCounts};
use mk_campaign::{Campaign, End, OperatorOrder, Parts, Record};
use mk_wire::Addr;
use mk_wire::north::Notice;
use mk_wire::time::Instant;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;

/// Rounds of handing outputs on at one time.
const MOST_ROUNDS: usize = 10_000;
/// Shortest and longest wait for an input.
const WAIT: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(1), std::time::Duration::from_secs(1));
/// Time between two notes of how far the gateways' events were read.
const NOTE_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum No {
    /// It cannot be, as it is.
    Wrong(Refusal),
    /// It does not fit what is going on.
    Conflict(Refusal),
}

fn refusal(error: impl ToString, next: &str) -> Refusal {
    Refusal { error: error.to_string(), next: next.to_owned() }
}

/// Something for the thread.
#[expect(clippy::large_enum_variant, reason = "notices are what mostly passes here")]
pub enum Input {
    /// A gateway's notice.
    Notice { address: Addr, id: EventId, notice: Notice },
    /// A gateway's events come in.
    Connected { address: Addr },
    /// They do not any more.
    Lost { address: Addr, reason: String },
    /// A new campaign.
    Create(Box<CampaignRequest>, oneshot::Sender<Result<CampaignAccepted, No>>),
    /// An order of the operator.
    Operator(OperatorOrder, oneshot::Sender<Result<MeshosState, No>>),
    /// Where does everything stand?
    State(oneshot::Sender<MeshosState>),
    /// The journal's octets.
    Journal(oneshot::Sender<Result<Vec<u8>, No>>),
    /// End.
    End,
}

/// The campaign under way, or the last one.
pub struct Current {
    pub campaign: Campaign,
    pub store: Store,
    /// The campaign's clock never shows less.
    pub not_before: Instant,
}

/// The thread's belongings.
pub struct Machine {
    pub folder: PathBuf,
    pub clock: Clock,
    pub feed: Arc<Feed>,
    pub links: Vec<Link>,
    pub current: Option<Current>,
    pub parts: Parts,
    /// The last event had of each gateway.
    pub read: BTreeMap<Addr, EventId>,
    /// When those were noted last, if they have changed since.
    pub read_noted: Option<std::time::Instant>,
}

/// Now, on a campaign's clock.
pub fn campaign_now(clock: &Clock, origin: CampaignClock, not_before: Instant) -> Instant {
    Instant::from_ticks(clock.unix_us().saturating_sub(origin.origin_unix_us)).max(not_before)
}

impl Machine {
    /// Works until told to end.
    ///
    /// # Errors
    /// The disk failed: nothing may be ordered that is not written down.
    pub fn run(mut self, inputs: &Receiver<Input>) -> Result<(), StoreError> {
        let mut goes_on = true;
        while goes_on {
            self.pump()?;
            goes_on = match inputs.recv_timeout(self.wait()) {
                Ok(input) => self.take(input)?,
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if let Some((now, campaign)) = self.campaign()
                && campaign.next_wakeup().is_some_and(|at| at <= now)
            {
                campaign.on_timer(now);
            }
            if self.read_noted.is_some_and(|at| at.elapsed() >= NOTE_EVERY) {
                self.note_read()?;
            }
        }
        self.pump()?;
        self.note_read()?;
        self.tell(MeshosEvent::Stopping);
        self.feed.end();
        Ok(())
    }

    fn tell(&self, event: MeshosEvent) {
        self.feed.tell(event.name(), event);
    }

    /// The campaign, and its now.
    fn campaign(&mut self) -> Option<(Instant, &mut Campaign)> {
        let current = self.current.as_mut()?;
        let now = campaign_now(&self.clock, current.store.clock(), current.not_before);
        Some((now, &mut current.campaign))
    }

    fn note_read(&mut self) -> Result<(), DiskError> {
        self.read_noted = None;
        let ids: BTreeMap<String, EventId> = self.read.iter().map(|(address, id)| (address.to_string(), *id)).collect();
        // A map of texts always has a form in JSON.
        let text = serde_json::to_vec(&ids).unwrap_or_default();
        disk::replace(&self.folder.join("read"), &text)
    }

    /// Takes an input; false: the end.
    fn take(&mut self, input: Input) -> Result<bool, StoreError> {
        match input {
            Input::Notice { address, id, notice } => {
                self.read.insert(address, id);
                self.read_noted.get_or_insert_with(std::time::Instant::now);
                if let Some((now, campaign)) = self.campaign() {
                    campaign.on_notice(now, address, &notice);
                }
            }
            Input::Connected { address } => self.connected(address, true, String::new()),
            Input::Lost { address, reason } => self.connected(address, false, reason),
            Input::Create(request, answer) => {
                let created = self.create(*request)?;
                // Whoever asked may have gone, here and below.
                let _ = answer.send(created);
            }
            Input::Operator(order, answer) => {
                let taken = self.operate(order);
                // The order is on the disk before it is answered.
                self.pump()?;
                let _ = answer.send(taken.map(|()| self.state()));
            }
            Input::State(answer) => drop(answer.send(self.state())),
            Input::Journal(answer) => drop(answer.send(self.read_journal())),
            Input::End => return Ok(false),
        }
        Ok(true)
    }

    fn connected(&mut self, address: Addr, connected: bool, reason: String) {
        for link in self.links.iter_mut().filter(|link| link.at.address == address) {
            link.connected = connected;
        }
        self.tell(MeshosEvent::Gateway { address, connected, reason });
    }

    fn create(&mut self, request: CampaignRequest) -> Result<Result<CampaignAccepted, No>, StoreError> {
        if let Some(current) = &self.current
            && !matches!(current.campaign.activity(), Activity::Ended(_))
        {
            let error = format!("campaign {} is under way: {}", current.store.number(), current.campaign.activity());
            return Ok(Err(No::Conflict(refusal(error, "wait for its end, or abort it with POST /orders"))));
        }
        let known = |addr: Addr| self.links.iter().any(|link| link.at.address == addr);
        if let Some(node) = request.nodes.iter().find(|node| !known(node.gateway)) {
            let error = format!("nodes: {} is served by gateway {}, which is not known here", node.addr, node.gateway);
            return Ok(Err(No::Wrong(refusal(error, "start MeshOS with --gateway ADDRESS=URL for each gateway"))));
        }
        let CampaignRequest { policy, nodes, package, rollback } = request;
        let clock = CampaignClock { origin_unix_us: self.clock.unix_us() };
        let created = Campaign::new(policy.clone(), nodes.clone(), package.clone(), rollback.clone(), self.parts);
        let mut campaign = match created {
            Ok(campaign) => campaign,
            Err(error) => return Ok(Err(No::Wrong(refusal(error, "correct the request")))),
        };
        campaign.start(Instant::from_ticks(0));
        let records: Vec<Record> = std::iter::from_fn(|| campaign.poll_journal()).collect();
        let store = match Store::create(&self.folder, clock, &package, rollback.as_ref(), &records) {
            Err(StoreError::Record(error)) => return Ok(Err(No::Wrong(refusal(error, "make several campaigns")))),
            store => store?,
        };
        let accepted = CampaignAccepted { campaign: store.number() };
        self.tell(MeshosEvent::CampaignStarted {
            campaign: store.number(),
            version: package.version,
            targets: u16::try_from(nodes.len()).unwrap_or(u16::MAX),
            stages: u8::try_from(policy.stages.len()).unwrap_or(u8::MAX),
            success_permille: policy.success_permille,
            throttle_permille: policy.throttle_permille,
            clock,
        });
        records.into_iter().for_each(|record| self.tell(MeshosEvent::Record(record)));
        self.current = Some(Current { campaign, store, not_before: Instant::from_ticks(0) });
        Ok(Ok(accepted))
    }

    fn operate(&mut self, order: OperatorOrder) -> Result<(), No> {
        let Some((now, campaign)) = self.campaign() else {
            return Err(No::Conflict(refusal("there is no campaign", "begin one with POST /campaign")));
        };
        let taken = campaign.on_order(now, order);
        taken.map_err(|error| No::Conflict(refusal(error, "GET /state says what the campaign is doing")))
    }

    fn read_journal(&self) -> Result<Vec<u8>, No> {
        let Some(current) = &self.current else {
            return Err(No::Conflict(refusal("there is no campaign", "begin one with POST /campaign")));
        };
        current.store.read_journal(&self.folder).map_err(|error| No::Wrong(refusal(error, "look at the disk")))
    }

    /// Hands every output on: records first, then orders and alerts.
    fn pump(&mut self) -> Result<(), StoreError> {
        for _ in 0..MOST_ROUNDS {
            let Some(current) = &mut self.current else { return Ok(()) };
            let records: Vec<Record> = std::iter::from_fn(|| current.campaign.poll_journal()).collect();
            if !records.is_empty() {
                current.store.append(&records)?;
                records.into_iter().for_each(|record| self.tell(MeshosEvent::Record(record)));
                continue;
            }
            if let Some((gateway, order)) = current.campaign.poll_order() {
                let link = self.links.iter().find(|link| link.at.address == gateway);
                let count = link.map_or(1, |link| link.send(order));
                if count > 0 {
                    self.tell(MeshosEvent::OrdersDropped { address: gateway, count });
                }
            } else if let Some(alert) = current.campaign.poll_alert() {
                self.tell(MeshosEvent::Alert { text: alert.to_string() });
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> std::time::Duration {
        let wake = self.campaign().and_then(|(now, campaign)| {
            let us = campaign.next_wakeup()?.as_ticks().saturating_sub(now.as_ticks());
            Some(std::time::Duration::from_micros(us))
        });
        wake.map_or(WAIT.1, |wake| wake.clamp(WAIT.0, WAIT.1))
    }

    fn state(&self) -> MeshosState {
        let links = self.links.iter().map(|link| GatewayLink {
            address: link.at.address,
            url: link.at.url.clone(),
            connected: link.connected,
            waiting: link.waiting(),
        });
        MeshosState {
            life: self.feed.life(),
            uptime_ms: self.clock.ms(),
            campaign: self.current.as_ref().map(campaign_state),
            gateways: links.collect(),
        }
    }
}

fn campaign_state(current: &Current) -> CampaignState {
    let status = current.campaign.status();
    let nodes = status.nodes.iter().map(|node| NodeState {
        node: node.node,
        stage: node.stage,
        outcome: node.outcome.map(|outcome| outcome.to_string()),
        percent: node.percent,
    });
    CampaignState {
        number: current.store.number(),
        clock: current.store.clock(),
        activity: status.activity.to_string(),
        phase: phase(status.activity),
        progress_permille: status.progress_permille,
        stages: status.stages.iter().map(stage_state).collect(),
        nodes: nodes.collect(),
    }
}

const fn stage_state(counts: &StageCounts) -> StageState {
    let StageCounts { targeted, updated, rolled_back, rejected, failed, unreachable, pending, unhealthy } = *counts;
    StageState { targeted, updated, rolled_back, rejected, failed, unreachable, pending, unhealthy }
}

const fn phase(activity: Activity) -> CampaignPhase {
    match activity {
        Activity::Ready => CampaignPhase::Ready,
        Activity::Surveying { .. } => CampaignPhase::Surveying,
        Activity::Delivering { .. } => CampaignPhase::Delivering,
        Activity::Soaking { .. } => CampaignPhase::Soaking,
        Activity::Paused { .. } => CampaignPhase::Paused,
        Activity::Stopping => CampaignPhase::Stopping,
        Activity::RollingBack => CampaignPhase::RollingBack,
        Activity::Ended(End::Completed) => CampaignPhase::Completed,
        Activity::Ended(End::Aborted) => CampaignPhase::Aborted,
        Activity::Ended(End::RolledBack) => CampaignPhase::RolledBack,
    }
}
