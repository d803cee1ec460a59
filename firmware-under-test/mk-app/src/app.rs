//! Node and mesh stack put together: advertisements and time go in, advertisements and effects come out.
//!
//! The target's loop is always the same: give every advertisement that was heard to [`App::on_heard`], call [`App::step`],
//! send what [`App::poll_bearer`] gives while the radio takes it, carry out what [`App::poll_effect`] says, and sleep until
//! [`App::next_wakeup`].
//!
//! Configuration is a matter of the device key and everything else of the application key: a message under the wrong key is
//! dropped here, and an answer goes under the key of its question.

use crate::handover::Provisioned;
use mk_boot::Hardware;
use mk_mesh::{
    Bearer, Destination, FlashError, KeyUse, MeshFlash, MeshSettings, NodeStack, OwnDeviceKey, SarTransmitter,
    SendError, States,
};
use mk_node::{Effect, Node, NodeHardware, Outgoing, Parts, Received, StartError};
use mk_wire::{
    AccessMessage, Addr,
    identity::Identity,
    radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE},
    time::Instant,
};

/// First octet of a BLOB chunk, of which there are some thousand per update: never configuration.
const CHUNK: u8 = 0x66;
/// Messages handed from the stack to the node in one step at most.
const MESSAGES_PER_STEP: usize = 16;

/// Why the application did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppError {
    /// The node could not; the target resets.
    #[error(transparent)]
    Node(#[from] StartError),
    /// The sequence pages could not be read: to go on without them would use numbers twice.
    #[error("the mesh stack's pages could not be read or written")]
    Mesh,
}

/// An MK-NODE on its mesh.
pub struct App<H: NodeHardware + 'static> {
    node: Node<H>,
    stack: NodeStack,
    /// A message that the stack had no room for.
    waiting: Option<Outgoing>,
}

impl<H: NodeHardware + 'static> App<H> {
    /// Starts node and stack.
    ///
    /// # Errors
    /// [`AppError`]: the application must not run.
    pub fn start(now: Instant, provisioned: &Provisioned, parts: Parts<H>, hw: &mut H) -> Result<Self, AppError> {
        let Provisioned { identity, settings, boot, boot_count } = provisioned;
        let node = Node::start(now, *settings, parts, boot, *boot_count, hw)?;
        let device_key = OwnDeviceKey::new(&identity.device_key.0);
        let mut pages = pages(hw).map_err(|_| AppError::Mesh)?;
        let stack =
            NodeStack::start(now, &mesh_settings(identity), device_key, &mut pages).map_err(|_| AppError::Mesh)?;
        let mut app = Self { node, stack, waiting: None };
        app.keep(now, hw).map_err(|_| AppError::Mesh)?;
        Ok(app)
    }

    /// An advertisement was heard: AD type, and what follows it.
    pub fn on_heard(&mut self, now: Instant, ad_type: u8, rssi_dbm: i8, pdu: &[u8], hw: &mut H) {
        match ad_type {
            AD_MESH_MESSAGE => {
                let node = &self.node;
                // What became of it is the stack's business.
                let _ = self.stack.on_pdu(now, pdu, rssi_dbm, &|group| node.listens_to(group));
            }
            // A beacon of another network, or a forged one.
            AD_MESH_BEACON => drop(self.stack.on_beacon(now, pdu)),
            _ => {}
        }
        self.hand_up(now, hw);
    }

    /// Does what is due, and moves messages between node and stack.
    pub fn step(&mut self, now: Instant, hw: &mut H) {
        if self.node.next_wakeup().is_some_and(|at| at <= now) {
            self.node.on_timer(now, hw);
        }
        self.hand_up(now, hw);
        self.hand_down(now);
        // Without new numbers the stack sends nothing; the next step tries again.
        let _ = self.keep(now, hw);
    }

    /// The next advertisement that is due.
    pub fn poll_bearer(&mut self, now: Instant) -> Option<Bearer> {
        self.stack.poll_pdu(now)
    }

    /// The next thing that the target has to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.node.poll_effect()
    }

    /// Before a reset that is meant: keeps what a power cut could lose.
    pub fn before_reset(&mut self, now: Instant, hw: &mut H) {
        self.stack.before_reset();
        // The reset comes all the same; a message could be replayed once.
        let _ = self.keep(now, hw);
    }

    /// When to step next, if nothing is heard before.
    #[must_use]
    pub fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        [self.node.next_wakeup(), self.stack.next_wakeup(now)].into_iter().flatten().min()
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node<H> {
        &self.node
    }

    fn hand_up(&mut self, now: Instant, hw: &mut H) {
        for _ in 0..MESSAGES_PER_STEP {
            let Some(message) = self.stack.poll_message() else { break };
            let device = message.key == KeyUse::Device;
            if is_configuration(message.access) == device {
                let received = Received { ttl_hops: message.hops, rssi_dbm: message.rssi_dbm };
                self.node.on_access(now, message.from, message.to, received, message.access, hw);
            }
        }
    }

    fn hand_down(&mut self, now: Instant) {
        // The outbox of the node is bounded, and so is the room of the stack.
        while let Some(message) = self.waiting.take().or_else(|| self.node.poll_transmit().cloned()) {
            let destination = Destination { ttl: message.ttl, ..destination(message.to, &message.bytes) };
            if let Err(SendError::Full) = self.stack.send(now, destination, &message.bytes) {
                self.waiting = Some(message);
                return;
            }
        }
    }

    fn keep(&mut self, now: Instant, hw: &mut H) -> Result<(), AppError> {
        if self.stack.record(now).is_none() {
            return Ok(());
        }
        let mut pages = pages(hw).map_err(|_| AppError::Mesh)?;
        self.stack.persist(now, &mut pages).map_err(|_| AppError::Mesh)
    }
}

