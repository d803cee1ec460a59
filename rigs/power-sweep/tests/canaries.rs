//! Wrong bootloaders that the sweep must find, each by the rule it breaks. A canary that passes means that the sweep has
//! lost its teeth. The product passes with the same scene, options and seed.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use mk_boot::{
    Area, Composition, Hardware, ResetCause, Slot,
    boot::RollbackPolicy,
    decide::Unconfirmed,
    engine::{CopyInstall, Engine},
    update::image_facts,
};
use mk_wire::Reason;
use power_sweep::{End, Finding, Journey, Rig, SMALL, Scene, SweepOptions, SweepReport, Wrong, sweep};

const PAGE: u32 = 64;

fn swept<E: Engine<Rig<64>>>(composition: &Composition<'_, E>) -> SweepReport {
    // The scene is set by the product: the canary is the bootloader of the sweep only.
    let scene = Scene::<64>::new(&SMALL, 256, 1, &Composition::product()).unwrap();
    sweep(&scene, composition, SweepOptions::default()).unwrap()
}

fn with_engine<E>(engine: E) -> Composition<'static, E> {
    let product = Composition::product();
    Composition {
        engine,
        install_checks: product.install_checks,
        run_checks: product.run_checks,
        return_checks: product.return_checks,
        rollback: product.rollback,
    }
}

#[test]
fn the_product_passes_what_the_canaries_fail() {
    let report = swept(&Composition::product());
    assert!(report.passed(), "{report}");
}

/// Saves bank A to the other slot before it installs, which is where the golden image is already. Works, until a cut makes
/// it save a half-installed bank.
struct BacksUpFirst;

impl Engine<Rig<64>> for BacksUpFirst {
    fn install(&self, hw: &mut Rig<64>, from: Slot) -> Result<(), Reason> {
        let geometry = hw.geometry();
        let header_pages = geometry.header_size / PAGE;
        let payload_pages = geometry.max_payload() / PAGE;
        for page in 0..geometry.bank_a.length / PAGE {
            // File order in the slot, bank order in bank A: header pages come from the trailer.
            let in_bank = match page {
                page if page < header_pages => payload_pages + page,
                page if page < header_pages + payload_pages => page - header_pages,
                page => page,
            };
            let mut octets = [0; PAGE as usize];
            let to = geometry.slot(from.other()).start + page * PAGE;
            hw.internal().read(geometry.bank_a.start + in_bank * PAGE, &mut octets).map_err(|_| Reason::FlashFault)?;
            hw.external().erase(to, to + PAGE).map_err(|_| Reason::FlashFault)?;
            hw.external().write(to, &octets).map_err(|_| Reason::FlashFault)?;
        }
        CopyInstall.install(hw, from)
    }
}

#[test]
fn an_engine_that_writes_the_golden_slot_is_found() {
    let report = swept(&with_engine(BacksUpFirst));
    assert!(report.findings.iter().any(|finding| finding.wrong == Wrong::SlotWritten), "{report}");
    // And for what it does to a node: the image that was to be rolled back to is gone.
    let lost = Wrong::LifeAfter { after: End::NewOnTrial };
    assert!(report.findings.iter().any(|finding| finding.first.is_some() && finding.wrong == lost), "{report}");
}

/// Takes a payload page for done when its first word is right: a torn page passes.
struct TrustsFirstWord;

impl Engine<Rig<64>> for TrustsFirstWord {
    fn install(&self, hw: &mut Rig<64>, from: Slot) -> Result<(), Reason> {
        let geometry = hw.geometry();
        let payload = image_facts(hw, Area::Slot(from))?.payload();
        let slot = geometry.slot(from).start;
        for offset in (payload.start..payload.end).step_by(PAGE as usize) {
            let at = geometry.bank_a.start + (offset - payload.start);
            let (mut there, mut here) = ([0; PAGE as usize], [0; 4]);
            hw.external().read(slot + offset, &mut there).map_err(|_| Reason::FlashFault)?;
            hw.internal().read(at, &mut here).map_err(|_| Reason::FlashFault)?;
            if here != there[..4] {
                hw.internal().erase(at, at + PAGE).map_err(|_| Reason::FlashFault)?;
                hw.internal().write(at, &there).map_err(|_| Reason::FlashFault)?;
            }
        }
        copy_trailer(hw, slot, payload.end)
    }
}

fn copy_trailer(hw: &mut Rig<64>, slot: u32, payload_end: u32) -> Result<(), Reason> {
    let geometry = hw.geometry();
    let trailer = geometry.trailer();
    for at in (0..trailer.length).step_by(PAGE as usize) {
        let from = if at < geometry.header_size { at } else { payload_end + (at - geometry.header_size) };
        let mut there = [0; PAGE as usize];
        hw.external().read(slot + from, &mut there).map_err(|_| Reason::FlashFault)?;
        hw.internal().erase(trailer.start + at, trailer.start + at + PAGE).map_err(|_| Reason::FlashFault)?;
        hw.internal().write(trailer.start + at, &there).map_err(|_| Reason::FlashFault)?;
    }
    Ok(())
}

#[test]
fn an_engine_that_takes_a_torn_page_for_done_is_found() {
    let report = swept(&with_engine(TrustsFirstWord));
    let found = |finding: &Finding| {
        finding.journey == Journey::Install
            && finding.first.is_some()
            && matches!(finding.wrong, Wrong::WrongEnd { expected: Some(End::NewOnTrial), found: None })
    };
    assert!(report.findings.iter().any(found), "{report}");
}

/// Copies well, but nothing looks at bank A afterwards.
#[test]
fn a_bootloader_that_does_not_verify_bank_a_is_found() {
    let report = swept(&Composition { run_checks: &[], ..with_engine(CopyInstall) });
    let found =
        |finding: &Finding| finding.first.is_some() && matches!(finding.wrong, Wrong::WrongEnd { found: None, .. });
    assert!(report.findings.iter().any(found), "{report}");
}

struct NeverRollsBack;

impl RollbackPolicy for NeverRollsBack {
    fn unconfirmed(&self, _cause: ResetCause) -> Unconfirmed {
        Unconfirmed::RunAgain
    }
}

#[test]
fn a_bootloader_that_never_rolls_back_is_found() {
    let report = swept(&Composition { rollback: &NeverRollsBack, ..Composition::product() });
    let found = |finding: &Finding| {
        finding.journey == Journey::RollBack
            && finding.wrong == Wrong::WrongEnd { expected: Some(End::RolledBack), found: Some(End::NewOnTrial) }
    };
    assert!(report.findings.iter().any(found), "{report}");
}
