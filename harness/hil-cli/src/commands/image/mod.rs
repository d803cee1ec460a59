//! `hil image`: makes, signs, judges, shows and breaks firmware images.

mod inspect;
mod verify;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fixture_images::signer::ResignError;
use fixture_images::tamper::TamperError;
use fixture_images::{
    Bench, Board, BuildId, ForgeError, ForgedImage, ImageSpec, Signer, Tamper, TestKey, Version, hex,
};

use super::{number, read_file, size, write_file};
use crate::exit::CommandError;

/// Arguments of `hil image`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil image build --version 1.2.0 --key fixtures/keys/release.pem --out app.bin
  hil image build --version 1.2.0 --payload app.raw --config-version 3 --oldest-migratable 2 \\
      --key fixtures/keys/release.pem --out app.bin
  hil image verify app.bin --key fixtures/keys/release.pub.pem
  hil image inspect app.bin
  hil image tamper app.bin --how flip-payload-bit --out broken.bin

Images are in MCUboot's format: imgtool reads ours, and these commands read imgtool's.")]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Make an image from a payload, or with a made-up one, and sign it.
    Build(BuildArgs),
    /// Sign an image anew; everything that the signature covers stays as it is.
    Sign(SignArgs),
    /// Judge an image as a node would: the product's own parser and verifier. Exit code 100: refused.
    Verify(verify::VerifyArgs),
    /// Show an image's header and TLVs with their offsets.
    Inspect(inspect::InspectArgs),
    /// Break an image in a named way, for tests.
    Tamper(TamperArgs),
}

/// Who signs.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Private key, PKCS#8 PEM (the throwaway test keys: fixtures/keys/*.pem).
    #[arg(long, value_name = "FILE", required_unless_present = "pkcs11_module")]
    key: Option<PathBuf>,
    #[command(flatten)]
    hsm: HsmArgs,
}

/// A key in an HSM.
#[derive(Debug, Args)]
struct HsmArgs {
    /// PKCS#11 module of the HSM that holds the key; the PIN comes from the environment variable HIL_PKCS11_PIN.
    #[arg(long, value_name = "FILE", conflicts_with = "key", requires = "pkcs11_key")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_token: Option<String>,
    /// Label of the key pair.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_key: Option<String>,
}

impl KeyArgs {
    /// The signer these arguments name.
    pub(super) fn signer(&self) -> Result<Box<dyn Signer>, CommandError> {
        if let Some(path) = &self.key {
            let key = TestKey::open(path).map_err(|error| CommandError::invalid_file(error.to_string()))?;
            return Ok(Box::new(key));
        }
        self.hsm.signer()
    }
}

