//! Everything that makes a part a node: bootloader, release key, identity, image, configuration. Planned as octets at
//! addresses, written in one session of the probe, read back.
//!
//! Journal, boot count, sequence store and the slot that may be staged into begin erased. A part whose debug port locks itself gets the
//! word that keeps it open in the same session, before its first reset. Nothing is erased beyond what the plan names.

use std::path::{Path, PathBuf};

use fixture_images::{hex, sha256};
use hil_model::{NodeSpec, Span};
use mk_boot::geometry::{Memory, Region, Slot};
use mk_node::config::{self, Config};
use mk_wire::Addr;
use mk_wire::identity::Identity;

use crate::boards::{BoardDriver, ConfigurationWord};
use crate::definition::{BoardDefinition, MeshKeys, SoftDevice};
use crate::error::Fault;
use crate::probe::{FlashPart, Probe};
use crate::snapshot::FlashImage;

/// Largest firmware file read, octets.
const MOST_FILE: u64 = 4 * 1024 * 1024;
/// The flash controller of Nordic's parts: it also programs the configuration memory.
const NVMC_CONFIG: u32 = 0x4001_E504;
const NVMC_WRITE: u32 = 1;
const NVMC_READ_ONLY: u32 = 0;

/// What a node is provisioned with.
#[derive(Debug, Clone)]
pub struct Outfit<'a> {
    /// Bootloader, as linked for its place.
    pub bootloader: Firmware,
    /// The vendor's radio firmware.
    pub softdevice: Option<Firmware>,
    /// The image that runs and is golden at the start: the file as signed.
    pub image: &'a [u8],
    /// Release key, SEC1 uncompressed.
    pub key: [u8; 65],
    /// Keys of the test network.
    pub mesh: &'a MeshKeys,
    /// Grace period.
    pub grace: Span,
    /// Between two reports.
    pub report_interval: Span,
    /// Between two segments on the air.
    pub segment_interval: Span,
    /// Whether nodes relay.
    pub relay: bool,
    /// Time to live of what they send.
    pub ttl: u8,
}

/// Octets of a firmware file and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// For messages.
    pub name: String,
    /// What goes where.
    pub parts: Vec<FlashPart>,
}

/// Octets at addresses for one board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionPlan {
    /// The chip it is for.
    pub chip: &'static str,
    /// The address that its identity says.
    pub address: u16,
    /// Stretches to erase first, as the probe sees addresses: start and octets, whole sectors.
    pub erase: Vec<(u32, u32)>,
    /// What to write.
    pub parts: Vec<FlashPart>,
}

impl Firmware {
    /// A raw binary for an address.
    #[must_use]
    pub fn raw(name: &str, address: u32, octets: Vec<u8>) -> Self {
        Self { name: name.to_owned(), parts: vec![FlashPart { address, octets }] }
    }

    /// Reads a file: ELF, Intel HEX, or raw octets for `address`. Told by its content.
    ///
    /// # Errors
    /// [`Fault::Absent`], [`Fault::Io`] or [`Fault::WrongFirmware`].
    pub fn read(path: &Path, address: u32) -> Result<Self, Fault> {
        let name = path.display().to_string();
        let octets = read_file(path)?;
        let parts = if octets.starts_with(b"\x7fELF") {
            elf_parts(&octets)
        } else if octets.first() == Some(&b':') {
            hex_parts(&octets)
        } else {
            Ok(vec![FlashPart { address, octets }])
        };
        let parts = parts.map_err(|found| Fault::WrongFirmware {
            what: name.clone(),
            expected: "ELF, Intel HEX or a raw binary".to_owned(),
            found,
        })?;
        Ok(Self { name, parts })
    }

    /// Reads the vendor's radio firmware and compares its digest.
    ///
    /// # Errors
    /// As [`Firmware::read`].
    pub fn softdevice(file: &SoftDevice) -> Result<Self, Fault> {
        let octets = read_file(&file.file)?;
        let found = sha256(&octets);
        if found != file.sha256 {
            let what = format!("SHA-256 of {}", file.file.display());
            return Err(Fault::WrongFirmware { what, expected: hex(&file.sha256), found: hex(&found) });
        }
        Self::read(&file.file, 0)
    }

    /// Octets in all.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts.iter().map(|part| part.octets.len()).sum()
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let named = PathBuf::from(path);
    let size = std::fs::metadata(&named).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Absent { name: named.display().to_string() },
        _ => Fault::Io { why: format!("{}: {error}", named.display()) },
    })?;
    if size.len() > MOST_FILE {
        return Err(Fault::Io { why: format!("{}: {} octets; the limit is {MOST_FILE}", named.display(), size.len()) });
    }
    std::fs::read(&named).map_err(|error| Fault::Io { why: format!("{}: {error}", named.display()) })
}

