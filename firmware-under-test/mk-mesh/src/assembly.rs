//! One segmented message being put together (section 12.4). Used by the stack for what it receives, and by whoever listens
//! in with the network's keys: [`Assembly::replace`] and [`Assembly::rewrite`] make the same PDUs with another text.

use crate::crypto::Mic;
use crate::keys::{ApplicationKey, DeviceKeys, KeyUse, NetworkKey};
use crate::lower::{Lower, LowerError, MAX_UPPER, SEGMENT, SegmentHeader, all_segments, seq_auth};
use crate::network::{self, NetworkError, NetworkPdu, Pdu};
use crate::upper::{self, Security};
use mk_wire::Addr;

/// Why a segment does not fit the message, or the message cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AssemblyError {
    /// Not an access message, or one that cannot be parsed.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A control message.
    #[error("not an access message")]
    NotAccess,
    /// Of another message: another sender, receiver, IV index or first sequence number.
    #[error("segment of another message")]
    Other,
    /// The key, the MIC's length or the number of segments changed within the message.
    #[error("the segment contradicts those before it")]
    Contradiction,
    /// Segments are missing.
    #[error("segments are missing")]
    Incomplete,
    /// No key with this identifier, or no device key for this peer.
    #[error("no key for the message")]
    NoKey,
    /// Does not verify under any key at hand.
    #[error("transport MIC does not verify")]
    Mic,
    /// Too short for a text and a MIC, or another length than the message had.
    #[error("the text has the wrong length")]
    Length,
}

/// A message of one or more segments.
#[derive(Clone, Debug)]
pub struct Assembly {
    src: Addr,
    dst: Addr,
    iv_index: u32,
    /// Sequence number of the first segment.
    first: u32,
    /// Highest sequence number among its segments.
    newest: u32,
    aid: Option<u8>,
    mic: Mic,
    /// `None` for an unsegmented message.
    last: Option<u8>,
    received: u32,
    length: usize,
    buffer: [u8; MAX_UPPER],
}

impl Assembly {
    /// Nobody's message: a place for one.
    #[must_use]
    pub const fn empty() -> Self {
        Assembly {
            src: Addr::UNASSIGNED,
            dst: Addr::UNASSIGNED,
            iv_index: 0,
            first: 0,
            newest: 0,
            aid: None,
            mic: Mic::Short,
            last: None,
            received: 0,
            length: 0,
            buffer: [0; MAX_UPPER],
        }
    }

    /// Begins with any PDU of the message.
    ///
    /// # Errors
    /// [`AssemblyError::NotAccess`], [`AssemblyError::Lower`].
    pub fn begin(pdu: &NetworkPdu) -> Result<Self, AssemblyError> {
        let mut assembly = Self::empty();
        assembly.restart(pdu)?;
        Ok(assembly)
    }

    /// Forgets what was here and begins with a PDU of another message.
    ///
    /// # Errors
    /// As [`Assembly::begin`]; the place then is empty.
    pub fn restart(&mut self, pdu: &NetworkPdu) -> Result<(), AssemblyError> {
        let header = &pdu.header;
        (self.received, self.length, self.src) = (0, 0, Addr::UNASSIGNED);
        match Lower::parse(header.control, &pdu.transport)? {
            Lower::Access { aid, upper } => {
                (self.aid, self.mic, self.last, self.first) = (aid, Mic::Short, None, header.seq);
                let place = self.buffer.get_mut(..upper.len()).ok_or(AssemblyError::Length)?;
                place.copy_from_slice(upper);
                (self.received, self.length) = (1, upper.len());
            }
            Lower::Segment { header: segment, data } => {
                self.first = seq_auth(header.seq, segment.seq_zero)?;
                self.aid = segment.aid;
                self.mic = if segment.long_mic { Mic::Long } else { Mic::Short };
                self.last = Some(segment.last);
                self.put(&segment, data);
            }
            Lower::Ack { .. } | Lower::Heartbeat { .. } => return Err(AssemblyError::NotAccess),
        }
        (self.src, self.dst, self.iv_index, self.newest) = (header.src, header.dst, pdu.iv_index, header.seq);
        Ok(())
    }