type Pages<'a, H> = MeshFlash<&'a mut <H as Hardware>::Internal>;

fn pages<H: Hardware>(
    hw: &mut H,
) -> Result<Pages<'_, H>, FlashError<<H::Internal as embedded_storage::nor_flash::ErrorType>::Error>> {
    let area = hw.geometry().sequence;
    MeshFlash::new(hw.internal(), area.start, area.length)
}

fn mesh_settings(identity: &Identity) -> MeshSettings {
    let settings = MeshSettings::new(identity.address, identity.net_key.0, identity.app_key.0, identity.iv_index);
    // Steps of 10 ms, of which 0 stands for one; the state has four bits.
    let steps = (identity.segment_interval_ms / 10).clamp(1, 16) - 1;
    let sar_transmitter = SarTransmitter { interval_step: steps as u8, ..States::DEFAULT.sar_transmitter };
    let states = States { default_ttl: identity.ttl, relay: identity.relay, sar_transmitter, ..States::DEFAULT };
    MeshSettings { states, ..settings }
}

fn is_configuration(access: &[u8]) -> bool {
    access.first() != Some(&CHUNK) && matches!(AccessMessage::decode(access), Ok(AccessMessage::Config(_)))
}

fn destination(to: Addr, access: &[u8]) -> Destination {
    if is_configuration(access) { Destination::device(to) } else { Destination::application(to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mk_wire::identity::MeshKey;
    use rstest::rstest;

    fn identity(segment_interval_ms: u16) -> Identity {
        Identity {
            address: Addr(0x0101),
            gateway: Addr(1),
            relay: true,
            ttl: 7,
            net_key: MeshKey([1; 16]),
            app_key: MeshKey([2; 16]),
            device_key: MeshKey([3; 16]),
            iv_index: 9,
            grace_ms: 1_000,
            report_interval_ms: 1_000,
            segment_interval_ms,
        }
    }

    #[rstest]
    #[case::none(0, 0)]
    #[case::least(10, 0)]
    #[case::next(20, 1)]
    #[case::most(160, 15)]
    #[case::beyond(1_000, 15)]
    fn the_segment_interval_is_one_of_the_states_sixteen(#[case] milliseconds: u16, #[case] step: u8) {
        let settings = mesh_settings(&identity(milliseconds));
        assert_eq!(settings.states.sar_transmitter.interval_step, step);
        assert_eq!((settings.states.default_ttl, settings.states.relay, settings.iv_index), (7, true, 9));
    }

    #[rstest]
    #[case::chunk(&[0x66, 0, 0, 1], KeyUse::Application)]
    #[case::vendor_report_get(&[0xC2, 0xFF, 0xFF], KeyUse::Application)]
    #[case::nonsense(&[0x80], KeyUse::Application)]
    #[case::subscription_status(&[0x80, 0x1F, 0, 1, 1, 0x03, 0xC0, 2, 0x14], KeyUse::Device)]
    fn configuration_goes_under_the_device_key(#[case] access: &[u8], #[case] key: KeyUse) {
        assert_eq!(destination(Addr(1), access).key, key);
    }
}
