//! The network layer (sections 12.2 and 12.5): header, encryption, obfuscation.
//!
//! [`seal`] and [`open`] are pure: what has been seen before, who listens and who relays is decided by the stack.

use crate::crypto::{Mic, Nonce};
use crate::keys::NetworkKey;
use heapless::Vec;
use mk_wire::Addr;

/// Longest network PDU in octets.
pub const MAX_PDU: usize = 29;
/// Octets before the transport PDU.
const HEADER: usize = 9;
/// First octet behind the obfuscated part, where destination and transport PDU are.
const ENCRYPTED: usize = 7;
/// Longest transport PDU in octets: access; control messages have four less.
pub const MAX_TRANSPORT: usize = 16;
/// Highest sequence number.
pub const MAX_SEQ: u32 = 0x00FF_FFFF;
/// Highest time to live.
pub const MAX_TTL: u8 = 0x7F;

/// A network PDU.
pub type Pdu = Vec<u8, MAX_PDU>;

/// The header of a network PDU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Control message (true) or access message.
    pub control: bool,
    /// Time to live, 7 bits.
    pub ttl: u8,
    /// Sequence number, 24 bits.
    pub seq: u32,
    /// Sender.
    pub src: Addr,
    /// Receiver or group.
    pub dst: Addr,
}

/// A network PDU in the clear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPdu {
    /// Its header.
    pub header: Header,
    /// IV index under which it was sent.
    pub iv_index: u32,
    /// The transport PDU, 1 to 16 octets.
    pub transport: Vec<u8, MAX_TRANSPORT>,
}

/// Why octets are no network PDU of this network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// Too short for a header, a transport PDU and a MIC, or longer than the bearer carries.
    #[error("{0} octets are no network PDU")]
    Length(usize),
    /// Another network's identifier.
    #[error("another network's PDU")]
    ForeignNetwork,
    /// Sent under an IV index before the first.
    #[error("IV index of the PDU is neither the current nor the previous")]
    IvIndex,
    /// The sender's address is no unicast address.
    #[error("source {0} is no unicast address")]
    Source(Addr),
    /// The receiver's address is the unassigned one.
    #[error("no destination")]
    Destination,
    /// The caller has seen this source and sequence number already.
    #[error("seen before")]
    Duplicate,
    /// Does not verify: altered, another key, or another IV index.
    #[error("network MIC does not verify")]
    Mic,
    /// A field given to [`seal`] does not fit its bits, or the transport PDU has no or too many octets.
    #[error("a header field or the transport PDU is out of range")]
    Range,
}

fn nonce(head: &[u8; 6], iv_index: u32) -> Nonce {
    let [ttl, s0, s1, s2, a0, a1] = *head;
    let [i0, i1, i2, i3] = iv_index.to_be_bytes();
    [0, ttl, s0, s1, s2, a0, a1, 0, 0, i0, i1, i2, i3]
}

/// The six octets that hide control bit, TTL, sequence number and source.
fn mask(key: &NetworkKey, iv_index: u32, pdu: &[u8]) -> [u8; 6] {
    let mut block = [0; 16];
    block[5..9].copy_from_slice(&iv_index.to_be_bytes());
    if let Some(random) = pdu.get(ENCRYPTED..ENCRYPTED + 7) {
        block[9..].copy_from_slice(random);
    }
    let [a, b, c, d, e, f, ..] = key.privacy.encrypt(block);
    [a, b, c, d, e, f]
}

const fn mic(control: bool) -> Mic {
    if control { Mic::Long } else { Mic::Short }
}

