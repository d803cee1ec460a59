//! `hil package`: makes packages and looks into them.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fixture_images::{ForgedImage, Package, PackageError, Protocol, hex};

use super::image::KeyArgs;
use super::{read_file, write_file};
use crate::exit::CommandError;

/// Arguments of `hil package`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil package build --image mesh=app.bin --image thread=app.bin --key fixtures/keys/release.pem --out update.zip
  hil package inspect update.zip --key fixtures/keys/release.pub.pem

A package is one zip: manifest.yaml and the images it names, for each protocol and board one. Manifest, signed metadata \
and image state the same facts; where they differ the package is refused and both values are shown.")]
pub struct PackageArgs {
    #[command(subcommand)]
    command: PackageCommand,
}

#[derive(Debug, Subcommand)]
enum PackageCommand {
    /// Make a package from images and sign their metadata.
    Build(BuildArgs),
    /// Check a package against itself and show what it holds.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// An image and how nodes get it: mesh=FILE or thread=FILE; once for each protocol and board.
    #[arg(long = "image", value_name = "PROTOCOL=FILE", value_parser = protocol_and_file, required = true)]
    images: Vec<(Protocol, PathBuf)>,
    #[command(flatten)]
    key: KeyArgs,
    /// Where the package goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// The package.
    file: PathBuf,
    /// Key that the nodes are provisioned with (PEM): judges signatures of images and metadata too.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The manifest as JSON.
    #[arg(long)]
    json: bool,
}

fn protocol_and_file(text: &str) -> Result<(Protocol, PathBuf), String> {
    let (protocol, file) = text.split_once('=').ok_or("write mesh=FILE or thread=FILE")?;
    Ok((protocol.parse().map_err(|error: fixture_images::package::UnknownProtocol| error.to_string())?, file.into()))
}

/// Runs `hil package`.
///
/// # Errors
/// [`CommandError`] with the exit code's class.
pub fn run(args: &PackageArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    match &args.command {
        PackageCommand::Build(args) => build(args, out),
        PackageCommand::Inspect(args) => inspect(args, out),
    }
}

fn build(args: &BuildArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let mut images = Vec::new();
    for (protocol, path) in &args.images {
        let image = ForgedImage::read(read_file(path)?)
            .map_err(|error| CommandError::invalid_file(format!("{}: {error}", path.display())))?;
        images.push((*protocol, image));
    }
    let images: Vec<_> = images.iter().map(|(protocol, image)| (*protocol, image)).collect();
    let package = Package::build(&images, &args.key.signer()?).map_err(package_error)?;
    let zip = package.to_zip().map_err(package_error)?;
    write_file(&args.out, &zip)?;
    writeln!(out, "{}: version {}, {} bytes", args.out.display(), package.manifest.version, zip.len())?;
    list(&package, out)
}

fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let name = args.file.display();
    let package = Package::open_file(&args.file)
        .map_err(|error| CommandError { message: format!("{name}: {error}"), ..package_error(error) })?;
    if args.json {
        let json = serde_json::to_string_pretty(&package.manifest)
            .map_err(|error| CommandError::internal(error.to_string()))?;
        writeln!(out, "{json}")?;
    } else {
        writeln!(out, "{name}: version {}", package.manifest.version)?;
        list(&package, out)?;
    }
    let Some(path) = &args.key else { return Ok(()) };
    let key = fixture_images::keys::open_public(path).map_err(|error| CommandError::invalid_file(error.to_string()))?;
    let untrusted = package.untrusted(&key);
    if untrusted.is_empty() {
        return Ok(());
    }
    let message = format!("{name}: not signed by the key of {}: {}", path.display(), untrusted.join(", "));
    Err(CommandError::product(message))
}

fn list(package: &Package, out: &mut dyn Write) -> Result<(), CommandError> {
    writeln!(
        out,
        "{:9} {:11} {:>8} {:>7} {:>7}  {:22} SHA-256",
        "protocol", "hardware id", "size", "config", "oldest", "file"
    )?;
    for entry in &package.manifest.images {
        let oldest = entry.oldest_migratable_version.map_or_else(|| "-".into(), |version| version.to_string());
        writeln!(
            out,
            "{:9} {:#010x}  {:>8} {:>7} {oldest:>7}  {:22} {}",
            entry.protocol.name(),
            entry.hardware_id,
            entry.size,
            entry.config_migration_version,
            entry.file,
            hex(&entry.sha256),
        )?;
    }
    Ok(())
}

fn package_error(error: PackageError) -> CommandError {
    match error {
        PackageError::Sign(_) => CommandError::internal(error.to_string()),
        PackageError::Unreadable { .. }
        | PackageError::TooLarge { .. }
        | PackageError::Zip { .. }
        | PackageError::File { .. }
        | PackageError::Name { .. }
        | PackageError::Manifest { .. }
        | PackageError::MissingFile { .. }
        | PackageError::ExtraFile { .. }
        | PackageError::Image { .. }
        | PackageError::Disagreement { .. } => CommandError::invalid_file(error.to_string()),
    }
}
