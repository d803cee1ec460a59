//! What passes between MeshOS and a gateway over the building's network, as values.
//!
//! Firmware Distribution and upload go as standard access messages ([`Order::Access`], [`Notice::Access`]) over this
//! reliable link; what the standard has no message for (confirmations, node reports, health, throttle) has a variant of
//! its own. How the values are carried (a function call in the simulator, HTTP and server-sent events in a lab) is not
//! this crate's business.

use crate::access::Buffer;
use crate::addr::Addr;
use crate::vendor::{AppReport, Health, Report};
use crate::version::Version;

/// MeshOS to gateway.
#[expect(
    clippy::large_enum_variant,
    reason = "access messages are what mostly passes here, and nothing in the firmware crates can be boxed"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// An access message of the Initiator: Firmware Distribution, or BLOB Transfer for an upload.
    Access(Buffer),
    /// Share of the channel that firmware may use, in permille (1 to 1000).
    Throttle {
        /// The share.
        permille: u16,
    },
    /// Whether firmware may be sent now. Closed: the token bucket does not refill; status and live traffic go on.
    Window {
        /// Open or closed.
        open: bool,
    },
    /// Ask a node for a report.
    RequestReport {
        /// The node.
        node: Addr,
    },
}

/// Gateway to MeshOS.
#[expect(
    clippy::large_enum_variant,
    reason = "access messages are what mostly passes here, and nothing in the firmware crates can be boxed"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// An access message to the Initiator.
    Access(Buffer),
    /// A node's first-boot confirmation was heard; the acknowledgement is on its way to the node, which may miss it.
    Confirmed {
        /// The node.
        node: Addr,
        /// Its boot count, which names the boot.
        boot_count: u32,
        /// The version that confirms.
        version: Version,
    },
    /// A node report.
    Report {
        /// The node.
        node: Addr,
        /// What it says.
        report: Report,
    },
    /// A heartbeat.
    Health {
        /// The node.
        node: Addr,
        /// What it says.
        health: Health,
    },
    /// An application report.
    AppReport {
        /// The node.
        node: Addr,
        /// What it says.
        report: AppReport,
    },
}
