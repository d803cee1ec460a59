//! An image under judgement: the facts and proofs that checks ask for, each worked out once and only when asked.

use mk_wire::{
    Reason,
    image::{self, ImageFacts, Source},
};

use crate::{
    checks::{Candidate, Check},
    geometry::{Area, Slot},
    hardware::{FlashFault, FlashOperation, Hardware, PublicKey, read},
    layout::{Layout, announced_payload},
};

/// File octets of an area, for the parser.
struct AreaSource<'a, H: ?Sized> {
    hw: &'a mut H,
    layout: Layout,
}

impl<H: Hardware + ?Sized> Source for AreaSource<'_, H> {
    type Error = FlashFault;

    fn len(&self) -> u32 {
        self.layout.capacity()
    }

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), FlashFault> {
        read_file(self.hw, self.layout, offset, out)
    }
}

fn read_file<H: Hardware + ?Sized>(hw: &mut H, layout: Layout, offset: u32, out: &mut [u8]) -> Result<(), FlashFault> {
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    let mut done = 0;
    // The parser stays inside the layout's capacity; were that ever wrong, nothing may be read from elsewhere.
    let outside = FlashFault { memory: layout.memory(), operation: FlashOperation::Read, address: offset };
    for extent in layout.extents(offset, length).ok_or(outside)? {
        let part = &mut out[done..done + extent.length as usize];
        read(hw, extent.memory, extent.address, part)?;
        done += extent.length as usize;
    }
    Ok(())
}

/// An image and where its octets lie.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the parser read.
    pub facts: ImageFacts,
    /// Where the file octets are.
    pub layout: Layout,
}

/// Parses whatever an area holds. Proves nothing about it: hash and signature are the checks' business.
///
/// # Errors
/// [`Reason::HeaderBad`], [`Reason::TooLarge`] or [`Reason::FlashFault`].
pub fn find<H: Hardware + ?Sized>(hw: &mut H, area: Area) -> Result<Found, Reason> {
    let payload = announced_payload(hw, area).map_err(|_| Reason::FlashFault)?;
    let geometry = hw.geometry();
    let layout = Layout::new(geometry, area, payload)?;
    let mut source = AreaSource { hw, layout };
    let facts = image::parse(&mut source, image::Extent::Slot).map_err(|error| match error {
        image::ParseError::Source { .. } => Reason::FlashFault,
        image::ParseError::Image(_) => Reason::HeaderBad,
    })?;
    if u32::from(facts.header.header_size) != geometry.header_size {
        return Err(Reason::HeaderBad);
    }
    Ok(Found { facts, layout })
}

/// Runs `checks` over the image in `area`, in order; the first refusal is the verdict.
///
/// # Errors
/// The reason of the first check that refused.
pub fn judge<H: Hardware + ?Sized>(
    hw: &mut H,
    area: Area,
    golden: Option<Slot>,
    checks: &[&dyn Check],
    golden_checks: &[&dyn Check],
) -> Result<(), Reason> {
    let mut inspection = Inspection { hw, area, golden, golden_checks, found: None, digest: None };
    for check in checks {
        check.judge(&mut inspection)?;
    }
    Ok(())
}

struct Inspection<'a, H: ?Sized> {
    hw: &'a mut H,
    area: Area,
    golden: Option<Slot>,
    golden_checks: &'a [&'a dyn Check],
    found: Option<Found>,
    digest: Option<[u8; 32]>,
}

impl<H: Hardware + ?Sized> Inspection<'_, H> {
    fn found(&mut self) -> Result<&Found, Reason> {
        let found = match self.found.take() {
            Some(found) => found,
            None => find(self.hw, self.area)?,
        };
        Ok(self.found.insert(found))
    }

    fn key(&mut self) -> Result<PublicKey, Reason> {
        self.hw.key().ok_or(Reason::NoKey)
    }
}

impl<H: Hardware + ?Sized> Candidate for Inspection<'_, H> {
    fn facts(&mut self) -> Result<&ImageFacts, Reason> {
        Ok(&self.found()?.facts)
    }

    fn board(&self) -> u32 {
        self.hw.geometry().hardware_id
    }

    fn config_version(&mut self) -> Option<u16> {
        self.hw.config_version()
    }

    fn floor(&mut self) -> Result<Option<u32>, Reason> {
        let golden = self.golden.ok_or(Reason::GoldenInvalid)?;
        let found = find(self.hw, Area::Slot(golden)).map_err(|_| Reason::GoldenInvalid)?;
        Ok(found.facts.security_counter)
    }

    fn digest(&mut self) -> Result<[u8; 32], Reason> {
        if let Some(digest) = self.digest {
            return Ok(digest);
        }
        let found = self.found()?;
        let signed = found.facts.signed();
        let length = signed.end.checked_sub(signed.start).ok_or(Reason::HeaderBad)?;
        let extents = found.layout.extents(signed.start, length).ok_or(Reason::HeaderBad)?;
        let digest = self.hw.sha256(&extents).map_err(|_| Reason::FlashFault)?;
        self.digest = Some(digest);
        Ok(digest)
    }

    fn signature_verifies(&mut self) -> Result<bool, Reason> {
        let key = self.key()?;
        let digest = self.digest()?;
        let found = self.found()?;
        // An unsigned image is one whose signature does not verify.
        let Some(signature) = found.facts.signature.clone() else {
            return Ok(false);
        };
        Ok(self.hw.verify_p256(&key, &digest, &signature))
    }

    fn golden_is_sound(&mut self) -> Result<bool, Reason> {
        match self.golden {
            None => Ok(false),
            // A golden image is judged on its own: it has no golden image behind it.
            Some(slot) => Ok(judge(self.hw, Area::Slot(slot), None, self.golden_checks, &[]).is_ok()),
        }
    }
}
