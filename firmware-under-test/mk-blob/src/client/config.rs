//! What a transfer is made of: parameters, policy, and the checks both have to pass.

use crate::{MAX_BLOCKS, MAX_CHUNKS};
use mk_wire::Addr;
use mk_wire::blob::arithmetic::{self, Sizes};
use mk_wire::blob::{BlobId, Capabilities, TransferMode};
use mk_wire::time::Duration;

/// How unanswered requests are repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// Ask again every `status_wait`, at most `status_polls` times; the group while more than `group_above` targets are
    /// silent, each silent target by unicast otherwise. A target still silent then is dropped.
    Polls {
        /// Time from a request to the next.
        status_wait: Duration,
        /// Repetitions before a silent target is dropped.
        status_polls: u16,
        /// Most silent targets that are asked by unicast.
        group_above: u16,
    },
    /// As Zephyr does: five requests T_cli/5 apart, to the group if there is one. A target still silent after T_cli is
    /// dropped.
    FifthsOfTimeout,
}

/// Pacing of a transfer; the defaults are those of the radio model, section 6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How requests are repeated.
    pub repeat: Repeat,
    /// Time from the last chunk to the Block Get.
    pub settle: Duration,
    /// Rounds of chunks per block before an incomplete target is dropped.
    pub block_retries: u16,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            repeat: Repeat::Polls { status_wait: Duration::from_millis(800), status_polls: 40, group_above: 12 },
            settle: Duration::from_millis(60),
            block_retries: 10,
        }
    }
}

impl Policy {
    /// The behaviour of Zephyr's client: T_cli/5 repetition, five rounds per block.
    pub const ZEPHYR: Policy =
        Policy { repeat: Repeat::FifthsOfTimeout, settle: Duration::from_millis(60), block_retries: 5 };
}

/// One transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The BLOB.
    pub blob_id: BlobId,
    /// Its size in octets.
    pub size: u32,
    /// Push or Pull.
    pub mode: TransferMode,
    /// TTL of every message; 0xFF for the default.
    pub ttl: u8,
    /// Timeout Base, in units of 10 s.
    pub timeout_base: u16,
    /// MTU the client states, in octets. More than 380 may be stated, no more is used.
    pub mtu: u16,
    /// Where messages for all targets go; `None` sends to each by unicast.
    pub group: Option<Addr>,
    /// A target with this address is the client itself and is left out.
    pub own_address: Addr,
    /// Ask every target what it can do before Transfer Start.
    pub ask_capabilities: bool,
    /// Largest block and chunk wanted. `None` takes the largest that every target can do, which asks capabilities first.
    pub sizes: Option<Sizes>,
    /// Pacing.
    pub policy: Policy,
}

/// A transfer that cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The BLOB is empty.
    #[error("the BLOB is empty")]
    Empty,
    /// There is nobody to send to.
    #[error("no targets")]
    NoTargets,
    /// More targets than the client keeps track of.
    #[error("more than {limit} targets")]
    TooManyTargets {
        /// The limit.
        limit: usize,
    },
    /// A target's address is not unicast, or appears twice.
    #[error("target address {addr} is not unicast or appears twice")]
    TargetAddress {
        /// The address.
        addr: Addr,
    },
    /// The group address is neither group nor virtual.
    #[error("{addr} is no group")]
    Group {
        /// The address.
        addr: Addr,
    },
    /// Transfer mode None, or a prohibited TTL.
    #[error("transfer mode or TTL is prohibited")]
    Prohibited,
    /// Block and chunk size give more blocks or chunks than can be kept track of, or do not fit the MTU.
    #[error("block size 2^{} with chunks of {} octets is not possible for this BLOB", sizes.block_size_log, sizes.chunk_size)]
    Sizes {
        /// The sizes asked for.
        sizes: Sizes,
    },
    /// Neither sizes nor permission to ask for them.
    #[error("no sizes given and capabilities are not to be asked")]
    NoSizes,
}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.size == 0 {
            return Err(ConfigError::Empty);
        }
        if self.mode == TransferMode::None || (0x80..=0xFE).contains(&self.ttl) {
            return Err(ConfigError::Prohibited);
        }
        if let Some(addr) = self.group.filter(|addr| !addr.is_group() && !addr.is_virtual()) {
            return Err(ConfigError::Group { addr });
        }
        match self.sizes {
            Some(sizes) if !self.possible(sizes, self.mtu, MAX_CHUNKS) => Err(ConfigError::Sizes { sizes }),
            None if !self.ask_capabilities => Err(ConfigError::NoSizes),
            Some(_) | None => Ok(()),
        }
    }

    fn possible(&self, sizes: Sizes, mtu: u16, max_total_chunks: u16) -> bool {
        let Sizes { block_size_log, chunk_size } = sizes;
        let mtu = mtu.min(arithmetic::MAX_MTU);
        arithmetic::chunk_size_allowed(block_size_log, chunk_size, u16::MAX, max_total_chunks, mtu)
            && arithmetic::block_count(self.size, block_size_log)
                .is_some_and(|count| count <= arithmetic::max_blocks(mtu).min(u32::from(MAX_BLOCKS)))
    }

    /// The sizes for targets that together can do `common`.
    pub(super) fn choose(&self, common: &Capabilities) -> Option<Sizes> {
        let supported = match self.mode {
            TransferMode::Push => common.push,
            TransferMode::Pull => common.pull,
            TransferMode::None => false,
        };
        if !supported {
            return None;
        }
        let mut common = Capabilities { max_total_chunks: common.max_total_chunks.min(MAX_CHUNKS), ..*common };
        if let Some(wanted) = self.sizes {
            common.max_block_size_log = common.max_block_size_log.min(wanted.block_size_log);
            common.max_chunk_size = common.max_chunk_size.min(wanted.chunk_size);
        }
        arithmetic::choose_sizes(&common, self.mtu, self.size)
            .filter(|sizes| self.possible(*sizes, self.mtu.min(common.server_mtu), common.max_total_chunks))
    }
}