fn elf_parts(octets: &[u8]) -> Result<Vec<FlashPart>, String> {
    use object::Endianness;
    use object::read::elf::{ElfFile32, ProgramHeader as _};
    let file = ElfFile32::<Endianness>::parse(octets).map_err(|error| error.to_string())?;
    let endian = file.endian();
    let mut parts = Vec::new();
    for segment in file.elf_program_headers() {
        let data = segment.data(endian, octets).map_err(|()| "a segment outside the file".to_owned())?;
        if segment.p_type(endian) == object::elf::PT_LOAD && !data.is_empty() {
            parts.push(FlashPart { address: segment.p_paddr(endian), octets: data.to_vec() });
        }
    }
    if parts.is_empty() { Err("an ELF file with nothing to load".to_owned()) } else { Ok(parts) }
}

fn hex_parts(octets: &[u8]) -> Result<Vec<FlashPart>, String> {
    let text = std::str::from_utf8(octets).map_err(|_| "Intel HEX with octets that are no text".to_owned())?;
    let mut parts: Vec<FlashPart> = Vec::new();
    let mut base = 0_u32;
    for (line, record) in ihex::Reader::new(text).enumerate() {
        match record.map_err(|error| format!("Intel HEX, record {}: {error}", line + 1))? {
            ihex::Record::Data { offset, value } => {
                let address = base.saturating_add(u32::from(offset));
                match parts.last_mut() {
                    Some(last) if last.address.saturating_add(last.octets.len() as u32) == address => {
                        last.octets.extend(value);
                    }
                    _ => parts.push(FlashPart { address, octets: value }),
                }
            }
            ihex::Record::ExtendedSegmentAddress(segment) => base = u32::from(segment) << 4,
            ihex::Record::ExtendedLinearAddress(high) => base = u32::from(high) << 16,
            ihex::Record::EndOfFile => break,
            ihex::Record::StartSegmentAddress { .. } | ihex::Record::StartLinearAddress(_) => {}
        }
    }
    if parts.is_empty() { Err("Intel HEX with nothing in it".to_owned()) } else { Ok(parts) }
}

impl ProvisionPlan {
    /// Plans a node.
    ///
    /// # Errors
    /// [`Fault::WrongFirmware`] where something does not fit its place, [`Fault::Refused`] for a board without a table or
    /// a configuration schema that there is not.
    pub fn new(driver: &'static BoardDriver, node: &NodeSpec, outfit: &Outfit<'_>) -> Result<Self, Fault> {
        let refused = |why: String| Fault::Refused { action: "provision".to_owned(), why };
        let table = driver.geometry().ok_or_else(|| refused(format!("there is no board table `{}`", driver.table)))?;
        let address = node.id.unicast();
        let mut plan = Self { chip: driver.chip, address, erase: Vec::new(), parts: Vec::new() };
        for part in outfit.softdevice.iter().flat_map(|firmware| &firmware.parts) {
            plan.parts.push(part.clone());
        }
        for part in &outfit.bootloader.parts {
            fits("the bootloader", part.address, part.octets.len(), table.bootloader)?;
            plan.parts.push(part.clone());
        }
        // Whole pages, so that nothing of an earlier key or identity stays behind.
        plan.whole_page(table.key_page, &outfit.key);
        plan.whole_page(table.identity, &identity(node, outfit).encode());
        plan.bank_a(driver, outfit.image)?;
        plan.golden(driver, outfit.image)?;
        let mut flash = FlashImage::erased(table.internal_size());
        let fields = Config::factory(node.config_version, address)
            .ok_or_else(|| refused(format!("there is no configuration schema {}", node.config_version)))?;
        config::provision(&mut flash, table.config, &fields)
            .map_err(|error| refused(format!("configuration of {}: {error}", node.id)))?;
        let region = flash.get(table.config.start, table.config.length).unwrap_or_default();
        plan.sparse(table.config, region, table.page_size);
        plan.erase.push((table.journal.start, table.journal.length));
        plan.erase.push((table.sequence.start, table.sequence.length));
        plan.erase.push((table.boot_count.start, table.boot_count.length));
        Ok(plan)
    }

    /// Whether the plan is for this very board.
    ///
    /// # Errors
    /// [`Fault::Refused`].
    pub fn for_board(&self, board: &BoardDefinition) -> Result<(), Fault> {
        if self.chip == board.driver.chip && self.address == board.identity.address {
            return Ok(());
        }
        let why = format!("the plan is for {:#06x} on {}", self.address, self.chip);
        Err(Fault::Refused { action: format!("provision {}", board.name()), why })
    }

