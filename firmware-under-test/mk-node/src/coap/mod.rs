//! The Thread side of a node (protocol sheet section 14): requests to the border router, and what the border router asks.

pub(crate) mod client;
pub(crate) mod fetch;
pub(crate) mod server;

use heapless::Vec;

use crate::outbox::MAX_MESSAGE;

/// A datagram of ours.
pub(crate) type Datagram = Vec<u8, MAX_MESSAGE>;

/// Path of the manifest: 116 octets of Firmware Metadata, then the path of the image if it is not [`IMAGE`]. Empty when
/// no firmware is offered.
pub const MANIFEST: &str = "fw/manifest";
/// Path of the image, unless the manifest names another.
pub const IMAGE: &str = "fw/image";
/// Path at the node: POST applies the verified image.
pub const APPLY: &str = "fw/apply";
/// Path at the node: GET gives the firmware id of the running image.
pub const VERSION: &str = "fw/version";
/// Path on both sides: POST carries one of our access messages.
pub const VENDOR: &str = "mk";
