//! `hil image inspect`: what an image says of itself, with offsets. Judges nothing.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use fixture_images::examine::{Outline, build_record, outline};
use fixture_images::{hex, layout, sha256};
use serde::Serialize;

use super::super::read_file;
use crate::exit::CommandError;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil image inspect app.bin
  hil image inspect app.bin --json

Inspecting judges nothing: `hil image verify` does.")]
pub(super) struct InspectArgs {
    /// The image.
    file: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    size: usize,
    version: String,
    build_id: Option<String>,
    sha256: String,
    /// SHA-256 over the signed range, computed now.
    image_sha256: String,
    image_sha256_is_stated: bool,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    offset: usize,
    size: usize,
    area: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u16>,
    name: &'static str,
    value: String,
}

pub(super) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let bytes = read_file(&args.file)?;
    let name = args.file.display().to_string();
    let outline = outline(&bytes).map_err(|error| CommandError::invalid_file(format!("{name}: {error}")))?;
    let report = report(name, &bytes, &outline);
    if args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| CommandError::internal(error.to_string()))?;
        writeln!(out, "{json}")?;
        return Ok(());
    }
    table(&report, out)
}

fn report(file: String, bytes: &[u8], outline: &Outline<'_>) -> Report {
    let facts = &outline.facts;
    let part = |range: core::ops::Range<u32>| bytes.get(range.start as usize..range.end as usize).unwrap_or_default();
    let hash = sha256(part(0..facts.protected.end));
    let build = build_record(part(facts.payload.clone()));
    let mut rows = header_rows(bytes);
    rows.push(Row {
        offset: facts.payload.start as usize,
        size: facts.payload.len(),
        area: "payload",
        kind: None,
        name: "payload",
        value: build.map_or_else(|| "no build record".into(), |(id, version)| format!("build id {id}, {version}")),
    });
    rows.extend(outline.tlvs.iter().map(|tlv| Row {
        offset: tlv.offset,
        size: tlv.value.len(),
        area: if tlv.protected { "protected" } else { "tlv" },
        kind: Some(tlv.kind),
        name: tlv_name(tlv.kind),
        value: value(tlv.kind, tlv.value),
    }));
    Report {
        file,
        size: bytes.len(),
        version: facts.version.to_string(),
        build_id: build.map(|(id, _)| id.to_string()),
        sha256: hex(&sha256(bytes)),
        image_sha256: hex(&hash),
        image_sha256_is_stated: outline.tlv(layout::TLV_SHA256).is_some_and(|tlv| tlv.value == hash),
        rows,
    }
}

fn header_rows(bytes: &[u8]) -> Vec<Row> {
    use layout::header::{FLAGS, HEADER_SIZE, LOAD_ADDRESS, MAGIC, PAYLOAD_SIZE, PROTECTED_SIZE};
    let fields = [
        (MAGIC, 4, "magic"),
        (LOAD_ADDRESS, 4, "load address"),
        (HEADER_SIZE, 2, "header size"),
        (PROTECTED_SIZE, 2, "protected TLVs"),
        (PAYLOAD_SIZE, 4, "payload size"),
        (FLAGS, 4, "flags"),
    ];
    let row = |(offset, size, name)| {
        let field = bytes.get(offset..offset + size).unwrap_or_default();
        Row { offset, size, area: "header", kind: None, name, value: little_endian(field) }
    };
    fields.into_iter().map(row).collect()
}

/// A number as people compare it: hexadecimal and decimal.
fn little_endian(bytes: &[u8]) -> String {
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:#x} ({number})")
}

fn tlv_name(kind: u16) -> &'static str {
    match kind {
        layout::TLV_KEYHASH => "key hash",
        layout::TLV_SHA256 => "image SHA-256",
        layout::TLV_ECDSA => "ECDSA signature",
        layout::TLV_SECURITY_COUNTER => "security counter",
        layout::TLV_CONFIG_VERSION => "config_migration_version",
        layout::TLV_OLDEST_MIGRATABLE => "oldest migratable version",
        layout::TLV_HARDWARE_ID => "hardware id",
        _ => "unknown",
    }
}

fn value(kind: u16, bytes: &[u8]) -> String {
    match kind {
        layout::TLV_SECURITY_COUNTER
        | layout::TLV_CONFIG_VERSION
        | layout::TLV_OLDEST_MIGRATABLE
        | layout::TLV_HARDWARE_ID => little_endian(bytes),
        _ => hex(bytes),
    }
}

fn table(report: &Report, out: &mut dyn Write) -> Result<(), CommandError> {
    writeln!(out, "{}: version {}, {} bytes", report.file, report.version, report.size)?;
    writeln!(out, "{:>8} {:>7}  {:10} {:7} {:26} value", "offset", "size", "area", "type", "name")?;
    for Row { offset, size, area, kind, name, value } in &report.rows {
        let kind = kind.map(|kind| format!("{kind:#06x}")).unwrap_or_default();
        writeln!(out, "{offset:#8x} {size:>7}  {area:10} {kind:7} {name:26} {value}")?;
    }
    writeln!(out, "file SHA-256   {}", report.sha256)?;
    let stated = if report.image_sha256_is_stated { "as stated" } else { "NOT as stated" };
    writeln!(out, "image SHA-256  {} ({stated})", report.image_sha256)?;
    Ok(())
}
