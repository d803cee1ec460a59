//! Signing with a key in an HSM, on SoftHSM2.
//!
//! Needs SoftHSM2 (`apt-get install softhsm2`, or HIL_PKCS11_MODULE and HIL_SOFTHSM2_UTIL naming its parts). Without it the
//! test says so and passes on a desk; where the environment variable CI is set it fails.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

const PIN: &str = "4711";

/// A token of its own with the throwaway release key in it.
struct Token {
    desk: TempDir,
    module: String,
    util: String,
}

impl Token {
    /// `None` where there is no SoftHSM2 and none is demanded.
    fn new() -> Option<Self> {
        let module = std::env::var("HIL_PKCS11_MODULE").ok().or_else(|| {
            let known = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
            known.into_iter().find(|path| PathBuf::from(path).exists()).map(Into::into)
        });
        let Some(module) = module else {
            assert!(std::env::var_os("CI").is_none(), "CI has to run this: apt-get install softhsm2");
            let _ = writeln!(std::io::stderr(), "skipped: no SoftHSM2; install softhsm2, or set HIL_PKCS11_MODULE");
            return None;
        };
        let desk = TempDir::new().unwrap();
        std::fs::create_dir(desk.path().join("tokens")).unwrap();
        let conf =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", desk.path().join("tokens").display());
        std::fs::write(desk.path().join("softhsm2.conf"), conf).unwrap();
        let util = std::env::var("HIL_SOFTHSM2_UTIL").unwrap_or_else(|_| "softhsm2-util".into());
        let token = Self { desk, module, util };
        token.util(&["--init-token", "--free", "--label", "release-hsm", "--so-pin", "0815", "--pin", PIN]);
        let pem = key("release.pem");
        token.util(&["--import", &pem, "--token", "release-hsm", "--label", "firmware", "--id", "01", "--pin", PIN]);
        Some(token)
    }

    fn util(&self, arguments: &[&str]) {
        let output = self.run(Command::new(&self.util).arg("--module").arg(&self.module).args(arguments));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(&self, command: &mut Command) -> Output {
        let conf = self.desk.path().join("softhsm2.conf");
        command.current_dir(self.desk.path()).env("SOFTHSM2_CONF", conf).output().unwrap()
    }

    /// Exit code and standard error of `hil` with these words.
    fn hil(&self, words: &str, pin: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hil"));
        let output = self.run(command.args(words.split_whitespace()).env("HIL_PKCS11_PIN", pin));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

fn key(name: &str) -> String {
    format!("{}/../../fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn an_image_signed_in_the_hsm_is_accepted_under_its_public_key_and_mistakes_are_named() {
    let Some(token) = Token::new() else { return };
    let hsm = format!("--pkcs11-module {} --pkcs11-token release-hsm --pkcs11-key firmware", token.module);
    let good = (0, String::new());
    assert_eq!(token.hil(&format!("image build --version 1.2.0 --size 8KiB {hsm} --out app.bin"), PIN), good);
    assert_eq!(token.hil(&format!("image verify app.bin --key {}", key("release.pub.pem")), PIN), good);
    assert_eq!(token.hil(&format!("image sign app.bin {hsm} --out again.bin"), PIN), good);
    assert_eq!(token.hil(&format!("package build --image mesh=app.bin {hsm} --out u.zip"), PIN), good);
    assert_eq!(token.hil(&format!("package inspect u.zip --key {}", key("release.pub.pem")), PIN), good);
    let one_token = format!("image sign app.bin --pkcs11-module {} --pkcs11-key firmware --out b.bin", token.module);
    assert_eq!(token.hil(&one_token, PIN), good, "one token needs no label");

    let sign = |hsm: &str, pin| token.hil(&format!("image sign app.bin {hsm} --out b.bin"), pin);
    for (hsm, pin, want) in [
        (hsm.clone(), "1234", "logging in"),
        (hsm.replace("release-hsm", "other"), PIN, "token is labelled \"other\"; there are: release-hsm"),
        (hsm.replace("firmware", "none"), PIN, "0 private P-256 keys are labelled \"none\""),
        (hsm.replace("libsofthsm2", "nothing"), PIN, "loading the module"),
    ] {
        let (code, error) = sign(&hsm, pin);
        assert_eq!(code, 3, "{error}");
        assert!(error.contains(want), "{error}");
        assert!(!error.contains(pin), "the PIN stays out of messages: {error}");
    }
}
