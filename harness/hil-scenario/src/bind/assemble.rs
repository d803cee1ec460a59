//! The plan itself: images, actions, proofs and expectations put together.

use super::{BindError, Binder, CAMPAIGN_START, Complaints, DELIVERY_ALLOWANCE, LONG_WAIT};
use crate::diagnostic::Trouble;
use crate::faults::{Horizon, Lowering, blocks};
use crate::forge::{Made, Recipe, provisioned_key};
use crate::limits;
use crate::nodes::World;
use crate::plan::{Canary, KnownImage, Plan, PlannedExpectation, PlannedFault};
use crate::proof::Proof;
use crate::scenario::Step;
use fixture_images::Board;
use hil_model::provision::{Program, SuppliedImage};
use hil_model::{
    Action, AirLevel, Behaviour, CampaignPolicy, Capability, CapabilitySet, Composition, FaultId, Fleet, ImageLabel,
    NodeId, PackageSupply, Provision, Span, Time, TimedAction, TrafficProfile, When,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The images of a plan with their recipes.
struct Images {
    running: (Recipe, Arc<Made>),
    /// As the package carries it when the faults are injected.
    candidate: (Recipe, Arc<Made>),
    /// As the package would carry it without them.
    clean: (Recipe, Arc<Made>),
}

/// Who is there and who is meant.
struct Cast {
    fleet: Fleet,
    targets: Vec<NodeId>,
    touched: BTreeSet<NodeId>,
    named: Vec<Vec<NodeId>>,
}

impl Binder<'_> {
    pub(super) fn plan(&self) -> Result<Plan, BindError> {
        let written = &self.scenario.written;
        let complaints = &mut Complaints::default();
        let mut needs = CapabilitySet::new();
        let fleet = self.fleet(&mut needs, complaints)?;
        let targets = self.targets(&fleet, complaints);
        let policy = self.policy(targets.len(), complaints);
        let cast = self.cast(fleet, targets, complaints);
        // What needs no image comes first, so that all of it is told at once.
        let expectations = self.expectations(&cast, &mut needs, complaints);
        let canary = self.canary(&mut needs, complaints);
        let own_size = self.manifest.profile.image_size;
        let size = written.rack.image_size.map_or(own_size, |size| size.0);
        if size > own_size {
            // A rack's size is what it can move in sensible time; where time costs nothing, so do octets.
            needs.insert(Capability::VirtualTime);
        }
        let blocks = blocks(size, &self.manifest.profile);
        let horizon = Horizon { fleet: &cast.fleet, blocks, stages: policy.stages.len() };
        let mut timeline = Vec::new();
        self.lower_timeline(&cast, horizon, &mut timeline, &mut needs, complaints);
        let images = self.images(size, complaints)?;
        let carried = if self.options.inject { &images.candidate } else { &images.clean };
        let package = PackageSupply { image: supplied(Plan::CANDIDATE, carried) };
        let start = Action::StartCampaign { policy: policy.clone(), package, targets: cast.targets.clone() };
        let mut actions = vec![TimedAction { when: When::At(CAMPAIGN_START), action: start, fault: None }];
        let faults = self.lower_faults(&cast, &images, &policy, &mut actions, &mut needs, complaints);
        actions.extend(timeline);
        if images.candidate.0.behaviour != Behaviour::Normal {
            needs.insert(Capability::NodeImages);
        }
        let soaks = policy.stages.iter().fold(Span::ZERO, |sum, stage| sum + stage.soak);
        if soaks > LONG_WAIT || !policy.windows.is_empty() {
            needs.insert(Capability::VirtualTime);
        }
        let deadline = self.deadline(&policy, soaks, &actions, complaints);
        let board = Board::named(&self.manifest.profile.board);
        let limits = board.map(|board| limits::of_board(&board, size, policy.grace)).map_err(|why| {
            self.complain(complaints, "rack", Trouble::here(why.to_string()));
        });
        self.stop_if_wrong(complaints)?;
        let Ok(limits) = limits else { return Err(BindError::Invalid(Vec::new())) };
        let lacking: Vec<Capability> = needs.difference(&self.manifest.capabilities).copied().collect();
        if !lacking.is_empty() {
            return Err(BindError::Lacks(lacking));
        }
        let composition = canary.as_ref().map_or(Composition::Product, |canary| canary.composition);
        Ok(Plan {
            name: self.scenario.name.clone(),
            file: self.scenario.file.clone(),
            title: written.title.clone(),
            proves: written.proves.clone(),
            source: self.scenario.text.to_string(),
            seed: self.seed,
            manifest: self.manifest.clone(),
            provision: self.provision(&cast.fleet, &policy, &images, composition, size),
            images: known_images(&images, self.options.inject),
            targets: cast.targets,
            actions,
            faults,
            expectations,
            settle: written
                .settle
                .or(self.manifest.profile.settle)
                .unwrap_or(limits.back_on_old_image() + Span::mins(1)),
            limits,
            deadline,
            needs,
            canary,
            policy,
            injected: self.options.inject,
        })
    }

    /// Resolves which nodes each fault names, so that expectations can speak of the others.
    fn cast(&self, fleet: Fleet, targets: Vec<NodeId>, complaints: &mut Complaints) -> Cast {
        let mut touched = BTreeSet::new();
        let mut named = Vec::new();
        let nobody = BTreeSet::new();
        for (index, fault) in self.scenario.written.faults.iter().enumerate() {
            let set = fault.kind().nodes().filter(|set| !set.is_all());
            let nodes = set.map_or(Ok(Vec::new()), |set| {
                set.resolve(&World { fleet: &fleet, targets: &targets, touched: &nobody })
            });
            let nodes = nodes.unwrap_or_else(|why| {
                let path = format!("faults[{index}].{}", fault.name());
                self.complain(complaints, &path, Trouble::at("nodes", why));
                Vec::new()
            });
            touched.extend(nodes.iter().copied());
            named.push(nodes);
        }
        Cast { fleet, targets, touched, named }
    }

    fn images(&self, size: u32, complaints: &mut Complaints) -> Result<Images, BindError> {
        // Before anything is forged: a size is only a number, its octets are not.
        let slot = Board::named(&self.manifest.profile.board).map_or(size, |board| board.slot_size());
        if size > slot {
            let message = format!("{size} octets do not fit the board's slot of {slot}");
            self.complain(complaints, "rack.image-size", Trouble::here(message));
        }
        let running = self.running_recipe(size);
        let clean = self.clean_recipe(size);
        let mut candidate = clean.clone();
        for (index, fault) in self.scenario.written.faults.iter().enumerate() {
            if let Err(trouble) = fault.kind().shape(&mut candidate, self.before()) {
                self.complain(complaints, &format!("faults[{index}].{}", fault.name()), trouble);
            }
        }
        self.stop_if_wrong(complaints)?;
        if !self.forge.has(&candidate.board, candidate.behaviour) {
            return Err(BindError::Lacks(vec![Capability::NodeImages]));
        }
        let make = |recipe: Recipe, path: &str, complaints: &mut Complaints| {
            let made = self.forge.make(&recipe);
            made.map_err(|error| self.complain(complaints, path, Trouble::here(error.to_string())))
                .ok()
                .map(|made| (recipe, made))
        };
        let running = make(running, "rack.image-size", complaints);
        let clean = make(clean, "candidate", complaints);
        let candidate = make(candidate, "faults", complaints);
        self.stop_if_wrong(complaints)?;
        match (running, candidate, clean) {
            (Some(running), Some(candidate), Some(clean)) => Ok(Images { running, candidate, clean }),
            _ => Err(BindError::Invalid(Vec::new())),
        }
    }

    fn lower_faults(
        &self,
        cast: &Cast,
        images: &Images,
        policy: &CampaignPolicy,
        actions: &mut Vec<TimedAction>,
        needs: &mut CapabilitySet,
        complaints: &mut Complaints,
    ) -> Vec<PlannedFault> {
        let mut next_rule = 0;
        let mut planned = Vec::new();
        for (index, fault) in self.scenario.written.faults.iter().enumerate() {
            let id = FaultId(u16::try_from(index).unwrap_or(u16::MAX));
            let mut lab = Lowering {
                id,
                fleet: &cast.fleet,
                targets: &cast.targets,
                profile: &self.manifest.profile,
                stages: policy.stages.len(),
                grace: policy.grace,
                candidate: &images.candidate.1,
                recipe: &images.candidate.0,
                forge: self.forge,
                next_rule: &mut next_rule,
                out: crate::faults::Lowered::default(),
            };
            if let Err(trouble) = fault.kind().lower(&mut lab) {
                self.complain(complaints, &format!("faults[{index}].{}", fault.name()), trouble);
            }
            let out = lab.out;
            needs.extend(out.needs);
            if self.options.inject {
                actions.extend(out.actions);
            }
            planned.push(PlannedFault {
                id,
                kind: fault.name(),
                text: self.scenario.lines.faults.get(index).cloned().unwrap_or_default(),
                nodes: cast.named.get(index).cloned().unwrap_or_default(),
                proof: Proof { clauses: out.clauses },
            });
        }
        planned
    }

    fn lower_timeline(
        &self,
        cast: &Cast,
        horizon: Horizon<'_>,
        actions: &mut Vec<TimedAction>,
        needs: &mut CapabilitySet,
        complaints: &mut Complaints,
    ) {
        let world = World { fleet: &cast.fleet, targets: &cast.targets, touched: &cast.touched };
        for (index, entry) in self.scenario.written.timeline.iter().enumerate() {
            let path = format!("timeline[{index}]");
            let when = match horizon.when(&entry.when) {
                Ok(when) => when,
                Err(trouble) => {
                    self.complain(complaints, &path, trouble);
                    continue;
                }
            };
            let (nodes, key) = match &entry.step {
                Step::Operator(_) => (Ok(Vec::new()), ""),
                Step::Power(step) => (step.nodes.resolve(&world), "do.power.nodes"),
                Step::ProbeRead(nodes) => (nodes.resolve(&world), "do.probe-read"),
            };
            let nodes = nodes.unwrap_or_else(|why| {
                self.complain(complaints, &path, Trouble::at(key, why));
                Vec::new()
            });
            let mut act = |action: Action| {
                needs.extend(action.needs());
                actions.push(TimedAction { when, action, fault: None });
            };
            match &entry.step {
                Step::Operator(order) => act(Action::Operator(*order)),
                Step::Power(step) => nodes.into_iter().for_each(|node| act(Action::Power(node, step.power.power()))),
                Step::ProbeRead(_) => nodes.into_iter().for_each(|node| act(Action::ProbeRead(node))),
            }
        }
    }

    fn expectations(
        &self,
        cast: &Cast,
        needs: &mut CapabilitySet,
        complaints: &mut Complaints,
    ) -> Vec<PlannedExpectation> {
        let world = World { fleet: &cast.fleet, targets: &cast.targets, touched: &cast.touched };
        let written = &self.scenario.written.expect;
        if written.is_empty() {
            self.complain(complaints, "expect", Trouble::here("a scenario expects something"));
        }
        let mut planned = Vec::new();
        for (index, spec) in written.iter().enumerate() {
            let path = format!("expect[{index}].{}", spec.name());
            for trouble in spec.check(&world) {
                self.complain(complaints, &path, trouble);
            }
            needs.extend(spec.needs());
            planned.push(PlannedExpectation {
                rule: format!("expect[{index}] {}", spec.name()),
                text: self.scenario.lines.expect.get(index).cloned().unwrap_or_default(),
                spec: spec.clone(),
            });
        }
        planned
    }

    fn canary(&self, needs: &mut CapabilitySet, complaints: &mut Complaints) -> Option<Canary> {
        let wish = self.scenario.written.canary.as_ref()?;
        needs.insert(Capability::Compositions);
        if wish.composition == Composition::Product {
            self.complain(complaints, "canary.composition", Trouble::here("the product is no canary"));
        }
        let rules = (1..=9).map(|n| format!("oracle-{n}"));
        let expectations = (0..self.scenario.written.expect.len()).map(|n| format!("expect[{n}]"));
        if !rules.chain(expectations).any(|rule| rule == wish.must_break) {
            let message =
                format!("there is no rule \"{}\"; write `oracle-1` to `oracle-9`, or `expect[0]`", wish.must_break);
            self.complain(complaints, "canary.must-break", Trouble::here(message));
        }
        Some(Canary { composition: wish.composition, must_break: wish.must_break.clone() })
    }

    fn deadline(
        &self,
        policy: &CampaignPolicy,
        soaks: Span,
        actions: &[TimedAction],
        complaints: &mut Complaints,
    ) -> Span {
        let waits = if policy.windows.is_empty() { Span::ZERO } else { Span::hours(24) };
        let deadline = self.scenario.written.deadline.unwrap_or(soaks + DELIVERY_ALLOWANCE + waits);
        let late = actions.iter().any(|a| matches!(a.when, When::At(at) if at > Time::ZERO + deadline));
        if late || deadline <= soaks {
            let message = format!("{deadline} is over before the soaks ({soaks} in all) or the last timed action");
            self.complain(complaints, "deadline", Trouble::here(message));
        }
        deadline
    }

    fn provision(
        &self,
        fleet: &Fleet,
        policy: &CampaignPolicy,
        images: &Images,
        composition: Composition,
        size: u32,
    ) -> Provision {
        let rack = &self.scenario.written.rack;
        let mut programs: Vec<Program> = Vec::new();
        for (recipe, _) in [&images.running, &images.candidate, &images.clean] {
            // What a broken file does is for its octets to say: only payloads as built are programs.
            let whole = self.forge.make(&Recipe { tampering: None, ..recipe.clone() }).ok();
            let Some(payload_digest) = whole.and_then(|made| made.payload) else { continue };
            if programs.iter().all(|program| program.payload_digest != payload_digest) {
                programs.push(Program {
                    payload_digest,
                    behaviour: recipe.behaviour,
                    version: recipe.version,
                    config_version: recipe.config_version,
                    oldest_migratable: recipe.oldest_migratable,
                });
            }
        }
        let mut profile = self.manifest.profile.clone();
        profile.image_size = size;
        profile.grace = policy.grace;
        Provision {
            seed: self.seed,
            profile,
            fleet: fleet.clone(),
            running: supplied(Plan::RUNNING, &images.running),
            key: provisioned_key(),
            programs,
            composition,
            level: rack.level.unwrap_or(AirLevel::Link),
            traffic: rack.traffic.unwrap_or(TrafficProfile::Quiet),
            report_interval: policy.health.report_interval,
            grace: policy.grace,
        }
    }
}

