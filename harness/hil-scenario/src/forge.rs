//! Where a plan's images come from: `fixture-images`, with a cache that the caller owns.
//!
//! Forging half a mebibyte costs milliseconds and a suite asks for the same few images again and again. The cache is a
//! value passed in, not a static: two worker threads may share one, and dropping it frees the octets.

use fixture_images::metadata::{Metadata, MetadataTamper};
use fixture_images::{Bench, Board, ForgedImage, ImageSpec, Tamper, TestKey, Verdict};
use hil_model::{Behaviour, Digest, ImageCheck, Version};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How the octets of the image differ from a well-made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tampering {
    /// Which tamper of the forge.
    pub tamper: Tamper,
    /// Its place, where it takes one.
    pub at: Option<u32>,
}

/// How the Firmware Metadata differ from what the image says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lies {
    /// Broken in this way.
    pub tamper: Option<MetadataTamper>,
    /// Says this configuration version.
    pub config_version: Option<u16>,
    /// Says this of the migration handler (`Some(None)`: that there is none).
    pub oldest_migratable: Option<Option<u16>>,
    /// Where the image was broken and signed anew: the facts are still those of the image before.
    pub facts_before_tampering: bool,
}

/// What an image and its metadata should be. Equal recipes give equal octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipe {
    /// Board table by name.
    pub board: String,
    /// Version.
    pub version: Version,
    /// Configuration schema it is made for.
    pub config_version: u16,
    /// Oldest schema its handler accepts; none: no handler.
    pub oldest_migratable: Option<u16>,
    /// Security counter; none: as the signing tool derives it from the version.
    pub security_counter: Option<u32>,
    /// What the payload does.
    pub behaviour: Behaviour,
    /// Octets of the file.
    pub size: u32,
    /// Makes payloads differ.
    pub seed: u64,
    /// What is wrong with the image.
    pub tampering: Option<Tampering>,
    /// What is wrong with the metadata.
    pub lies: Lies,
}

/// An image and its metadata, as handed out and as the harness knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The file.
    pub bytes: Arc<[u8]>,
    /// Its SHA-256.
    pub digest: Digest,
    /// Firmware Metadata octets.
    pub metadata: Arc<[u8]>,
    /// Their SHA-256.
    pub metadata_digest: Digest,
    /// Hardware it is for.
    pub hardware_id: u32,
    /// SHA-256 of bank A with it installed, where it can be.
    pub bank_a: Option<Digest>,
    /// SHA-256 of its payload, where it has one.
    pub payload: Option<Digest>,
    /// The examiner's finding under the release key.
    pub check: ImageCheck,
}

/// The forge would not make an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot forge the image: {0}")]
pub struct ForgeFailure(pub String);

type Slot = Arc<OnceLock<Result<Arc<Made>, ForgeFailure>>>;

/// Programs that a rack's nodes really run, by behaviour: raw octets, linked for bank A of one board.
///
/// A rack that simulates its nodes has none, and the forge makes payloads up. The caller reads the files; nothing here
/// does.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    board: String,
    by_behaviour: BTreeMap<Behaviour, Arc<[u8]>>,
}

impl Programs {
    /// No program yet, for this board.
    #[must_use]
    pub fn for_board(board: impl Into<String>) -> Self {
        Self { board: board.into(), by_behaviour: BTreeMap::new() }
    }

    /// Adds the program of a behaviour.
    pub fn add(&mut self, behaviour: Behaviour, octets: impl Into<Arc<[u8]>>) {
        self.by_behaviour.insert(behaviour, octets.into());
    }

    /// Octets of the longest program.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.by_behaviour.values().map(|octets| octets.len()).max().unwrap_or(0)
    }

    fn of(&self, board: &str) -> Option<&BTreeMap<Behaviour, Arc<[u8]>>> {
        (self.board == board && !self.by_behaviour.is_empty()).then_some(&self.by_behaviour)
    }
}

/// The cache. Cheap to make; share one among plans of a suite.
#[derive(Debug, Default)]
pub struct Forge {
    made: Mutex<BTreeMap<Recipe, Slot>>,
    programs: Programs,
}

/// Most images kept; a suite needs a few dozen.
const MOST_KEPT: usize = 256;

impl Forge {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty cache that puts real programs into the images of their board.
    #[must_use]
    pub fn with_programs(programs: Programs) -> Self {
        Self { made: Mutex::default(), programs }
    }

