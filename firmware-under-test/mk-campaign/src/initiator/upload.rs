//! The BLOB transfer of an upload: one target, over the backhaul, unthrottled.

use super::{Context, OWN_ADDRESS};
use mk_blob::client::{BlobClient, BlobSource, ClientState, Config, ConfigError, Policy};
use mk_wire::Addr;
use mk_wire::access::{Buffer, MAX_ACCESS};
use mk_wire::blob::{Message, TransferMode};
use mk_wire::time::Instant;

/// A transfer to a gateway.
#[derive(Clone, Debug)]
pub(super) struct Upload(BlobClient<1>);

/// Reads the image file.
struct Image<'a>(&'a [u8]);

impl BlobSource for Image<'_> {
    fn read(&mut self, offset: u32, out: &mut [u8]) {
        // Only called inside the size of the transfer, which is that of the file.
        let bytes = self.0.get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        if let Some(bytes) = bytes {
            out.copy_from_slice(bytes);
        }
    }
}

impl Upload {
    pub fn new(now: Instant, gateway: Addr, context: &Context<'_>) -> Result<Self, ConfigError> {
        let config = Config {
            blob_id: context.package.blob_id(),
            size: context.package.size,
            mode: TransferMode::Push,
            ttl: context.radio.ttl,
            timeout_base: context.radio.timeout_base,
            mtu: MAX_ACCESS as u16,
            group: None,
            own_address: OWN_ADDRESS,
            ask_capabilities: true,
            sizes: None,
            policy: Policy::default(),
        };
        let mut client = BlobClient::new(config, [gateway])?;
        client.start(now);
        Ok(Upload(client))
    }

    /// Whether the gateway reported the image complete; `None` while the transfer goes on.
    pub fn result(&self) -> Option<bool> {
        match self.0.state() {
            ClientState::Idle | ClientState::Active => None,
            ClientState::Completed => Some(true),
            ClientState::Suspended | ClientState::Cancelling | ClientState::Failed | ClientState::Cancelled => {
                Some(false)
            }
        }
    }

    pub fn on_message(&mut self, now: Instant, gateway: Addr, message: &Message<'_>) {
        self.0.on_message(now, gateway, message);
        self.forget_events();
    }

    /// The next message, if one is due.
    pub fn poll(&mut self, now: Instant, image: &[u8]) -> Option<Buffer> {
        let mut buffer = Buffer::new();
        buffer.resize(MAX_ACCESS, 0).ok()?;
        let outgoing = self.0.poll_transmit(now, true, &mut Image(image), &mut buffer);
        self.forget_events();
        buffer.truncate(outgoing?.len);
        Some(buffer)
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        // A chunk may always go: the backhaul is not throttled.
        if self.0.next_chunk_len().is_some() { Some(Instant::from_ticks(0)) } else { self.0.next_wakeup() }
    }

    /// The state says all that an upload needs to know.
    fn forget_events(&mut self) {
        while self.0.poll_event().is_some() {}
    }
}
