//! Reading messages and their options.

use super::*;

impl<'a> Message<'a> {
    /// Decodes one message that fills `datagram`.
    ///
    /// # Errors
    /// Anything that is not the structure of a CoAP message, with the offset.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let fault = |offset, kind| DecodeError { offset, kind };
        let truncated = fault(datagram.len(), DecodeErrorKind::Truncated);
        let Some((&[first, code, id_high, id_low], rest)) = datagram.split_first_chunk() else {
            return Err(truncated);
        };
        if first >> 6 != 1 {
            return Err(fault(0, DecodeErrorKind::Version { version: first >> 6 }));
        }
        // Two bits: every value is a type.
        let kind = Kind::from_u8(first >> 4 & 3).unwrap_or(Kind::Reset);
        let (code, len) = (Code(code), first & 0x0F);
        if code == Code::EMPTY && (len > 0 || !rest.is_empty()) {
            return Err(fault(4, DecodeErrorKind::NotEmpty));
        }
        if len > 8 {
            return Err(fault(0, DecodeErrorKind::TokenLength { len }));
        }
        let (token, rest) = rest.split_at_checked(usize::from(len)).ok_or(truncated)?;
        let token = Token::new(token).ok_or(truncated)?;

        let mut scan = Scan { octets: rest, at: 0, number: 0 };
        while scan.next(datagram.len() - rest.len())?.is_some() {}
        let (options, payload) = rest.split_at_checked(scan.at).ok_or(truncated)?;
        let payload = match payload {
            [] => payload,
            [_marker] => return Err(fault(datagram.len() - 1, DecodeErrorKind::EmptyPayload)),
            [_marker, payload @ ..] => payload,
        };
        let message_id = u16::from_be_bytes([id_high, id_low]);
        Ok(Message { kind, code, message_id, token, options: Options { octets: options }, payload })
    }
}

/// Walks options up to the payload marker or the end.
struct Scan<'a> {
    octets: &'a [u8],
    at: usize,
    number: u16,
}

impl<'a> Scan<'a> {
    /// The next option; `base` is the offset of the options in the datagram, for errors.
    fn next(&mut self, base: usize) -> Result<Option<(u16, &'a [u8])>, DecodeError> {
        let start = base + self.at;
        let truncated = DecodeError { offset: base + self.octets.len(), kind: DecodeErrorKind::Truncated };
        let first = match self.octets.get(self.at) {
            None | Some(0xFF) => return Ok(None),
            Some(first) => *first,
        };
        let mut at = self.at + 1;
        let mut field = |nibble: u8| {
            let (value, size) = match nibble {
                13 => (13 + u32::from(*self.octets.get(at).ok_or(truncated)?), 1),
                14 => match self.octets.get(at..at + 2) {
                    Some(&[high, low]) => (269 + u32::from(u16::from_be_bytes([high, low])), 2),
                    Some(_) | None => return Err(truncated),
                },
                15 => return Err(DecodeError { offset: start, kind: DecodeErrorKind::ReservedNibble }),
                small => (u32::from(small), 0),
            };
            at += size;
            Ok(value)
        };
        let delta = field(first >> 4)?;
        let len = field(first & 0x0F)? as usize;
        let number = u16::try_from(u32::from(self.number) + delta)
            .map_err(|_| DecodeError { offset: start, kind: DecodeErrorKind::OptionNumber })?;
        let value = self.octets.get(at..at + len).ok_or(truncated)?;
        self.at = at + len;
        self.number = number;
        Ok(Some((number, value)))
    }
}

impl<'a> Options<'a> {
    /// Numbers and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut scan = Scan { octets: self.octets, at: 0, number: 0 };
        // The structure was checked when the message was decoded.
        core::iter::from_fn(move || scan.next(0).ok().flatten())
    }

    /// The values of a repeatable option, such as the segments of the path.
    pub fn all(&self, number: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.iter().filter(move |(n, _)| *n == number).map(|(_, value)| value)
    }

    /// The value of an option that may appear once, with its length in `min` to `max`.
    fn one(&self, number: u16, min: usize, max: usize) -> Result<Option<&'a [u8]>, OptionError> {
        let mut values = self.all(number);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) if (min..=max).contains(&value.len()) => Ok(Some(value)),
            (Some(_), _) => Err(OptionError { number }),
        }
    }

    /// An unsigned number of up to `max` octets (at most four).
    fn uint(&self, number: u16, max: usize) -> Result<Option<u32>, OptionError> {
        let value = self.one(number, 0, max)?;
        Ok(value.map(|octets| octets.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet))))
    }

    /// The ETag.
    pub fn etag(&self) -> Result<Option<&'a [u8]>, OptionError> {
        self.one(option::ETAG, 1, 8)
    }

    /// Observe: in a request 0 registers and 1 deregisters, in a notification the sequence number.
    pub fn observe(&self) -> Result<Option<u32>, OptionError> {
        self.uint(option::OBSERVE, 3)
    }

    /// Content-Format.
    pub fn content_format(&self) -> Result<Option<u16>, OptionError> {
        // Two octets at most.
        Ok(self.uint(option::CONTENT_FORMAT, 2)?.map(|value| value as u16))
    }

    /// Max-Age in seconds.
    pub fn max_age(&self) -> Result<Option<u32>, OptionError> {
        self.uint(option::MAX_AGE, 4)
    }

    /// Size of the response body in octets.
    pub fn size2(&self) -> Result<Option<u32>, OptionError> {
        self.uint(option::SIZE2, 4)
    }

    /// Size of the request body in octets.
    pub fn size1(&self) -> Result<Option<u32>, OptionError> {
        self.uint(option::SIZE1, 4)
    }

    /// Block of the response body.
    pub fn block2(&self) -> Result<Option<Block>, OptionError> {
        self.block(option::BLOCK2)
    }

    /// Block of the request body.
    pub fn block1(&self) -> Result<Option<Block>, OptionError> {
        self.block(option::BLOCK1)
    }

    fn block(&self, number: u16) -> Result<Option<Block>, OptionError> {
        let value = self.uint(number, 3)?;
        value.map(|value| Block::from_uint(value).map_err(|_| OptionError { number })).transpose()
    }

    /// Segments of the path, in order.
    pub fn uri_path(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.all(option::URI_PATH)
    }

    /// Arguments of the query, in order.
    pub fn uri_query(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.all(option::URI_QUERY)
    }

    /// Is the path exactly this, with `/` between segments?
    #[must_use]
    pub fn path_is(&self, path: &str) -> bool {
        self.uri_path().eq(path.split('/').map(str::as_bytes))
    }

    /// The first critical option that is not among `known`: the message has to be refused (4.02 for a request).
    #[must_use]
    pub fn unknown_critical(&self, known: &[u16]) -> Option<u16> {
        self.iter().map(|(number, _)| number).find(|number| is_critical(*number) && !known.contains(number))
    }
}
