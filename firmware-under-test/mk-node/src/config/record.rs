//! Configuration records: an envelope that says schema and origin, and the fields of that schema.
//!
//! | octets | field |
//! | --- | --- |
//! | 0..2 | schema, little-endian |
//! | 2..6 | sequence: grows by one with every confirmed record |
//! | 6..10 | install request that the record was made for; 0 for none |
//! | 10..14 | sequence of the confirmed record that it was migrated from |
//! | 14.. | fields, as `postcard` writes them |

use crc::{CRC_32_ISO_HDLC, Crc};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use mk_boot::geometry::Region;
use sequential_storage::map::{SerializationError, Value};

use super::{Config, ConfigError, ConfigLayout, Key, Store, schema::UserSettings};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Octets of fields at most.
const MAX_FIELDS: usize = 128;
/// Octets of the envelope.
const ENVELOPE: usize = 14;

/// A record as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// Counts confirmed records.
    pub sequence: u32,
    /// The install request that made it.
    pub request: u32,
    /// The confirmed record it was migrated from.
    pub base: u32,
    /// The fields.
    pub config: Config,
}

/// A record whose fields were not looked into: its schema may be one that this firmware does not know.
struct RawRecord {
    schema: u16,
    sequence: u32,
    request: u32,
    base: u32,
    fields: Vec<u8, MAX_FIELDS>,
}

impl<'a> Value<'a> for RawRecord {
    fn serialize_into(&self, buffer: &mut [u8]) -> Result<usize, SerializationError> {
        let len = ENVELOPE + self.fields.len();
        let out = buffer.get_mut(..len).ok_or(SerializationError::BufferTooSmall)?;
        out[0..2].copy_from_slice(&self.schema.to_le_bytes());
        out[2..6].copy_from_slice(&self.sequence.to_le_bytes());
        out[6..10].copy_from_slice(&self.request.to_le_bytes());
        out[10..14].copy_from_slice(&self.base.to_le_bytes());
        out[ENVELOPE..].copy_from_slice(&self.fields);
        Ok(len)
    }

    fn deserialize_from(buffer: &'a [u8]) -> Result<(Self, usize), SerializationError> {
        let (envelope, fields) = buffer.split_first_chunk::<ENVELOPE>().ok_or(SerializationError::InvalidFormat)?;
        let [s0, s1, q0, q1, q2, q3, r0, r1, r2, r3, b0, b1, b2, b3] = *envelope;
        let record = RawRecord {
            schema: u16::from_le_bytes([s0, s1]),
            sequence: u32::from_le_bytes([q0, q1, q2, q3]),
            request: u32::from_le_bytes([r0, r1, r2, r3]),
            base: u32::from_le_bytes([b0, b1, b2, b3]),
            fields: Vec::from_slice(fields).map_err(|_| SerializationError::InvalidData)?,
        };
        Ok((record, buffer.len()))
    }
}

impl RawRecord {
    fn of(record: &Record) -> Result<Self, ConfigError> {
        let mut fields = Vec::new();
        // The buffer holds every schema; what does not fit is refused here and not in the store.
        fields.resize(MAX_FIELDS, 0).map_err(|_| ConfigError::Full)?;
        let len = record.config.encode(&mut fields).map_err(|_| ConfigError::Full)?.len();
        fields.truncate(len);
        let Record { sequence, request, base, ref config } = *record;
        Ok(RawRecord { schema: config.schema(), sequence, request, base, fields })
    }

    fn open(&self) -> Result<Record, ConfigError> {
        let config = Config::decode(self.schema, &self.fields)?;
        Ok(Record { sequence: self.sequence, request: self.request, base: self.base, config })
    }
}

/// The confirmed record, if there is one: the newer of its two copies.
pub(crate) fn load_confirmed<F: NorFlash>(flash: &mut F, layout: ConfigLayout) -> Result<Option<Record>, ConfigError> {
    newest(flash, layout)?.map(|raw| raw.open()).transpose()
}

/// The trial record, if there is one; whether it is alive, the caller judges by its origin.
pub(crate) fn load_trial<F: NorFlash>(flash: &mut F, layout: ConfigLayout) -> Result<Option<Record>, ConfigError> {
    fetch(flash, layout.records, Key::Trial)?.map(|raw| raw.open()).transpose()
}