    /// Adds a PDU; true if it brought something new.
    ///
    /// # Errors
    /// See [`AssemblyError`]; the message stays as it was.
    pub fn push(&mut self, pdu: &NetworkPdu) -> Result<bool, AssemblyError> {
        let header = &pdu.header;
        match Lower::parse(header.control, &pdu.transport)? {
            Lower::Segment { header: segment, data } => self.push_segment(pdu, &segment, data),
            Lower::Access { .. } => Err(AssemblyError::Other),
            Lower::Ack { .. } | Lower::Heartbeat { .. } => Err(AssemblyError::NotAccess),
        }
    }

    pub(crate) fn push_segment(
        &mut self,
        pdu: &NetworkPdu,
        segment: &SegmentHeader,
        data: &[u8],
    ) -> Result<bool, AssemblyError> {
        let first = seq_auth(pdu.header.seq, segment.seq_zero)?;
        if !self.is_of(pdu.header.src, pdu.header.dst, pdu.iv_index, first) {
            return Err(AssemblyError::Other);
        }
        let same = self.aid == segment.aid
            && self.last == Some(segment.last)
            && self.mic == if segment.long_mic { Mic::Long } else { Mic::Short };
        if !same {
            return Err(AssemblyError::Contradiction);
        }
        self.newest = self.newest.max(pdu.header.seq);
        if self.received >> segment.segment & 1 == 1 {
            return Ok(false);
        }
        self.put(segment, data);
        Ok(true)
    }

    /// Is it the message that began with this sequence number?
    #[must_use]
    pub fn is_of(&self, src: Addr, dst: Addr, iv_index: u32, first: u32) -> bool {
        self.src == src && self.dst == dst && self.iv_index == iv_index && self.first == first
    }