fn supplied(label: &str, (recipe, made): &(Recipe, Arc<Made>)) -> SuppliedImage {
    SuppliedImage {
        label: ImageLabel(label.to_owned()),
        hardware_id: made.hardware_id,
        digest: made.digest,
        bytes: Arc::clone(&made.bytes),
        metadata: Arc::clone(&made.metadata),
        version: recipe.version,
        config_version: recipe.config_version,
    }
}

/// Running image, package image, and the clean one where it is another.
fn known_images(images: &Images, inject: bool) -> Vec<KnownImage> {
    let known = |label: &str, (recipe, made): &(Recipe, Arc<Made>)| KnownImage {
        label: ImageLabel(label.to_owned()),
        digest: made.digest,
        bank_a: made.bank_a,
        payload: made.payload,
        check: made.check,
        behaviour: recipe.behaviour,
        version: recipe.version,
        config_version: recipe.config_version,
        size: u32::try_from(made.bytes.len()).unwrap_or(u32::MAX),
    };
    let carried = if inject { &images.candidate } else { &images.clean };
    let mut all = vec![known(Plan::RUNNING, &images.running), known(Plan::CANDIDATE, carried)];
    if inject && images.clean.1.digest != images.candidate.1.digest {
        all.push(known(Plan::UNTAMPERED, &images.clean));
    }
    all
}