    /// Whether images of this behaviour can be made for this board: always where payloads are made up.
    #[must_use]
    pub fn has(&self, board: &str, behaviour: Behaviour) -> bool {
        self.programs.of(board).is_none_or(|programs| programs.contains_key(&behaviour))
    }

    /// The image of this recipe, made now or before.
    ///
    /// # Errors
    /// The forge cannot make it: size too small, tamper without effect, unknown board.
    pub fn make(&self, recipe: &Recipe) -> Result<Arc<Made>, ForgeFailure> {
        let slot = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            if made.len() >= MOST_KEPT && !made.contains_key(recipe) {
                made.clear();
            }
            Arc::clone(made.entry(recipe.clone()).or_default())
        };
        // Made outside the lock, so that two workers forge two images at once and never the same one twice.
        slot.get_or_init(|| forge(recipe, &self.programs).map(Arc::new)).clone()
    }
}

/// The public key that nodes are provisioned with: the test release key, SEC 1 uncompressed.
#[must_use]
pub fn provisioned_key() -> [u8; 65] {
    fixture_images::signer::sec1(TestKey::release().public())
}

fn forge(recipe: &Recipe, programs: &Programs) -> Result<Made, ForgeFailure> {
    let refuse = |error: &dyn std::fmt::Display| ForgeFailure(error.to_string());
    let board = Board::named(&recipe.board).map_err(|e| refuse(&e))?;
    let key = TestKey::release();
    let spec = spec(recipe, &board)?;
    let honest = match programs.of(&recipe.board) {
        None => spec.build(&key),
        Some(programs) => {
            let none = || ForgeFailure(format!("there is no program that {:?} for this board", recipe.behaviour));
            spec.build_around(programs.get(&recipe.behaviour).ok_or_else(none)?, &key)
        }
    }
    .map_err(|e| refuse(&e))?;
    let bytes = match recipe.tampering {
        None => honest.bytes.clone(),
        Some(Tampering { tamper, at }) => {
            let bench = Bench { signer: Some(&key), at, slot_size: Some(board.slot_size()) };
            tamper.apply(&honest.bytes, &bench).map_err(|e| refuse(&e))?.bytes
        }
    };
    let metadata = metadata(recipe, &honest, &bytes, &key)?;
    let examination = fixture_images::examine(&bytes, Some(fixture_images::Signer::public(&key)));
    let payload = examination.facts.as_ref().and_then(|facts| {
        let payload = bytes.get(facts.payload.start as usize..facts.payload.end as usize)?;
        Some(Digest(fixture_images::sha256(payload)))
    });
    let bank_a = examination.facts.as_ref().and_then(|facts| {
        let image = ForgedImage {
            bytes: bytes.clone(),
            facts: facts.clone(),
            digest: honest.digest,
            image_hash: honest.image_hash,
        };
        let bank = fixture_images::bank_a_bytes(&image, &board).ok()?;
        Some(Digest(fixture_images::sha256(&bank)))
    });
    Ok(Made {
        digest: Digest(fixture_images::sha256(&bytes)),
        bytes: bytes.into(),
        metadata_digest: Digest(fixture_images::sha256(&metadata)),
        metadata: metadata.into(),
        hardware_id: board.hardware_id,
        bank_a,
        payload,
        check: check(&examination.verdict),
    })
}

fn spec(recipe: &Recipe, board: &Board) -> Result<ImageSpec, ForgeFailure> {
    let Version { major, minor, revision, build } = recipe.version;
    let version = fixture_images::Version { major, minor, revision, build };
    let mut spec = ImageSpec::for_board(board, version);
    spec.config_migration_version = recipe.config_version;
    spec.oldest_migratable_version = recipe.oldest_migratable;
    if recipe.security_counter.is_some() {
        spec.security_counter = recipe.security_counter;
    }
    spec.build_id =
        recipe.behaviour.build_id().parse().map_err(|e: fixture_images::ForgeError| ForgeFailure(e.to_string()))?;
    spec.size = recipe.size;
    spec.seed = recipe.seed;
    Ok(spec)
}

