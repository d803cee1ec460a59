//! What independent witnesses say of one node: the probe's snapshots and the digest of what the core executes.

use super::per_node::Opinion;
use crate::plan::{KnownImage, Plan};
use hil_model::fact::{ConfigState, FlashUse, Moment};
use hil_model::{BankState, Digest, Event, Fact, ImageCheck};

/// A probe snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Its event.
    pub seq: u64,
    /// Running bank.
    pub a: BankState,
    /// The two slots.
    pub slots: [BankState; 2],
    /// Configuration.
    pub config: ConfigState,
}

/// What is remembered of a node.
#[derive(Debug, Default)]
pub struct Trail {
    /// Before the first action.
    pub provisioned: Option<Snapshot>,
    /// Once things were quiet.
    pub last: Option<Snapshot>,
    /// What the core began to execute last.
    pub started: Option<(u64, Digest)>,
    /// The first start of an image that did not run at the beginning.
    pub first_trial: Option<u64>,
    /// Operations since provisioning in bank A, slot 0, slot 1.
    pub flash: [FlashUse; 3],
    /// First snapshot that showed operations, by area.
    pub first_use: [Option<u64>; 3],
}

impl Trail {
    /// Takes notice of an event about the node.
    pub fn on_event(&mut self, event: &Event) {
        match &event.fact {
            Fact::Banks { moment, a, slot0, slot1, config, use_a, use_slot0, use_slot1, use_config: _ } => {
                let snapshot = Snapshot { seq: event.seq, a: *a, slots: [*slot0, *slot1], config: *config };
                match moment {
                    Moment::Provisioned => self.provisioned = Some(snapshot),
                    Moment::BeforeBoot | Moment::AfterBoot | Moment::Asked => {}
                    Moment::Final => self.last = Some(snapshot),
                }
                // What was written to provision the node is not the node's doing.
                if *moment != Moment::Provisioned {
                    for (i, one) in [use_a, use_slot0, use_slot1].into_iter().enumerate() {
                        self.flash[i].words += one.words;
                        self.flash[i].erases += one.erases;
                        if one.any() {
                            self.first_use[i].get_or_insert(event.seq);
                        }
                    }
                }
            }
            Fact::ImageStarted { digest, trial, .. } => {
                self.started = Some((event.seq, *digest));
                if *trial {
                    self.first_trial.get_or_insert(event.seq);
                }
            }
            _ => {}
        }
    }

    /// Whether the node ends on `image`: bank A holds it, valid, and nothing else was executed last.
    pub fn ends_on(&self, image: &KnownImage, plan: &Plan) -> Opinion {
        let Some(last) = self.last else {
            return Opinion::unproven("no probe snapshot at the end");
        };
        let (a, what) = (last.a, &image.label.0);
        let same_bytes = image.bank_a == Some(a.digest)
            || (plan.is_running(image.digest) && self.provisioned.is_some_and(|first| first.a.digest == a.digest));
        let same_facts = a.check == ImageCheck::Valid && a.version == Some(image.version);
        if !same_bytes && !same_facts {
            let found = a.version.map_or_else(|| "no image".to_owned(), |version| version.to_string());
            let text = format!("bank A holds {found} ({:?}), not the {what} image {}", a.check, image.version);
            return Opinion::broken(text.to_lowercase(), [last.seq]);
        }
        match self.started {
            Some((seq, digest)) if digest != image.digest => {
                let name = plan.image(digest).map_or("an unknown image", |known| known.label.0.as_str());
                let text = format!("executed {name} ({}) last, not the {what} image", digest.short());
                Opinion::broken(text, [seq, last.seq])
            }
            // A rack whose nodes were started before the run has no start to show; the bytes then speak alone.
            Some((seq, _)) => Opinion::holds([seq, last.seq]),
            None => Opinion::holds([last.seq]),
        }
    }
}
