//! Oracle 1: no node ever executes an image whose signature does not verify under its provisioned key.
//!
//! Evidence: the harness's own examiner reads bank A at the moment the core begins to execute it (`ImageStarted.check`).
//! The bootloader's word counts for nothing here. Without a debug port there is no such event, and the rule is unproven.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::{Capability, Event, Fact, Finding, ImageCheck};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-1",
    invariant: "no node ever executes an image whose signature does not verify under its provisioned key",
    needs: &[Capability::ProbeRead],
    make: |_: &Context| Box::new(Signature::default()),
};

#[derive(Default)]
struct Signature {
    tally: Tally,
}

impl Rule for Signature {
    fn on_event(&mut self, event: &Event) {
        let Fact::ImageStarted { digest, check, build, .. } = &event.fact else { return };
        self.tally.check();
        if *check != ImageCheck::Valid {
            let what = match check {
                ImageCheck::Valid => "valid",
                ImageCheck::Empty => "erased flash",
                ImageCheck::Malformed => "an image that is not well-formed",
                ImageCheck::HashMismatch => "an image whose bytes differ from their hash",
                ImageCheck::BadSignature => "an image whose signature does not verify",
                ImageCheck::Unsigned => "an image without a signature",
            };
            self.tally
                .broken(event.seq, format!("{} executed {what} ({}, build {build:?})", event.about, digest.short()));
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        if self.tally.checks() == 0 {
            self.tally.unproven("no start of an image was witnessed".to_owned());
        }
        let holds = format!("{}, every image valid under the provisioned key", many(self.tally.checks(), "start"));
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::ImageCheck;
    use hil_model::record::Conclusion::{Broken, Holds, Unproven};
    use rstest::rstest;

    #[rstest]
    #[case::valid(ImageCheck::Valid, Holds)]
    #[case::empty(ImageCheck::Empty, Broken)]
    #[case::malformed(ImageCheck::Malformed, Broken)]
    #[case::hash(ImageCheck::HashMismatch, Broken)]
    #[case::signature(ImageCheck::BadSignature, Broken)]
    #[case::unsigned(ImageCheck::Unsigned, Broken)]
    fn only_valid_images_may_run(#[case] check: ImageCheck, #[case] want: hil_model::record::Conclusion) {
        let mut script = Script::healthy(2);
        script.at(60).image_checked(1, OLD, false, check);
        let finding = script.finding("oracle-1");
        assert_eq!(finding.conclusion, want, "{finding:?}");
        assert_eq!(!finding.events.is_empty(), want == Broken);
    }

    #[test]
    fn without_a_witness_nothing_is_said() {
        assert_eq!(Script::blind(2).finding("oracle-1").conclusion, Unproven);
    }
}
