//! `hil doctor`, `flash`, `console` and `power` as people at a bench use them, on emulated boards and on a lab that is not
//! there.
//!
//! Trials that need QEMU are ignored without it, with that reason, and fail in CI.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Two boards and no firmware on file.
const BARE: &str = "kind: emulated\nfleet: { nodes: 2 }\nfirmware: { folder: nowhere }\n";

/// How a command ended: exit code, standard output, standard error.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn hil(words: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_hil")).args(words).current_dir(root()).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ended {
    /// Ends with this code and has all these words in what it said.
    #[track_caller]
    fn with(&self, code: i32, words: &[&str]) {
        let said = format!("{}\n--\n{}", self.out, self.err);
        assert_eq!(self.code, code, "{said}");
        for word in words {
            assert!(said.contains(word), "no {word:?} in\n{said}");
        }
    }
}

/// A rack file that is gone with the test.
struct File(tempfile::NamedTempFile);

impl File {
    fn of(text: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

const ANYWHERE: &[(&str, fn())] = &[
    ("a_lab_that_is_not_there_has_a_line_and_a_next_step_for_every_part", || {
        let ended = hil(&["doctor", "--rack", "rigs/racks/lab-example.yaml"]);
        ended.with(5, &["n01   probe      WRONG", "n01   console    WRONG", "n05   probe", "gw1   radio      WRONG"]);
        ended.with(
            5,
            &["next: plug the probe in", "next: plug the radio co-processor in", "checks found something wrong"],
        );
    }),
    ("a_wrong_rack_file_is_told_where", || {
        let file = File::of("kind: lab\nbords: []\n");
        hil(&["doctor", "--rack", file.path()]).with(3, &[":2:1: unknown field `bords`", "lab-example.yaml"]);
    }),
    ("a_suggestion_without_probes_says_so", || {
        // On a machine with boards it prints a rack file instead.
        let ended = hil(&["doctor", "--suggest"]);
        if ended.code == 0 {
            ended.with(0, &["kind: lab"]);
        } else {
            ended.with(5, &["hint: plug boards in"]);
        }
    }),
    ("the_example_of_a_lab_is_a_right_rack_file", || {
        hil(&["check", "rigs/racks/lab-example.yaml"]).with(0, &["lab-example.yaml"]);
    }),
    ("commands_for_the_bench_explain_themselves_and_the_process_for_probes_stays_hidden", || {
        let help = hil(&["--help"]);
        help.with(0, &["flash", "console", "power", "doctor"]);
        assert!(!help.out.contains("probe-worker"), "{}", help.out);
        for command in ["flash", "console", "power", "doctor"] {
            hil(&[command, "--help"]).with(0, &["Examples:", "--rack"]);
        }
    }),
];

const EMULATED: &[(&str, fn())] = &[
    ("doctor_finds_every_board_of_an_emulated_rack", || {
        let file = File::of(BARE);
        let ended = hil(&["doctor", "--rack", file.path()]);
        ended.with(5, &["n01   probe      ok", "n02   chip       ok      4d4b000000000002", "n02   console    ok"]);
        ended.with(5, &["files firmware   WRONG", "cargo xtask firmware", "1 of "]);
    }),
    ("power_is_switched_and_the_switch_is_tried", || {
        let file = File::of(BARE);
        hil(&["power", "state", "--rack", file.path()]).with(0, &["n01  on", "n02  on"]);
        hil(&["power", "self-test", "--rack", file.path(), "--board", "n02"]).with(0, &["n02  cuts and feeds"]);
    }),
    ("a_board_that_the_rack_has_not_is_named_with_those_it_has", || {
        let file = File::of(BARE);
        hil(&["power", "state", "--rack", file.path(), "--board", "n09"]).with(4, &["no n09", "n01, n02"]);
    }),
    ("flash_without_firmware_says_how_to_build_it_and_a_file_is_written_and_read_back", || {
        let file = File::of(BARE);
        let rack = ["flash", "--rack", file.path(), "--board", "n01"];
        hil(&rack).with(5, &["nowhere/boot.bin", "hint: build it with `cargo xtask firmware`"]);
        let raw = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(raw.path(), [0x5A; 10_000]).unwrap();
        let one = [rack.as_slice(), &["--file", raw.path().to_str().unwrap(), "--address", "0x10000"]].concat();
        hil(&one).with(0, &["n01  written: 10000 octets", "read back"]);
        let beyond = [rack.as_slice(), &["--file", raw.path().to_str().unwrap(), "--address", "0x30000000"]].concat();
        hil(&beyond).with(5, &["n01: flash:", "hint:"]);
    }),
    ("console_listens_for_as_long_as_it_is_told", || {
        let file = File::of(BARE);
        hil(&["console", "--rack", file.path(), "--board", "n01", "--for", "300 ms"]).with(0, &[]);
    }),
];

fn needs_qemu(name: &str, rule: fn()) -> Trial {
    Trial::ignorable_test(name, move || match rack_emulated::installed() {
        Ok(()) => {
            rule();
            Ok(Completion::Completed)
        }
        Err(error) if std::env::var_os("CI").is_some() => Err(Failed::from(error.to_string())),
        Err(error) => Ok(Completion::ignored_with(error.to_string())),
    })
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let anywhere = ANYWHERE.iter().map(|&(name, rule)| {
        Trial::test(name, move || {
            rule();
            Ok(())
        })
    });
    let emulated = EMULATED.iter().map(|&(name, rule)| needs_qemu(name, rule));
    libtest_mimic::run(&arguments, anywhere.chain(emulated).collect()).exit_code()
}
