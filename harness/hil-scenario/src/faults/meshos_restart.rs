//! `meshos-restart`: the campaign process is killed and resumes from its journal.

use super::{Documented, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::proof::{Clause, Hit, Want};
use crate::scenario::Moment;
use hil_model::{Action, Fact, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MeshosRestart {
    /// When.
    pub when: Moment,
    /// How long it is down.
    pub down: Span,
}

impl Documented for MeshosRestart {
    const MANUAL: &'static str = "The campaign process is killed and started again after `down`, from its journal. The \
        proof is the process going down and coming up with its journal read.";
    const EXAMPLE: &'static str = "meshos-restart: { when: { after: { soak-started: 1 }, delay: 2 min }, down: 60 s }";
}

impl Fault for MeshosRestart {
    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let when = lab.when(&self.when)?;
        lab.act(when, Action::RestartMeshos(self.down));
        lab.prove(Clause::new("meshos down", Want::AtLeast(1), |event| match event.fact {
            Fact::MeshosDown => Hit::Yes,
            _ => Hit::No,
        }));
        lab.prove(Clause::new("meshos up from its journal", Want::AtLeast(1), |event| match event.fact {
            Fact::MeshosUp { records } if records > 0 => Hit::Yes,
            _ => Hit::No,
        }));
        Ok(())
    }
}
