//! The interposer on real network PDUs: hears what is sent, puts messages together with the test network's keys, lets the
//! rules of [`crate::interposer`] act on whole messages, and takes the result apart again into PDUs.
//!
//! A message is held back only where a rule could act on it, and only until its last segment was heard: what a rule does
//! not name passes as it came, octet for octet. What was changed is encrypted anew under the sender's own sequence
//! numbers, every segment of it, so that nothing below the application can tell.
//!
//! Sans-IO. Its caller owns the link: a serial line with everybody on its other end, or a medium that carries a PDU to each
//! receiver on its own. It never judges, and it knows nothing of what the firmware makes of a message.
//!
//! | file | for |
//! | --- | --- |
//! | `keys` | the network's keys and PDUs in the clear |
//! | `hearing` | from PDUs to messages |
//! | `tap` | what becomes of a message at a receiver |

mod hearing;
mod keys;
mod tap;
#[cfg(test)]
mod tests;

pub use hearing::{Heard, Hearing};
pub use keys::{NetworkKeys, Opened};
pub use tap::{Passage, Tap, TapSettings, party};
