//! What a gateway is told when it starts: who it is, whom it serves, and the limits and times it keeps.

use alloc::vec::Vec;
use mk_blob::client::Policy;
use mk_wire::Addr;
use mk_wire::time::Duration;

/// How a node is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Carrier {
    /// Access messages over Bluetooth Mesh.
    Mesh,
    /// CoAP over UDP on Thread.
    Thread,
}

/// Settings of a gateway; [`GatewaySettings::new`] fills in the product's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewaySettings {
    /// Own unicast address.
    pub address: Addr,
    /// Address of MeshOS, which exists on the backhaul only.
    pub initiator: Addr,
    /// The nodes and how each is reached. A node that is not listed is taken for a mesh node.
    pub directory: Vec<(Addr, Carrier)>,
    /// Copies of one originated PDU on the air: the original and its estimated relays (radio model, section 7).
    pub copies_estimate: u16,
    /// Air time of one network PDU on one channel, in microseconds.
    pub air_time_per_pdu_us: u32,
    /// Shortest distance between two segments of a message (SAR segment interval).
    pub segment_interval: Duration,
    /// Share of the channel that firmware may use until MeshOS says otherwise, in permille.
    pub throttle_permille: u16,
    /// Octets of image data per chunk, where the nodes can take it.
    pub chunk_size: u16,
    /// BLOB block size as a power of two, where the nodes can take it.
    pub block_size_log: u8,
    /// How the BLOB client repeats its requests.
    pub blob: Policy,
    /// Time to live of messages outside a distribution, which brings its own.
    pub default_ttl: u8,
    /// The only application key that the DFU models are bound to.
    pub app_key_index: u16,
    /// What the gateway can hold.
    pub limits: Limits,
    /// How long the gateway waits for nodes.
    pub patience: Patience,
    /// The Thread side.
    pub thread: ThreadSettings,
}

/// What a gateway can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Receivers in the list.
    pub max_receivers: u16,
    /// Mesh receivers of one distribution, at most 128; more are refused, and MeshOS splits them.
    pub group_max: u16,
    /// Stored images.
    pub max_images: u16,
    /// Largest image in octets.
    pub max_image_size: u32,
    /// Space for all images in octets.
    pub image_space: u32,
}

/// How long the gateway waits for nodes before it asks again or gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Time for the answer to a Subscription Add or Delete.
    pub subscribe_interval: Duration,
    /// How often a Subscription Add or Delete is sent before the node counts as unreachable.
    pub subscribe_tries: u8,
    /// Distance of two Update Gets while nodes verify.
    pub verify_interval: Duration,
    /// Longest time from the end of the transfer to a verdict of a node on its staged image.
    pub verify_deadline: Duration,
    /// Distance of two Update Applys while nodes install.
    pub apply_interval: Duration,
    /// Longest time from the first Update Apply until a node answers from its next boot. A board of 512 KiB needs about
    /// 17 s for the installation, and is silent meanwhile.
    pub apply_deadline: Duration,
    /// Distance of two messages to single nodes within one step, so that their answers do not meet on the air.
    pub unicast_gap: Duration,
}

/// The border router's side of a distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadSettings {
    /// Mean air time of one full 802.15.4 frame and hop with its acknowledgement, in microseconds.
    pub frame_us: u32,
    /// Mean air time of one request frame of a fetch, in microseconds; charged with the block it asks for.
    pub request_us: u32,
    /// Octets of a CoAP message that fit one frame.
    pub frame_octets: u16,
    /// Octets of a CoAP message per frame once it has to be fragmented.
    pub fragment_octets: u16,
    /// Longest time that an image block waits for air time; a request that would wait longer is answered 5.03 with the
    /// time in Max-Age. Below ACK_TIMEOUT (2 s), so that nodes do not repeat requests that are about to be answered.
    pub longest_wait: Duration,
    /// A receiver that was silent for this long is asked for a report.
    pub poll_interval: Duration,
    /// A receiver that was silent for this long is given up. Longer than a node's five sends and its back-off.
    pub patience: Duration,
}

impl GatewaySettings {
    /// The product's settings for one gateway of a building.
    #[must_use]
    pub fn new(address: Addr, initiator: Addr, directory: Vec<(Addr, Carrier)>) -> Self {
        GatewaySettings {
            address,
            initiator,
            directory,
            copies_estimate: 25,
            air_time_per_pdu_us: 376,
            segment_interval: Duration::from_millis(10),
            throttle_permille: 400,
            chunk_size: 185,
            block_size_log: 15,
            blob: Policy::default(),
            default_ttl: 5,
            app_key_index: 0,
            limits: Limits::default(),
            patience: Patience::default(),
            thread: ThreadSettings::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_receivers: 1_000, group_max: 100, max_images: 4, max_image_size: 1 << 20, image_space: 4 << 20 }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            subscribe_interval: Duration::from_secs(2),
            subscribe_tries: 5,
            verify_interval: Duration::from_secs(2),
            verify_deadline: Duration::from_secs(60),
            apply_interval: Duration::from_secs(5),
            apply_deadline: Duration::from_secs(90),
            unicast_gap: Duration::from_millis(30),
        }
    }
}

impl Default for ThreadSettings {
    /// 3 fragments of 6.7 ms and a request of 3.3 ms are the 48 s of air time for 512 KiB at 256 octets per block that
    /// section 10 of the radio model states.
    fn default() -> Self {
        ThreadSettings {
            frame_us: 6_700,
            request_us: 3_300,
            frame_octets: 85,
            fragment_octets: 96,
            longest_wait: Duration::from_millis(1_500),
            poll_interval: Duration::from_secs(10),
            patience: Duration::from_minutes(5),
        }
    }
}