/// Encrypts and obfuscates a PDU.
///
/// # Errors
/// [`NetworkError::Range`], [`NetworkError::Source`] or [`NetworkError::Destination`] for a header that cannot be sent.
pub fn seal(key: &NetworkKey, iv_index: u32, header: &Header, transport: &[u8]) -> Result<Pdu, NetworkError> {
    let mic = mic(header.control);
    let fits = !transport.is_empty() && HEADER + transport.len() + mic.len() <= MAX_PDU;
    if !fits || header.ttl > MAX_TTL || header.seq > MAX_SEQ {
        return Err(NetworkError::Range);
    }
    if !header.src.is_unicast() {
        return Err(NetworkError::Source(header.src));
    }
    if header.dst == Addr::UNASSIGNED {
        return Err(NetworkError::Destination);
    }
    let [_, s0, s1, s2] = header.seq.to_be_bytes();
    let [a0, a1] = header.src.0.to_be_bytes();
    let head = [u8::from(header.control) << 7 | header.ttl, s0, s1, s2, a0, a1];
    let mut bytes = [0; MAX_PDU];
    let length = HEADER + transport.len() + mic.len();
    bytes[0] = ((iv_index & 1) as u8) << 7 | key.nid;
    bytes[ENCRYPTED..HEADER].copy_from_slice(&header.dst.0.to_be_bytes());
    bytes[HEADER..HEADER + transport.len()].copy_from_slice(transport);
    key.encryption.seal(&nonce(&head, iv_index), &[], &mut bytes[ENCRYPTED..length], mic);
    let mask = mask(key, iv_index, &bytes);
    for (place, (head, mask)) in bytes[1..].iter_mut().zip(head.iter().zip(mask)) {
        *place = head ^ mask;
    }
    Pdu::from_slice(&bytes[..length]).map_err(|_| NetworkError::Range)
}

/// Takes a PDU apart that was sent under `iv_index` or the one before.
///
/// # Errors
/// See [`NetworkError`].
pub fn open(key: &NetworkKey, iv_index: u32, pdu: &[u8]) -> Result<NetworkPdu, NetworkError> {
    open_unless(key, iv_index, pdu, |_, _, _| false)
}

/// [`open`], but for PDUs of which `seen` says, from source, sequence number and IV index, that they were handled before:
/// those cost one AES block and not seven. What `seen` is asked about is not authenticated yet.
///
/// # Errors
/// [`NetworkError::Duplicate`] where `seen` says so, else as [`open`].
pub fn open_unless(
    key: &NetworkKey,
    iv_index: u32,
    pdu: &[u8],
    seen: impl FnOnce(Addr, u32, u32) -> bool,
) -> Result<NetworkPdu, NetworkError> {
    let length = Err(NetworkError::Length(pdu.len()));
    // The shortest is an access PDU with one octet of transport.
    if pdu.len() > MAX_PDU || pdu.len() < HEADER + 1 + Mic::Short.len() {
        return length;
    }
    if pdu[0] & 0x7F != key.nid {
        return Err(NetworkError::ForeignNetwork);
    }
    let same = u32::from(pdu[0] >> 7) == iv_index & 1;
    let iv_index = if same { iv_index } else { iv_index.checked_sub(1).ok_or(NetworkError::IvIndex)? };
    let mut head = mask(key, iv_index, pdu);
    head.iter_mut().zip(&pdu[1..]).for_each(|(mask, hidden)| *mask ^= hidden);
    let [ttl, s0, s1, s2, a0, a1] = head;
    let control = ttl & 0x80 != 0;
    let mic = mic(control);
    if pdu.len() < HEADER + 1 + mic.len() {
        return length;
    }
    let (seq, src) = (u32::from_be_bytes([0, s0, s1, s2]), Addr(u16::from_be_bytes([a0, a1])));
    if !src.is_unicast() {
        return Err(NetworkError::Source(src));
    }
    if seen(src, seq, iv_index) {
        return Err(NetworkError::Duplicate);
    }
    let mut bytes = [0; MAX_PDU - ENCRYPTED];
    let bytes = &mut bytes[..pdu.len() - ENCRYPTED];
    bytes.copy_from_slice(&pdu[ENCRYPTED..]);
    let text = key.encryption.open(&nonce(&head, iv_index), &[], bytes, mic).ok_or(NetworkError::Mic)?;
    let dst = Addr(u16::from_be_bytes([bytes[0], bytes[1]]));
    if dst == Addr::UNASSIGNED {
        return Err(NetworkError::Destination);
    }
    let transport = Vec::from_slice(&bytes[2..text]).map_err(|_| NetworkError::Length(pdu.len()))?;
    let header = Header { control, ttl: ttl & MAX_TTL, seq, src, dst };
    Ok(NetworkPdu { header, iv_index, transport })
}