    /// Octets that are written.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts.iter().map(|part| part.octets.len()).sum()
    }

    fn whole_page(&mut self, page: Region, octets: &[u8]) {
        let mut whole = vec![0xFF; page.length as usize];
        for (place, octet) in whole.iter_mut().zip(octets) {
            *place = *octet;
        }
        self.parts.push(FlashPart { address: page.start, octets: whole });
    }

    /// Payload at the start of the bank, header and TLVs in its trailer. Pages between are not touched: nobody reads them.
    fn bank_a(&mut self, driver: &'static BoardDriver, image: &[u8]) -> Result<(), Fault> {
        let Some(table) = driver.geometry() else { return Ok(()) };
        let bad = |found: &str| Fault::WrongFirmware {
            what: "the image".to_owned(),
            expected: "a signed image file".to_owned(),
            found: found.to_owned(),
        };
        let header = table.header_size as usize;
        let announced = image.get(12..16).and_then(|octets| octets.try_into().ok()).map(u32::from_le_bytes);
        let payload_end = announced.and_then(|length| header.checked_add(length as usize));
        let parts =
            payload_end.and_then(|end| Some((image.get(..header)?, image.get(header..end)?, image.get(end..)?)));
        let (head, payload, tlvs) = parts.ok_or_else(|| bad("a file that is cut short"))?;
        if payload.len() > table.max_payload() as usize || tlvs.len() > table.max_tlvs() as usize {
            return Err(bad("one that does not fit bank A"));
        }
        let page = table.page_size as usize;
        let mut padded = payload.to_vec();
        padded.resize(payload.len().next_multiple_of(page), 0xFF);
        self.parts.push(FlashPart { address: table.bank_a.start, octets: padded });
        let trailer = table.trailer();
        self.whole_page(trailer, &[head, tlvs].concat());
        Ok(())
    }

    /// The file as signed in slot 0, which the first boot takes for golden, and slot 1 erased where its header is. Where
    /// the probe cannot write external flash, the bootloader makes its own golden copy at the first boot.
    fn golden(&mut self, driver: &'static BoardDriver, image: &[u8]) -> Result<(), Fault> {
        let Some(table) = driver.geometry() else { return Ok(()) };
        if !driver.writes_external() {
            return Ok(());
        }
        let slot = table.slot(Slot::Zero);
        fits("the image", slot.start, image.len(), slot)?;
        let mut padded = image.to_vec();
        padded.resize(image.len().next_multiple_of(table.page_size as usize), 0xFF);
        self.parts.push(FlashPart { address: driver.probe_address(Memory::External, slot.start), octets: padded });
        // An image of an earlier run in the other slot would be taken for a staged one by whoever reads it.
        let other = driver.probe_address(Memory::External, table.slot(Slot::One).start);
        self.erase.push((other, table.page_size));
        Ok(())
    }

    /// Pages of a region that hold something are written, the others are erased.
    fn sparse(&mut self, region: Region, octets: &[u8], page_size: u32) {
        for (number, page) in octets.chunks(page_size as usize).enumerate() {
            let address = region.start + u32::try_from(number).unwrap_or(0) * page_size;
            if page.iter().all(|octet| *octet == 0xFF) {
                match self.erase.last_mut() {
                    Some((start, length)) if *start + *length == address => *length += page_size,
                    _ => self.erase.push((address, page_size)),
                }
            } else {
                self.parts.push(FlashPart { address, octets: page.to_vec() });
            }
        }
    }
}

fn identity(node: &NodeSpec, outfit: &Outfit<'_>) -> Identity {
    let millis = |span: Span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    let address = node.id.unicast();
    Identity {
        address: Addr(address),
        gateway: Addr(node.gateway.unicast()),
        relay: outfit.relay,
        ttl: outfit.ttl,
        net_key: outfit.mesh.net_key,
        app_key: outfit.mesh.app_key,
        device_key: outfit.mesh.device_key(address),
        iv_index: 0,
        grace_ms: millis(outfit.grace),
        report_interval_ms: millis(outfit.report_interval),
        segment_interval_ms: u16::try_from(outfit.segment_interval.as_millis()).unwrap_or(u16::MAX),
    }
}

fn fits(what: &str, address: u32, length: usize, region: Region) -> Result<(), Fault> {
    let end = u64::from(address) + length as u64;
    if address >= region.start && end <= u64::from(region.end()) {
        return Ok(());
    }
    Err(Fault::WrongFirmware {
        what: what.to_owned(),
        expected: format!("{:#x} to {:#x}", region.start, region.end()),
        found: format!("{address:#x} to {end:#x}"),
    })
}

/// Writes a word of the configuration memory that keeps the debug port open, unless it is there already.
///
/// # Errors
/// [`Fault::Refused`] when the word holds something else: changing it would take an erase, which nobody asked for.
pub(crate) async fn configure(probe: &mut Probe, word: ConfigurationWord) -> Result<(), Fault> {
    let held = read_word(probe, word.address).await?;
    if held == word.value {
        return Ok(());
    }
    if held != word.erased {
        let why =
            format!("{:#010x} holds {held:#010x}; only an erase of everything changes it ({})", word.address, word.why);
        return Err(Fault::Refused { action: format!("write {:#010x} there", word.value), why });
    }
    probe.write(NVMC_CONFIG, &NVMC_WRITE.to_le_bytes()).await?;
    let written = probe.write(word.address, &word.value.to_le_bytes()).await;
    probe.write(NVMC_CONFIG, &NVMC_READ_ONLY.to_le_bytes()).await?;
    written?;
    if read_word(probe, word.address).await? == word.value {
        Ok(())
    } else {
        Err(Fault::Verify { address: word.address })
    }
}

async fn read_word(probe: &mut Probe, address: u32) -> Result<u32, Fault> {
    let octets = probe.read(address, 4).await?;
    octets
        .try_into()
        .map(u32::from_le_bytes)
        .map_err(|_| Fault::Worker { why: "four octets were asked for".to_owned() })
}

#[cfg(test)]
mod tests;