    /// The parser has seen to it that segment numbers and lengths are in range.
    fn put(&mut self, segment: &SegmentHeader, data: &[u8]) {
        let at = usize::from(segment.segment) * SEGMENT;
        if let Some(place) = self.buffer.get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
            self.received |= 1 << segment.segment;
            if segment.segment == segment.last {
                self.length = at + data.len();
            }
        }
    }

    /// Has every segment come?
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        match self.last {
            None => self.received == 1,
            Some(last) => self.received == all_segments(last),
        }
    }

    /// Segments received, one bit each.
    #[must_use]
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// Number of the last segment; `None` for an unsegmented message.
    #[must_use]
    pub const fn last_segment(&self) -> Option<u8> {
        self.last
    }

    /// Sender.
    #[must_use]
    pub const fn src(&self) -> Addr {
        self.src
    }

    /// Receiver or group.
    #[must_use]
    pub const fn dst(&self) -> Addr {
        self.dst
    }

    /// Sequence number of the first segment.
    #[must_use]
    pub const fn first_seq(&self) -> u32 {
        self.first
    }

    /// Highest sequence number received.
    #[must_use]
    pub const fn newest_seq(&self) -> u32 {
        self.newest
    }

    /// IV index under which it was sent.
    #[must_use]
    pub const fn iv_index(&self) -> u32 {
        self.iv_index
    }

    /// Kind of key that it is encrypted with.
    #[must_use]
    pub const fn key(&self) -> KeyUse {
        match self.aid {
            Some(_) => KeyUse::Application,
            None => KeyUse::Device,
        }
    }

    /// What its encryption depends on.
    #[must_use]
    pub const fn security(&self) -> Security {
        Security {
            key: self.key(),
            mic: self.mic,
            seq: self.first,
            src: self.src,
            dst: self.dst,
            iv_index: self.iv_index,
        }
    }

    /// Decrypts the complete message where it stands and gives the access message. After that it is good for
    /// [`Assembly::replace`] only.
    ///
    /// # Errors
    /// [`AssemblyError::Incomplete`], [`AssemblyError::NoKey`], [`AssemblyError::Length`], [`AssemblyError::Mic`].
    pub fn open(
        &mut self,
        application: &ApplicationKey,
        devices: &impl DeviceKeys,
        peer: Addr,
    ) -> Result<&mut [u8], AssemblyError> {
        if !self.is_complete() {
            return Err(AssemblyError::Incomplete);
        }
        let cipher = self.cipher(application, devices, peer)?;
        let security = self.security();
        let upper = self.buffer.get_mut(..self.length).ok_or(AssemblyError::Length)?;
        if upper.len() <= self.mic.len() {
            return Err(AssemblyError::Length);
        }
        let length = upper::open(cipher, &security, None, upper).ok_or(AssemblyError::Mic)?;
        self.buffer.get_mut(..length).ok_or(AssemblyError::Length)
    }

    fn cipher<'k>(
        &self,
        application: &'k ApplicationKey,
        devices: &'k impl DeviceKeys,
        peer: Addr,
    ) -> Result<&'k crate::crypto::AesKey, AssemblyError> {
        match self.aid {
            Some(aid) if aid == application.aid => Ok(&application.cipher),
            Some(_) => Err(AssemblyError::NoKey),
            None => devices.device_key(peer).map(|key| &key.cipher).ok_or(AssemblyError::NoKey),
        }
    }

    /// The access message, once it was opened.
    #[must_use]
    pub fn access(&self) -> &[u8] {
        self.length.checked_sub(self.mic.len()).and_then(|n| self.buffer.get(..n)).unwrap_or_default()
    }

    /// Encrypts another text of the same length in place of the message's own, under the same sequence number.
    ///
    /// # Errors
    /// [`AssemblyError::Length`] for another length, [`AssemblyError::NoKey`].
    pub fn replace(
        &mut self,
        application: &ApplicationKey,
        devices: &impl DeviceKeys,
        peer: Addr,
        access: &[u8],
    ) -> Result<(), AssemblyError> {
        let security = self.security();
        let cipher = self.cipher(application, devices, peer)?;
        if access.len() + self.mic.len() != self.length {
            return Err(AssemblyError::Length);
        }
        let upper = self.buffer.get_mut(..self.length).ok_or(AssemblyError::Length)?;
        let (text, _) = upper.split_at_mut_checked(access.len()).ok_or(AssemblyError::Length)?;
        text.copy_from_slice(access);
        if upper::seal(cipher, &security, None, upper) { Ok(()) } else { Err(AssemblyError::Length) }
    }

    /// The PDU with the header of `pdu`, one of this message's, and the message's present octets.
    ///
    /// # Errors
    /// [`NetworkError::Range`] for a PDU of another message, else as [`network::seal`].
    pub fn rewrite(&self, key: &NetworkKey, pdu: &NetworkPdu) -> Result<Pdu, NetworkError> {
        let range = NetworkError::Range;
        let slice = |from: usize, length: usize| self.buffer.get(from..from + length).ok_or(range);
        let lower = match Lower::parse(pdu.header.control, &pdu.transport).map_err(|_| range)? {
            Lower::Access { aid, upper } if self.last.is_none() => Lower::Access { aid, upper: slice(0, upper.len())? },
            Lower::Segment { header, data } if self.last == Some(header.last) => {
                Lower::Segment { header, data: slice(usize::from(header.segment) * SEGMENT, data.len())? }
            }
            Lower::Access { .. } | Lower::Segment { .. } | Lower::Ack { .. } | Lower::Heartbeat { .. } => {
                return Err(range);
            }
        };
        network::seal(key, pdu.iv_index, &pdu.header, &lower.write().ok_or(range)?)
    }
}
