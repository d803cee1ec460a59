//! The board at the start: an old image that runs and is golden, and a new one that is staged.

use fixture_images::{ForgeError, ForgedImage, ImageSpec, TestKey, Version};
use mk_boot::{
    Composition, FlashFault, Geometry, ResetCause, Slot, boot,
    engine::Engine,
    geometry::{FlashTiming, Region},
    journal::Journal,
};
use virtual_flash::{FlashArray, FlashError};

use crate::rig::Rig;

const fn region(start: u32, length: u32) -> Region {
    Region { start, length }
}

const NO_TIME: FlashTiming = FlashTiming { erase_us: 0, write_us: 0, write_unit: 4 };

/// A toy board with pages of 64 octets and a bank of a few of them, so that every *pair* of cuts can be tried. Its journal
/// pages hold four records each, so that they turn over within one update.
pub static SMALL: Geometry = Geometry {
    name: "small",
    hardware_id: 0x4D4B_0064,
    page_size: 64,
    word_size: 4,
    header_size: 0x200,
    trailer_length: 0x300,
    execution_address: 0x1000,
    bank_a: region(0x1000, 0x100 + 0x300),
    config: region(0x1400, 0x40),
    bootloader: region(0, 0x40),
    journal: region(0x40, 0x80),
    key_page: region(0xC0, 0x40),
    identity: region(0x100, 0x40),
    sequence: region(0x140, 0x80),
    boot_count: region(0x1440, 0x80),
    slots: [region(0, 0x400), region(0x400, 0x400)],
    internal_timing: NO_TIME,
    external_timing: NO_TIME,
};

/// A scene that could not be set.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The forge refused.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The images do not fit the board.
    #[error(transparent)]
    Flash(#[from] FlashError),
    /// The board did not boot its factory image.
    #[error("the board did not boot its factory image: {0}")]
    Boot(FlashFault),
}

/// A board, its two images, and what bank A must hold with either of them.
#[derive(Clone, Debug)]
pub struct Scene<const PAGE: usize> {
    /// The board, adopted and idle on the old image, with the new one staged in slot one.
    pub rig: Rig<PAGE>,
    /// Bank A with the old image.
    pub(crate) old: FlashArray<PAGE, 1>,
    /// Bank A with the new image.
    pub(crate) new: FlashArray<PAGE, 1>,
    /// Octets of bank A that the images use, from its start: whole pages.
    pub(crate) used: u32,
    /// The new image, as signed.
    pub new_file: Vec<u8>,
}

impl<const PAGE: usize> Scene<PAGE> {
    /// A board with two images of `size` octets each, files as signed; the new one's octets come from `seed`.
    ///
    /// # Errors
    /// The images cannot be made or do not fit.
    pub fn new<E: Engine<Rig<PAGE>>>(
        geometry: &'static Geometry,
        size: u32,
        seed: u64,
        composition: &Composition<'_, E>,
    ) -> Result<Self, SceneError> {
        let key = TestKey::release();
        let old = forge(geometry, Version::new(1, 0, 0), size, 1, &key)?;
        let new = forge(geometry, Version::new(1, 1, 0), size, seed.wrapping_add(2), &key)?;
        let mut rig = Rig::new(geometry, key.sec1(), Some(1));
        install(&mut rig.internal, geometry, &old)?;
        rig.external.load(geometry.slot(Slot::Zero).start, &old.bytes)?;
        rig.external.load(geometry.slot(Slot::One).start, &new.bytes)?;
        let old_bank = rig.internal.clone();
        let mut new_bank = rig.internal.clone();
        install(&mut new_bank, geometry, &new)?;
        boot(&mut rig, composition, ResetCause::PowerOn).map_err(SceneError::Boot)?;
        let longest = old.facts.payload.len().max(new.facts.payload.len());
        Ok(Self { rig, old: old_bank, new: new_bank, used: longest.next_multiple_of(PAGE) as u32, new_file: new.bytes })
    }
}

impl<const PAGE: usize> Scene<PAGE> {
    /// The same board after a longer life: its journal has `records` more records, all of the same state. So a journey can be
    /// made to fall on the turn of a journal page.
    ///
    /// # Errors
    /// The journal could not be written.
    pub fn aged(mut self, records: usize) -> Result<Self, SceneError> {
        let journal = Journal::of(&self.rig);
        for _ in 0..records {
            if let Some(record) = journal.load(&mut self.rig).map_err(SceneError::Boot)? {
                journal.append(&mut self.rig, record).map_err(SceneError::Boot)?;
            }
        }
        Ok(self)
    }
}

/// An image of `size` octets, or for boards whose images are smaller than any the forge fills itself, a wrapped payload.
fn forge(
    geometry: &Geometry,
    version: Version,
    size: u32,
    seed: u64,
    key: &TestKey,
) -> Result<ForgedImage, SceneError> {
    let spec = ImageSpec {
        hardware_id: geometry.hardware_id,
        execution_address: geometry.execution_address,
        size,
        seed,
        ..ImageSpec::new(version)
    };
    if size >= 4096 {
        return Ok(spec.build(key.signing())?);
    }
    let mut state = seed;
    let payload: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    Ok(spec.wrap(&payload, key.signing())?)
}

/// Bank A as a programmer fills it: payload at the start, header and TLVs in the trailer.
fn install<const PAGE: usize>(
    flash: &mut FlashArray<PAGE, 1>,
    geometry: &Geometry,
    image: &ForgedImage,
) -> Result<(), FlashError> {
    let part = |from: u32, to: u32| image.bytes.get(from as usize..to as usize).unwrap_or_default();
    let payload = image.facts.payload.clone();
    let trailer = geometry.trailer();
    flash.load_blank(geometry.bank_a.start..geometry.bank_a.end())?;
    flash.load(geometry.bank_a.start, part(payload.start, payload.end))?;
    flash.load(trailer.start, part(0, payload.start))?;
    flash.load(trailer.start + payload.start, part(payload.end, image.facts.total_len))
}
