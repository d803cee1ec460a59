//! A reader of `GET /events`.

use super::{Client, ClientError, refused};
use crate::api::{EventId, Gap, Stamped};
use crate::http::KEEP_ALIVE;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::time::timeout;

/// A stream without so much as a comment for this long is dead.
const SILENCE: Duration = Duration::from_secs(4 * KEEP_ALIVE.as_secs());
/// Longest line of a stream, in octets.
const MOST_LINE: usize = 4 << 20;

/// What a reader finds.
#[derive(Clone, PartialEq, Debug)]
pub enum Item<E> {
    /// An event.
    Event(Stamped<E>),
    /// Events before the next one are lost to this reader: the process was started again, or the reader was too slow.
    Gap(Gap),
}

/// Follows the events of a process.
#[derive(Debug)]
pub struct EventReader<E> {
    client: Client,
    last: Option<EventId>,
    only_new: bool,
    stream: Option<Incoming>,
    buffer: BytesMut,
    kind: String,
    data: String,
    events: PhantomData<fn() -> E>,
}

impl<E: DeserializeOwned> EventReader<E> {
    /// A reader of everything that the process at `http://HOST:PORT` keeps.
    ///
    /// # Errors
    /// The URL is no such URL.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::new(url)?,
            last: None,
            only_new: false,
            stream: None,
            buffer: BytesMut::new(),
            kind: String::new(),
            data: String::new(),
            events: PhantomData,
        })
    }

    /// The same, beginning with what is new when it connects.
    #[must_use]
    pub fn only_new(mut self) -> Self {
        self.only_new = true;
        self
    }

    /// The same, beginning behind an event.
    #[must_use]
    pub fn after(mut self, last: Option<EventId>) -> Self {
        self.last = last;
        self
    }

    /// The last event given out.
    #[must_use]
    pub const fn last(&self) -> Option<EventId> {
        self.last
    }

    /// Whether a stream is open.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Opens the stream, if it is not open.
    ///
    /// # Errors
    /// No connection, no answer, or a refusal.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        if self.stream.is_some() {
            return Ok(());
        }
        self.buffer.clear();
        self.kind.clear();
        self.data.clear();
        let last = self.last.map(|id| id.to_string()).unwrap_or_default();
        let (path, headers) = match (self.last, self.only_new) {
            (Some(_), _) => ("/events", vec![("last-event-id", last.as_str())]),
            (None, true) => ("/events?from=now", Vec::new()),
            (None, false) => ("/events", Vec::new()),
        };
        let request = self.client.request(Method::GET, path, &headers, Bytes::new())?;
        // The stream takes its connection with it: another request would wait for its end.
        let response = self.client.send(request, "/events").await?;
        self.client.connection = None;
        if !response.status().is_success() {
            let status = response.status();
            let octets = self.client.collect(response, "/events").await?;
            return Err(refused(self.client.url(), status, &octets));
        }
        self.stream = Some(response.into_body());
        Ok(())
    }

    /// The next item. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// The stream cannot be opened, broke, ended or fell silent; asking again opens it anew behind the last event.
    pub async fn next(&mut self) -> Result<Item<E>, ClientError> {
        self.connect().await?;
        loop {
            match self.take_line() {
                Some(line) => {
                    if let Some(item) = self.on_line(&line)? {
                        return Ok(item);
                    }
                }
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        let url = || self.client.url().to_owned();
        let broken = |error: String| ClientError::Broken { url: url(), what: "an event", error };
        let Some(stream) = &mut self.stream else { return Err(broken("not connected".to_owned())) };
        let failure = match timeout(SILENCE, stream.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                if self.buffer.len() <= MOST_LINE {
                    return Ok(());
                }
                broken(format!("a line of more than {MOST_LINE} octets"))
            }
            Ok(Some(Err(error))) => broken(error.to_string()),
            Ok(None) => broken("the process ended the stream".to_owned()),
            Err(_) => ClientError::Silent { url: url(), what: "event", seconds: SILENCE.as_secs() },
        };
        self.stream = None;
        Err(failure)
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|octet| *octet == b'\n')?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }

    /// Takes a line into account; an empty one ends an event.
    fn on_line(&mut self, line: &str) -> Result<Option<Item<E>>, ClientError> {
        if !line.is_empty() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.kind),
                "data" => self.data.push_str(value),
                // Comments keep the stream alive; the id is in the data.
                _ => {}
            }
            return Ok(None);
        }
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        if data.is_empty() {
            return Ok(None);
        }
        if kind == "gap" {
            return self.read(&data).map(Item::Gap).map(Some);
        }
        let event: Stamped<E> = self.read(&data)?;
        self.last = Some(event.id);
        Ok(Some(Item::Event(event)))
    }

    fn read<T: DeserializeOwned>(&mut self, data: &str) -> Result<T, ClientError> {
        serde_json::from_str(data).map_err(|error| {
            self.stream = None;
            ClientError::Answer { url: self.client.url().to_owned(), what: "an event", error: error.to_string() }
        })
    }
}
