//! `gateway-restart`: the gateway process is killed and comes back from what it has stored.

use super::{Documented, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::proof::{Clause, Hit, Want};
use crate::scenario::Moment;
use hil_model::{About, Action, Fact, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GatewayRestart {
    /// Which gateway, from 1.
    #[serde(default = "first")]
    pub gateway: u16,
    /// When.
    pub when: Moment,
    /// How long it is down.
    pub down: Span,
}

const fn first() -> u16 {
    1
}

impl Documented for GatewayRestart {
    const MANUAL: &'static str = "The gateway process is killed in the middle of its work and started again after \
        `down`, from what it has stored. The proof is the gateway going down and coming up.";
    const EXAMPLE: &'static str = "gateway-restart: { when: { after: { block-done: 7 } }, down: 20 s }";
}

impl Fault for GatewayRestart {
    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let gateway = crate::scenario::gateway_of(lab.fleet, self.gateway)
            .ok_or_else(|| Trouble::at("gateway", format!("the fleet has no gateway {}", self.gateway)))?;
        let when = lab.when(&self.when)?;
        lab.act(when, Action::RestartGateway(gateway, self.down));
        for (fact, what) in [(Fact::GatewayDown, "down"), (Fact::GatewayUp, "up again")] {
            lab.prove(Clause::new(format!("{gateway} {what}"), Want::AtLeast(1), move |event| {
                if event.about == About::Gateway(gateway) && event.fact == fact { Hit::Yes } else { Hit::No }
            }));
        }
        Ok(())
    }
}
