//! What survives a reboot: which BLOB, and which of its blocks are stored (section 10).

use super::*;

/// The part of the server's state worth keeping; to be stored at each block end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedTransfer {
    /// The BLOB.
    pub blob_id: BlobId,
    /// TTL of the transfer.
    pub ttl: u8,
    /// Timeout Base of the transfer.
    pub timeout_base: u16,
    /// Address of the client.
    pub client: Addr,
    /// What Transfer Start said; `None` before it came.
    pub parameters: Option<SavedParameters>,
}

/// The part of a saved transfer that Transfer Start told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedParameters {
    /// Push or Pull.
    pub mode: TransferMode,
    /// BLOB size in octets.
    pub size: u32,
    /// Block size is `1 << block_size_log`.
    pub block_size_log: u8,
    /// MTU of the transfer in octets.
    pub mtu: u16,
    /// The blocks not received.
    pub blocks_missing: BlockBitmap,
}

impl BlobServer {
    /// What to store; `None` when nothing is expected or held.
    #[must_use]
    pub fn saved(&self) -> Option<SavedTransfer> {
        let Wanted { blob_id, ttl, timeout_base, client } = self.wanted?;
        let parameters = self.parameters.map(|p| SavedParameters {
            mode: p.mode,
            size: p.size,
            block_size_log: p.block_size_log,
            mtu: p.mtu,
            blocks_missing: self.blocks_missing,
        });
        Some(SavedTransfer { blob_id, ttl, timeout_base, client, parameters })
    }

    /// Takes up a stored transfer after a reboot: Waiting For Start again, Complete, or Suspended with the finished blocks
    /// kept and the unfinished one lost. A record that this server would not have accepted leaves it inactive.
    pub fn restore(&mut self, now: Instant, saved: &SavedTransfer) {
        self.cancel();
        let SavedTransfer { blob_id, ttl, timeout_base, client, .. } = *saved;
        let Some(p) = saved.parameters else {
            // An inactive server is never busy.
            let _ = self.expect(now, blob_id, ttl, timeout_base, client);
            return;
        };
        let block_count = arithmetic::block_count(p.size, p.block_size_log)
            .and_then(|count| u16::try_from(count).ok())
            .filter(|count| *count <= MAX_BLOCKS && p.mode != TransferMode::None);
        let Some(block_count) = block_count else { return };
        let SavedParameters { mode, size, block_size_log, mtu, mut blocks_missing } = p;
        blocks_missing.keep(&BlockBitmap::full(block_count));
        self.wanted = Some(Wanted { blob_id, ttl, timeout_base, client });
        self.parameters = Some(Parameters { mode, size, block_size_log, mtu, block_count });
        self.blocks_missing = blocks_missing;
        self.phase = if blocks_missing.is_empty() { Phase::Complete } else { Phase::Suspended };
    }
}