/// Metadata of the image before it was tampered with, except for what the sender of the tampered file would have to
/// state: its length and, where it was signed anew, the hash it now carries.
fn metadata(recipe: &Recipe, honest: &ForgedImage, bytes: &[u8], key: &TestKey) -> Result<Vec<u8>, ForgeFailure> {
    let mut said = Metadata::of(honest);
    if let Some(Tampering { tamper, .. }) = recipe.tampering {
        said.size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if tamper.needs_key()
            && let Ok(outline) = fixture_images::examine::outline(bytes)
            && let Some(hash) = outline.tlv(fixture_images::layout::TLV_SHA256)
            && let Ok(hash) = hash.value.try_into()
        {
            let before = recipe.lies.facts_before_tampering;
            said = Metadata::of_facts(if before { &honest.facts } else { &outline.facts }, hash);
            said.size = outline.facts.total_len;
        }
    }
    if let Some(version) = recipe.lies.config_version {
        said.config_migration_version = version;
    }
    if let Some(oldest) = recipe.lies.oldest_migratable {
        said.oldest_migratable_version = oldest;
    }
    let octets = match recipe.lies.tamper {
        Some(tamper) => tamper.apply(&said, key),
        None => said.sign(key).map(Vec::from),
    };
    octets.map_err(|error| ForgeFailure(error.to_string()))
}

/// The examiner's verdict in the words of the ledger.
fn check(verdict: &Verdict) -> ImageCheck {
    match verdict {
        Verdict::Valid => ImageCheck::Valid,
        // Only said where no key was given to judge by; a key always is.
        Verdict::Unjudged | Verdict::WrongKey | Verdict::BadSignature => ImageCheck::BadSignature,
        Verdict::Unsigned => ImageCheck::Unsigned,
        Verdict::HashMismatch => ImageCheck::HashMismatch,
        Verdict::Malformed { .. } => ImageCheck::Malformed,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn recipe(size: u32) -> Recipe {
        Recipe {
            board: "mk-node-s140".to_owned(),
            version: Version::new(1, 1, 0),
            config_version: 2,
            oldest_migratable: None,
            security_counter: None,
            behaviour: Behaviour::Normal,
            size,
            seed: 2,
            tampering: None,
            lies: Lies::default(),
        }
    }

    #[test]
    fn two_workers_share_one_image_and_forge_it_once() {
        let forge = Forge::new();
        let made: Vec<Arc<Made>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..2).map(|_| scope.spawn(|| forge.make(&recipe(8_192)).unwrap())).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(Arc::ptr_eq(&made[0], &made[1]));
        assert_eq!(*made[0], *Forge::new().make(&recipe(8_192)).unwrap(), "another forge makes the same octets");
    }

    #[test]
    fn a_board_with_programs_runs_them_and_others_do_not() {
        let mut programs = Programs::for_board("mk-node-s140");
        let program: Vec<u8> = (0..2_000_u32).map(|i| i as u8).collect();
        programs.add(Behaviour::Normal, program.clone());
        let forge = Forge::with_programs(programs);
        let made = forge.make(&recipe(8_192)).unwrap();
        assert_eq!(made.bytes.len(), 8_192);
        assert_eq!(made.bytes[0x200..0x200 + 2_000], program);
        assert_eq!(made.check, ImageCheck::Valid);
        let other = forge.make(&Recipe { board: "mk-node-emulated".to_owned(), ..recipe(8_192) }).unwrap();
        assert_ne!(other.bytes[0x200..0x200 + 2_000], program);
        assert!(!forge.has("mk-node-s140", Behaviour::Degraded) && forge.has("mk-node-emulated", Behaviour::Degraded));
        let why = forge.make(&recipe(2_048)).unwrap_err().to_string();
        assert!(why.contains("2000 bytes does not fit"), "{why}");
    }

    #[test]
    fn the_cache_stays_small() {
        let forge = Forge::new();
        for seed in 0..=MOST_KEPT as u64 {
            forge.make(&Recipe { seed, size: 8, ..recipe(8) }).unwrap_err();
        }
        assert!(forge.made.lock().unwrap().len() <= MOST_KEPT);
    }

    #[test]
    fn the_metadata_of_a_broken_file_state_its_length_and_keep_the_rest() {
        let forge = Forge::new();
        let tampering = Some(Tampering { tamper: Tamper::Truncated, at: Some(4_096) });
        let made = forge.make(&Recipe { tampering, ..recipe(8_192) }).unwrap();
        let whole = forge.make(&recipe(8_192)).unwrap();
        let (said, good) = (Metadata::read(&made.metadata).unwrap(), Metadata::read(&whole.metadata).unwrap());
        assert_eq!((said.size, said.sha256), (4_096, good.sha256));
        assert_eq!((made.check, made.bank_a), (ImageCheck::Malformed, None));
    }
}
