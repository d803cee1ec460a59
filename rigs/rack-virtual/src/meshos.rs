//! The campaign process: what runs the product's campaign machine, keeps its journal over a restart, and reads it.

use crate::mutants;
use crate::world::{Due, World};
use hil_model::fact::Fact;
use hil_model::{About, CampaignPolicy, NodeId, OperatorOrder, PackageSupply, Span, SuppliedImage, Time, Witness};
use mk_campaign::{Campaign, Package, Record, journal};
use mk_wire::Addr;
use mk_wire::north::Notice;
use rack_witness::{campaign, words};

/// The campaign process and its disk.
#[derive(Default)]
pub struct MeshosHost {
    campaign: Option<Campaign>,
    /// Packages of the campaign: new, and the one to go back to.
    packages: Option<(Package, Package)>,
    /// The journal on disk.
    disk: Vec<u8>,
    down: bool,
    /// Ended, or waiting for the operator.
    waiting: bool,
    life: u32,
    timer: Time,
    touched: bool,
}

/// The campaign could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CampaignRefused(String);

impl MeshosHost {
    /// Whether no campaign is under way.
    pub const fn quiet(&self) -> bool {
        !self.down && (self.campaign.is_none() || self.waiting)
    }
}

impl World {
    /// Starts a campaign. One runs at a time.
    pub(crate) fn start_campaign(
        &mut self,
        wanted: &CampaignPolicy,
        supply: &PackageSupply,
        running: &SuppliedImage,
        targets: &[NodeId],
    ) -> Result<(), CampaignRefused> {
        let fleet =
            targets.iter().filter_map(|id| self.nodes.get(id.index())).map(|h| campaign::info(&h.spec)).collect();
        let packages = (campaign::package(&supply.image), campaign::package(running));
        // A package of the running version is its own way back: then there is none.
        let back = (packages.0.version != packages.1.version).then(|| packages.1.clone());
        let parts = mutants::campaign(self.composition);
        let mut campaign = Campaign::new(campaign::policy(wanted), fleet, packages.0.clone(), back, parts)
            .map_err(|error| CampaignRefused(error.to_string()))?;
        campaign.start(words::instant(self.now));
        let fact = campaign::started(wanted, &supply.image, targets.len());
        self.note(About::Campaign, Witness::Meshos, fact);
        self.meshos = MeshosHost {
            campaign: Some(campaign),
            packages: Some(packages),
            timer: Time::NEVER,
            life: self.meshos.life + 1,
            touched: true,
            ..MeshosHost::default()
        };
        Ok(())
    }

    /// An order of the operator.
    pub(crate) fn order_campaign(&mut self, order: OperatorOrder) -> Result<(), CampaignRefused> {
        let wanted = campaign::order(order);
        let now = words::instant(self.now);
        let Some(campaign) = &mut self.meshos.campaign else {
            return Err(CampaignRefused("there is no campaign".to_owned()));
        };
        campaign.on_order(now, wanted).map_err(|error| CampaignRefused(error.to_string()))?;
        self.meshos.touched = true;
        Ok(())
    }

    pub(crate) fn notify_meshos(&mut self, gateway: Addr, notice: &Notice) {
        if let Some(campaign) = &mut self.meshos.campaign {
            campaign.on_notice(words::instant(self.now), gateway, notice);
            self.meshos.touched = true;
        }
    }

    pub(crate) fn meshos_timer(&mut self, life: u32) {
        let meshos = &mut self.meshos;
        if meshos.life != life || meshos.timer != self.now {
            return;
        }
        meshos.timer = Time::NEVER;
        if let Some(campaign) = &mut meshos.campaign {
            campaign.on_timer(words::instant(self.now));
            meshos.touched = true;
        }
    }

    /// Hands the campaign's outputs on; false when there was nothing to look at.
    pub(crate) fn pump_meshos(&mut self) -> bool {
        if !core::mem::take(&mut self.meshos.touched) {
            return false;
        }
        let now = words::instant(self.now);
        loop {
            let Some(campaign) = &mut self.meshos.campaign else { return true };
            if let Some(record) = campaign.poll_journal() {
                // A record too long to be written is a fleet too large to be set up: refused by the machine.
                let _ = record.encode(&mut self.meshos.disk);
                self.read_record(&record);
            } else if let Some((gateway, order)) = campaign.poll_order() {
                if let Some(at) = self.gateways.iter().position(|g| g.address() == gateway)
                    && let Some(running) = &mut self.gateways[at].gateway
                {
                    running.on_order(now, &order);
                    self.touch_gateway(at);
                }
            } else if let Some(alert) = campaign.poll_alert() {
                self.note(About::Campaign, Witness::Meshos, Fact::Alert { text: alert.to_string() });
            } else {
                break;
            }
        }
        let meshos = &mut self.meshos;
        if let Some(wake) = meshos.campaign.as_ref().and_then(Campaign::next_wakeup) {
            let wake = words::time(wake).max(self.now);
            if wake < meshos.timer {
                meshos.timer = wake;
                self.wheel.insert(wake, Due::MeshosTimer { life: meshos.life });
            }
        }
        true
    }

    /// Kills the campaign process.
    pub(crate) fn restart_meshos(&mut self, down: Span) {
        if self.meshos.campaign.take().is_none() {
            return;
        }
        self.meshos.life += 1;
        self.meshos.timer = Time::NEVER;
        self.meshos.down = true;
        self.note(About::Campaign, Witness::Meshos, Fact::MeshosDown);
        self.wheel.insert(self.now + down, Due::MeshosUp);
    }

    pub(crate) fn meshos_up(&mut self) {
        self.meshos.down = false;
        let Some((new, old)) = self.meshos.packages.clone() else { return };
        let records = journal::read(&self.meshos.disk).map(|c| c.records).unwrap_or_default();
        let count = records.len() as u32;
        let back = (new.version != old.version).then_some(old);
        let parts = mutants::campaign(self.composition);
        self.note(About::Campaign, Witness::Meshos, Fact::MeshosUp { records: count });
        match Campaign::resume(records, new, back, parts) {
            Ok(mut campaign) => {
                campaign.on_timer(words::instant(self.now));
                self.meshos.campaign = Some(campaign);
                self.meshos.touched = true;
            }
            Err(error) => {
                let text = format!("campaign cannot be resumed: {error}");
                self.note(About::Campaign, Witness::Meshos, Fact::Alert { text });
            }
        }
    }

    /// A record of the campaign's journal as the harness reads it.
    fn read_record(&mut self, record: &Record) {
        if let Some(waits) = campaign::waits_after(record) {
            self.meshos.waiting = waits;
        }
        for (about, fact) in campaign::facts(record, words::time) {
            self.note(about, Witness::Meshos, fact);
        }
    }
}