impl HsmArgs {
    fn signer(&self) -> Result<Box<dyn Signer>, CommandError> {
        use fixture_images::hsm::HsmKey;
        let (Some(module), Some(key)) = (&self.pkcs11_module, &self.pkcs11_key) else {
            return Err(CommandError::usage("give --key, or --pkcs11-module with --pkcs11-key"));
        };
        let pin = std::env::var("HIL_PKCS11_PIN")
            .map_err(|_| CommandError::usage("the environment variable HIL_PKCS11_PIN holds no PIN"))?;
        let opened = HsmKey::open(module, self.pkcs11_token.as_deref(), key, &pin);
        Ok(Box::new(opened.map_err(|error| CommandError::invalid_file(error.to_string()))?))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil image build --version 1.2.0 --size 512KiB --seed 7 --key fixtures/keys/release.pem --out app.bin
  hil image build --version 2.0.0 --payload app.raw --config-version 3 --oldest-migratable 2 \\
      --key fixtures/keys/release.pem --out app.bin

The same arguments always give the same bytes. With --size the file has exactly that size.")]
struct BuildArgs {
    /// Version: major.minor.revision, and +build if any.
    #[arg(long, value_name = "1.2.3+4")]
    version: Version,
    /// Where the image goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Payload to wrap, linked for bank A of the board. Without it one is made up from the seed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "seed", "build_id"])]
    payload: Option<PathBuf>,
    /// Size of the whole file: 65536, 64KiB, 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "64KiB")]
    size: u32,
    /// Makes payloads differ.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Behaviour id in a made-up payload.
    #[arg(long, value_name = "ID", default_value = "app")]
    build_id: BuildId,
    /// Board the image is for: sets hardware id and address.
    #[arg(long, value_name = "NAME", default_value = "mk-node-s140")]
    board: String,
    /// Another hardware id than the board's.
    #[arg(long, value_name = "ID", value_parser = number)]
    hardware_id: Option<u32>,
    /// config_migration_version: the configuration format that the image works on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    config_version: u16,
    /// Oldest configuration that the image's migration handler accepts. Without it the image has no handler.
    #[arg(long, value_name = "N")]
    oldest_migratable: Option<u16>,
    /// Counter against downgrade. Without it, derived from the version as imgtool's `auto` does.
    #[arg(long, value_name = "N", value_parser = number)]
    security_counter: Option<u32>,
}

#[derive(Debug, Args)]
struct SignArgs {
    /// The image.
    file: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Where the signed image goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil image tamper --list
  hil image tamper app.bin --how flip-payload-bit --at 100 --out broken.bin
  hil image tamper app.bin --how downgrade --key fixtures/keys/release.pem --out old.bin")]
struct TamperArgs {
    /// A good image.
    #[arg(required_unless_present = "list")]
    file: Option<PathBuf>,
    /// The way to break it; --list shows them all.
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    how: Option<Tamper>,
    /// Where the broken image goes.
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Offset, length or count, as the tamper's line in --list says.
    #[arg(long, value_name = "N", value_parser = number)]
    at: Option<u32>,
    /// The release key, for tampers that sign anew.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Slot size, for tampers that pass it.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    slot_size: Option<u32>,
    /// Show every tamper and what it does.
    #[arg(long)]
    list: bool,
}

/// Runs `hil image`.
///
/// # Errors
/// [`CommandError`] with the exit code's class.
pub fn run(args: &ImageArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    match &args.command {
        ImageCommand::Build(args) => build(args, out),
        ImageCommand::Sign(args) => sign(args, out),
        ImageCommand::Verify(args) => verify::run(args, out),
        ImageCommand::Inspect(args) => inspect::run(args, out),
        ImageCommand::Tamper(args) => tamper(args, out),
    }
}

fn build(args: &BuildArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let board = Board::named(&args.board).map_err(|error| CommandError::usage(error.to_string()))?;
    let plain = ImageSpec::for_board(&board, args.version);
    let spec = ImageSpec {
        hardware_id: args.hardware_id.unwrap_or(board.hardware_id),
        config_migration_version: args.config_version,
        oldest_migratable_version: args.oldest_migratable,
        security_counter: args.security_counter.or(plain.security_counter),
        build_id: args.build_id,
        size: args.size,
        seed: args.seed,
        ..plain
    };
    let signer = args.key.signer()?;
    let forged = match &args.payload {
        Some(path) => spec.wrap(&read_file(path)?, &signer),
        None => spec.build(&signer),
    };
    let image = forged.map_err(forge_error)?;
    if image.bytes.len() > board.slot_size() as usize {
        let (len, slot) = (image.bytes.len(), board.slot_size());
        writeln!(out, "warning: {len} bytes; a slot of {} holds {slot}", board.name)?;
    }
    write_file(&args.out, &image.bytes)?;
    summary(&args.out.display().to_string(), &image, out)
}

fn forge_error(error: ForgeError) -> CommandError {
    match error {
        ForgeError::TooSmall { .. } | ForgeError::ProgramTooLarge { .. } | ForgeError::BuildId { .. } => {
            CommandError::usage(error.to_string())
        }
        ForgeError::SignatureLength { .. } | ForgeError::Sign(_) => CommandError::internal(error.to_string()),
    }
}

fn sign(args: &SignArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let file = read_file(&args.file)?;
    let signed = fixture_images::resign(&file, &args.key.signer()?).map_err(|error| match error {
        ResignError::Malformed(error) => CommandError::invalid_file(format!("{}: {error}", args.file.display()))
            .hint("`hil image build --payload` makes an image from a raw binary"),
        ResignError::Sign(error) => CommandError::internal(error.to_string()),
    })?;
    write_file(&args.out, &signed)?;
    let image = ForgedImage::read(signed).map_err(|error| CommandError::internal(error.to_string()))?;
    summary(&args.out.display().to_string(), &image, out)
}

fn summary(name: &str, image: &ForgedImage, out: &mut dyn Write) -> Result<(), CommandError> {
    writeln!(out, "{name}: version {}, {} bytes", image.facts.version, image.bytes.len())?;
    writeln!(out, "file SHA-256   {}", hex(&image.digest))?;
    writeln!(out, "image SHA-256  {}", hex(&image.image_hash))?;
    Ok(())
}

fn tamper(args: &TamperArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let (Some(file), Some(how), Some(to), false) = (&args.file, args.how, &args.out, args.list) else {
        return list_tampers(out);
    };
    let image = read_file(file)?;
    let key = args.key.as_deref().map(TestKey::open).transpose();
    let key = key.map_err(|error| CommandError::invalid_file(error.to_string()))?;
    let bench = Bench { signer: key.as_ref().map(|key| key as &dyn Signer), at: args.at, slot_size: args.slot_size };
    let broken = how.apply(&image, &bench).map_err(|error| match error {
        TamperError::Malformed(_) | TamperError::NoSignature(_) => {
            CommandError::invalid_file(format!("{}: {error}", file.display()))
        }
        TamperError::NeedsKey(_) => CommandError::usage(error.to_string()).hint("add --key fixtures/keys/release.pem"),
        TamperError::Outside { .. } | TamperError::NoEffect(_) => CommandError::usage(error.to_string()),
        TamperError::Sign(_) => CommandError::internal(error.to_string()),
    })?;
    write_file(to, &broken.bytes)?;
    let proof = &broken.proof;
    writeln!(out, "{}: {}: {}", to.display(), how, how.what())?;
    writeln!(out, "first difference at {:#x}, {} bytes before, {} now", proof.offset, image.len(), broken.bytes.len())?;
    writeln!(out, "  before  {}", excerpt(&proof.before))?;
    writeln!(out, "  after   {}", excerpt(&proof.after))?;
    writeln!(out, "file SHA-256   {}", hex(&proof.digest))?;
    Ok(())
}

fn excerpt(bytes: &[u8]) -> String {
    if bytes.is_empty() { "(the file has ended)".into() } else { hex(bytes) }
}

fn list_tampers(out: &mut dyn Write) -> Result<(), CommandError> {
    for tamper in Tamper::ALL {
        let key = if tamper.needs_key() { "--key" } else { "" };
        writeln!(out, "{tamper:26}{key:7}{}", tamper.what())?;
    }
    Ok(())
}
