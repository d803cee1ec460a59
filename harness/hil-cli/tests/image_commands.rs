//! `hil image` and `hil package` as people run them: what they print, what they write, how they end.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::process::Command;

use rstest::rstest;
use tempfile::TempDir;

/// A directory to work in, with `app.bin` in it: version 1.2.0, 8192 bytes, signed by the release key.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(TempDir::new().unwrap());
        desk.ok(&format!(
            "image build --version 1.2.0 --size 8KiB --oldest-migratable 1 --key {} --out app.bin",
            key("release.pem")
        ));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code, standard output and error of `hil` with these words.
    fn run(&self, words: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hil"));
        let output = command.args(words.split_whitespace()).current_dir(self.0.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, words: &str) -> String {
        let (code, out, error) = self.run(words);
        assert_eq!(code, 0, "hil {words}: {error}");
        out
    }
}

fn key(name: &str) -> String {
    format!("{}/../../fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_built_image_verifies_and_the_same_arguments_give_the_same_bytes() {
    let desk = Desk::new();
    assert_eq!(std::fs::metadata(desk.path("app.bin")).unwrap().len(), 8192);
    let out = desk.ok(&format!("image verify app.bin --key {}", key("release.pub.pem")));
    assert!(out.starts_with("app.bin: accepted: version 1.2.0, signed by the key of "), "{out}");
    desk.ok(&format!(
        "image build --version 1.2.0 --size 8192 --oldest-migratable 1 --key {} --out again.bin",
        key("release.pem")
    ));
    assert_eq!(std::fs::read(desk.path("app.bin")).unwrap(), std::fs::read(desk.path("again.bin")).unwrap());
}

#[test]
fn a_payload_from_a_file_is_wrapped_unchanged() {
    let desk = Desk::new();
    std::fs::write(desk.path("app.raw"), [0x5a; 1000]).unwrap();
    let facts = "--config-version 3 --hardware-id 0x99";
    desk.ok(&format!("image build --version 2.0.0 --payload app.raw {facts} --key {} --out w.bin", key("release.pem")));
    let bytes = std::fs::read(desk.path("w.bin")).unwrap();
    assert_eq!(bytes[0x200..0x200 + 1000], [0x5a; 1000]);
    let table = desk.ok("image inspect w.bin");
    for line in ["config_migration_version   0x3 (3)", "hardware id                0x99 (153)", "no build record"] {
        assert!(table.contains(line), "{table}");
    }
}

#[test]
fn inspect_shows_offsets_and_the_same_as_json() {
    let desk = Desk::new();
    let table = desk.ok("image inspect app.bin");
    let magic = "     0x0       4  header             magic                      0x96f3b83d (2532554813)\n";
    assert!(table.contains(magic), "{table}");
    assert!(table.contains("payload            payload                    build id app, 1.2.0\n"), "{table}");
    assert!(table.contains("(as stated)"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&desk.ok("image inspect app.bin --json")).unwrap();
    assert_eq!(json["version"], "1.2.0");
    assert_eq!(json["rows"][0]["value"], "0x96f3b83d (2532554813)");
}

#[test]
fn signing_anew_changes_who_is_believed_and_nothing_that_was_signed() {
    let desk = Desk::new();
    desk.ok(&format!("image sign app.bin --key {} --out rogue.bin", key("rogue.pem")));
    let (code, _, error) = desk.run(&format!("image verify rogue.bin --key {}", key("release.pub.pem")));
    assert_eq!((code, error.as_str()), (100, "hil: rogue.bin: refused: it says itself that another key signed it\n"));
    desk.ok(&format!("image verify rogue.bin --key {}", key("rogue.pub.pem")));
}

#[rstest]
#[case::flipped("flip-payload-bit", 100, "hash is ")]
#[case::unsigned("unsigned", 100, "it is not signed")]
#[case::signature("r-and-s-zero", 100, "the signature does not verify")]
#[case::cut("truncated", 100, "image octet 0xc: payload ends at")]
#[case::twin("signature-twin", 0, "")]
fn a_tampered_image_is_refused_with_the_reason(#[case] how: &str, #[case] code: i32, #[case] reason: &str) {
    let desk = Desk::new();
    let out = desk.ok(&format!("image tamper app.bin --how {how} --out broken.bin"));
    assert!(out.starts_with(&format!("broken.bin: {how}: ")), "{out}");
    let (found, _, error) = desk.run(&format!("image verify broken.bin --key {}", key("release.pub.pem")));
    assert_eq!(found, code, "{error}");
    assert!(error.contains(reason), "{error}");
}

#[rstest]
#[case::no_arguments("image build", 2, "--version")]
#[case::bad_version("image build --version 1 --key k --out o", 2, "is not a version")]
#[case::too_small("image build --version 1.0.0 --size 100 --key KEY --out o", 2, "an image of 100 bytes has no room")]
#[case::no_board("image build --version 1.0.0 --board mk --key KEY --out o", 2, "no board is called \"mk\"; there are")]
#[case::no_key("image build --version 1.0.0 --key no.pem --out o", 3, "no.pem: ")]
#[case::not_a_key("image verify app.bin --key app.bin", 3, "app.bin")]
#[case::no_file("image verify none.bin --key KEY", 3, "none.bin: ")]
#[case::not_an_image("image inspect KEY", 3, "offset 0x0: no image magic")]
#[case::no_tamper("image tamper app.bin --how nothing --out o", 2, "no tamper is called \"nothing\"")]
#[case::needs_key("image tamper app.bin --how downgrade --out o", 2, "hint: add --key fixtures/keys/release.pem")]
#[case::outside("image tamper app.bin --how truncated --at 8192 --out o", 2, "outside: it goes up to 8191")]
#[case::no_package("package inspect app.bin", 3, "app.bin: not a readable zip")]
#[case::no_protocol("package build --image lora=app.bin --key KEY --out o", 2, "\"lora\" is no protocol")]
fn a_mistake_ends_with_its_own_code_and_says_what(#[case] words: &str, #[case] code: i32, #[case] text: &str) {
    let desk = Desk::new();
    let (found, _, error) = desk.run(&words.replace("KEY", &key("release.pem")));
    assert_eq!(found, code, "{error}");
    assert!(error.contains(text), "{error}");
}

#[test]
fn the_tamper_list_names_each_one() {
    let list = Desk::new().ok("image tamper --list");
    assert_eq!(list.lines().count(), fixture_images::Tamper::ALL.len());
    assert!(list.contains("downgrade                 --key  oldest version"), "{list}");
}

#[test]
fn a_package_is_built_and_inspected_and_its_signatures_judged() {
    let desk = Desk::new();
    let images = "--image mesh=app.bin --image thread=app.bin";
    desk.ok(&format!("package build {images} --key {} --out u.zip", key("release.pem")));
    let out = desk.ok(&format!("package inspect u.zip --key {}", key("release.pub.pem")));
    assert!(out.contains("thread    0x4d4b0001      8192       1       1  thread-4d4b0001.bin"), "{out}");
    let (code, _, error) = desk.run(&format!("package inspect u.zip --key {}", key("rogue.pub.pem")));
    assert_eq!(code, 100);
    assert!(error.contains("not signed by the key of"), "{error}");
    let json: serde_json::Value = serde_json::from_str(&desk.ok("package inspect u.zip --json")).unwrap();
    assert_eq!(json["images"][0]["hardware_id"], "0x4d4b0001");
}
