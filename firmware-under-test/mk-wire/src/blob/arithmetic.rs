//! Blocks, chunks and their limits (section 4). Pure functions, used alike by server, client and simulator.

use super::Capabilities;

/// Smallest block size, as a power of two (64 octets).
pub const MIN_BLOCK_SIZE_LOG: u8 = 0x06;
/// Largest block size, as a power of two (4 GB: the whole BLOB is one block).
pub const MAX_BLOCK_SIZE_LOG: u8 = 0x20;
/// Smallest chunk size a client proposes, in octets.
pub const MIN_CLIENT_CHUNK_SIZE: u16 = 8;
/// Largest MTU: an access message.
pub const MAX_MTU: u16 = crate::access::MAX_ACCESS as u16;
/// Smallest MTU a server may state.
pub const MIN_MTU: u16 = 20;

/// Octets of a block that is not the last; `None` if the log is outside 6 to 32.
#[must_use]
pub const fn block_size(block_size_log: u8) -> Option<u64> {
    match block_size_log {
        MIN_BLOCK_SIZE_LOG..=MAX_BLOCK_SIZE_LOG => Some(1 << block_size_log),
        _ => None,
    }
}

/// Blocks of a BLOB; `None` if the log is outside 6 to 32 or the BLOB is empty. At most 2^26.
#[must_use]
pub const fn block_count(size: u32, block_size_log: u8) -> Option<u32> {
    match block_size(block_size_log) {
        // At most 2^32 / 2^6.
        Some(block_size) if size > 0 => Some((size as u64).div_ceil(block_size) as u32),
        _ => None,
    }
}

/// Offset in the BLOB of a block's first octet; `None` if there is no such block.
#[must_use]
pub const fn block_offset(size: u32, block_size_log: u8, block: u16) -> Option<u32> {
    match (block_count(size, block_size_log), block_size(block_size_log)) {
        // Below the BLOB's size, so below 2^32.
        (Some(count), Some(block_size)) if (block as u32) < count => Some((block as u64 * block_size) as u32),
        _ => None,
    }
}

/// Octets of one block: the block size, or what remains in the last; `None` if there is no such block.
#[must_use]
pub const fn block_len(size: u32, block_size_log: u8, block: u16) -> Option<u32> {
    match (block_offset(size, block_size_log, block), block_size(block_size_log)) {
        (Some(offset), Some(block_size)) => {
            let rest = size - offset;
            Some(if (rest as u64) < block_size { rest } else { block_size as u32 })
        }
        _ => None,
    }
}

/// Chunks of a block of `block_len` octets; `None` for chunk size 0 or more than 65,535 chunks.
#[must_use]
pub const fn chunk_count(block_len: u32, chunk_size: u16) -> Option<u16> {
    if chunk_size == 0 {
        return None;
    }
    let count = block_len.div_ceil(chunk_size as u32);
    if count > u16::MAX as u32 { None } else { Some(count as u16) }
}

/// Offset of a chunk within its block; `None` past the end of the block.
#[must_use]
pub const fn chunk_offset(block_len: u32, chunk_size: u16, chunk: u16) -> Option<u32> {
    let offset = chunk as u64 * chunk_size as u64;
    if chunk_size > 0 && offset < block_len as u64 { Some(offset as u32) } else { None }
}

/// Octets of a chunk: the chunk size, or what remains in the last; `None` past the end of the block.
#[must_use]
pub const fn chunk_len(block_len: u32, chunk_size: u16, chunk: u16) -> Option<u16> {
    match chunk_offset(block_len, chunk_size, chunk) {
        Some(offset) => {
            let rest = block_len - offset;
            Some(if rest < chunk_size as u32 { rest as u16 } else { chunk_size })
        }
        None => None,
    }
}

/// The MTU of a transfer: the smaller of both, and never more than an access message. Zephyr's client states 384.
#[must_use]
pub const fn transfer_mtu(client_mtu: u16, server_mtu: u16) -> u16 {
    let mtu = if client_mtu < server_mtu { client_mtu } else { server_mtu };
    if mtu < MAX_MTU { mtu } else { MAX_MTU }
}