/// Makes a record the confirmed one: the first store decides, the second is the copy.
pub(crate) fn store_confirmed<F: NorFlash>(
    flash: &mut F,
    layout: ConfigLayout,
    record: &Record,
) -> Result<(), ConfigError> {
    let raw = RawRecord::of(record)?;
    Store::open(flash, layout.records)?.store(Key::Confirmed, &raw)?;
    Store::open(flash, layout.mirror)?.store(Key::Confirmed, &raw)
}

/// Makes both copies of the confirmed record equal again after a cut between them.
pub(crate) fn mend<F: NorFlash>(flash: &mut F, layout: ConfigLayout, record: &Record) -> Result<(), ConfigError> {
    for region in [layout.records, layout.mirror] {
        let stored = fetch(flash, region, Key::Confirmed)?.map(|raw| raw.sequence);
        if stored != Some(record.sequence) {
            Store::open(flash, region)?.store(Key::Confirmed, &RawRecord::of(record)?)?;
        }
    }
    Ok(())
}

/// Puts a record beside the confirmed one: one store.
pub(crate) fn store_trial<F: NorFlash>(
    flash: &mut F,
    layout: ConfigLayout,
    record: &Record,
) -> Result<(), ConfigError> {
    Store::open(flash, layout.records)?.store(Key::Trial, &RawRecord::of(record)?)
}

fn fetch<F: NorFlash>(flash: &mut F, region: Region, key: Key) -> Result<Option<RawRecord>, ConfigError> {
    Store::open(flash, region)?.fetch::<RawRecord>(key)
}

/// The newer copy of the confirmed record; the record store's where both are the same.
fn newest<F: NorFlash>(flash: &mut F, layout: ConfigLayout) -> Result<Option<RawRecord>, ConfigError> {
    let record = fetch(flash, layout.records, Key::Confirmed)?;
    let copy = fetch(flash, layout.mirror, Key::Confirmed)?;
    Ok(match (record, copy) {
        (Some(record), Some(copy)) if record.sequence >= copy.sequence => Some(record),
        (_, Some(copy)) => Some(copy),
        (record, None) => record,
    })
}

/// Schema of the confirmed record: what a target answers to [`mk_boot::ConfigVersion`]. `None` when nothing is stored, or
/// when the store cannot be read: then the image that knows the store says what is wrong.
///
/// `config` is the board's whole config region. A store that a power cut left half-written is repaired on the way, which
/// may write.
pub fn stored_version<F: NorFlash>(flash: &mut F, config: Region) -> Option<u16> {
    newest(flash, layout::<F>(config)).ok().flatten().map(|raw| raw.schema)
}

/// Commissions a node: stores `config` as the confirmed record. For a factory or a lab, before the first start.
///
/// # Errors
/// The store could not be written.
pub fn provision<F: NorFlash>(flash: &mut F, config: Region, fields: &Config) -> Result<(), ConfigError> {
    let layout = layout::<F>(config);
    let sequence = newest(flash, layout)?.map_or(0, |raw| raw.sequence).wrapping_add(1);
    store_confirmed(flash, layout, &Record { sequence, request: 0, base: 0, config: fields.clone() })
}

/// What a reader from outside finds in the confirmed record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigState {
    /// Its schema.
    pub schema: u16,
    /// What every schema knows; `None` for a schema that this code does not know.
    pub user: Option<UserSettings>,
    /// CRC-32 over schema and fields: equal as long as nobody changes the configuration.
    pub digest: u32,
}

/// The confirmed record as a witness sees it; `None` when nothing is stored.
///
/// # Errors
/// The store could not be read.
pub fn read_state<F: NorFlash>(flash: &mut F, config: Region) -> Result<Option<ConfigState>, ConfigError> {
    let Some(raw) = newest(flash, layout::<F>(config))? else {
        return Ok(None);
    };
    let mut digest = CRC.digest();
    digest.update(&raw.schema.to_le_bytes());
    digest.update(&raw.fields);
    let user = raw.open().ok().map(|record| record.config.user_settings());
    Ok(Some(ConfigState { schema: raw.schema, user, digest: digest.finalize() }))
}

/// The parts of the region, by the erase unit that the flash states.
const fn layout<F: NorFlash>(config: Region) -> ConfigLayout {
    ConfigLayout::new(config, F::ERASE_SIZE as u32)
}