/// Most blocks whose bitmap fits a Transfer Status.
#[must_use]
pub const fn max_blocks(mtu: u16) -> u32 {
    8 * mtu.saturating_sub(19) as u32
}

/// Most chunks per block that the server's limit and a Block Status bitmap allow.
#[must_use]
pub const fn max_chunks(max_total_chunks: u16, mtu: u16) -> u32 {
    let fits = 8 * mtu.saturating_sub(6) as u32;
    let states = max_total_chunks as u32;
    if states < fits { states } else { fits }
}

/// Largest chunk that the server's limit and the MTU allow, in octets.
#[must_use]
pub const fn max_chunk_size(server_max_chunk_size: u16, mtu: u16) -> u16 {
    let fits = mtu.saturating_sub(3);
    if server_max_chunk_size < fits { server_max_chunk_size } else { fits }
}

/// May a block of this transfer be sent in chunks of `chunk_size`? The count is that of a full block, also in the last.
#[must_use]
pub const fn chunk_size_allowed(
    block_size_log: u8,
    chunk_size: u16,
    server_max_chunk_size: u16,
    max_total_chunks: u16,
    mtu: u16,
) -> bool {
    let Some(block_size) = block_size(block_size_log) else { return false };
    chunk_size >= 1
        && chunk_size <= max_chunk_size(server_max_chunk_size, mtu)
        && block_size.div_ceil(chunk_size as u64) <= max_chunks(max_total_chunks, mtu) as u64
}

impl Capabilities {
    /// Could any transfer be made with a server that states this? Clients drop a server whose statement makes no sense.
    #[must_use]
    pub const fn is_sane(&self) -> bool {
        self.min_block_size_log >= MIN_BLOCK_SIZE_LOG
            && self.max_block_size_log <= MAX_BLOCK_SIZE_LOG
            && self.max_block_size_log >= self.min_block_size_log
            && self.max_total_chunks > 0
            && self.max_chunk_size >= MIN_CLIENT_CHUNK_SIZE
            && self.max_blob_size > 0
            && self.server_mtu >= MIN_MTU
    }

    /// What both servers can do.
    #[must_use]
    pub fn common(self, other: Capabilities) -> Capabilities {
        Capabilities {
            min_block_size_log: self.min_block_size_log.max(other.min_block_size_log),
            max_block_size_log: self.max_block_size_log.min(other.max_block_size_log),
            max_total_chunks: self.max_total_chunks.min(other.max_total_chunks),
            max_chunk_size: self.max_chunk_size.min(other.max_chunk_size),
            max_blob_size: self.max_blob_size.min(other.max_blob_size),
            server_mtu: self.server_mtu.min(other.server_mtu),
            push: self.push && other.push,
            pull: self.pull && other.pull,
        }
    }
}

/// Block size and chunk size of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Block size is `1 << block_size_log`.
    pub block_size_log: u8,
    /// Octets per chunk.
    pub chunk_size: u16,
}

/// The client's choice for servers that together can do `common`: largest chunk, then the largest block that these chunks
/// can fill and whose BLOB bitmap still fits a Transfer Status. `None` if the BLOB cannot be sent to them.
#[must_use]
pub fn choose_sizes(common: &Capabilities, client_mtu: u16, size: u32) -> Option<Sizes> {
    if !common.is_sane() || size > common.max_blob_size {
        return None;
    }
    let mtu = transfer_mtu(client_mtu, common.server_mtu);
    let chunk_size = max_chunk_size(common.max_chunk_size, mtu);
    (common.min_block_size_log..=common.max_block_size_log)
        .rev()
        .find(|log| {
            chunk_size_allowed(*log, chunk_size, common.max_chunk_size, common.max_total_chunks, mtu)
                && block_count(size, *log).is_some_and(|blocks| blocks <= max_blocks(mtu))
        })
        .map(|block_size_log| Sizes { block_size_log, chunk_size })
}
