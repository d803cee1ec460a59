//! How to speak to the two processes: requests with their answers, and a reader of events that resumes.
//!
//! A reader keeps the name of the last event it gave out. After an error it is simply asked again: it connects anew and
//! goes on behind that event. Waits between attempts are the caller's to choose.

mod events;

pub use events::{EventReader, Item};

use crate::api::Refusal;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest answer that is read, in octets: a journal with its images.
const MOST_ANSWER: usize = 256 << 20;
/// Longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not `http://HOST:PORT`.
    #[error("{url:?} is not http://HOST:PORT")]
    Url {
        /// As given.
        url: String,
    },
    /// Nobody listens there.
    #[error("{url}: cannot connect: {error}; is the process running?")]
    Connect {
        /// Where.
        url: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The connection broke.
    #[error("{url}: the connection broke while waiting for {what}: {error}")]
    Broken {
        /// Where.
        url: String,
        /// What was awaited.
        what: &'static str,
        /// Why.
        error: String,
    },
    /// Nothing came.
    #[error("{url}: no {what} within {seconds} s")]
    Silent {
        /// Where.
        url: String,
        /// What was awaited.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The process refused.
    #[error("{url}: {status}: {}; {}", .refusal.error, .refusal.next)]
    Refused {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Why, and what to do.
        refusal: Refusal,
    },
    /// The answer is none of ours.
    #[error("{url}: {what} cannot be read: {error}; is it of the same version?")]
    Answer {
        /// Where.
        url: String,
        /// What it should have been.
        what: &'static str,
        /// What is wrong.
        error: String,
    },
}

impl ClientError {
    /// Whether the process took notice of the request and refused it: repeating it unchanged is no use.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, ClientError::Refused { status: 400..=499, .. })
    }
}

/// One connection to a process, opened when needed and kept.
#[derive(Debug)]
pub struct Client {
    url: String,
    authority: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client of the process at `http://HOST:PORT`. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL is no such URL.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).unwrap_or_default();
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok());
        if !has_port {
            return Err(ClientError::Url { url: url.to_owned() });
        }
        Ok(Self { url: format!("http://{authority}"), authority: authority.to_owned(), connection: None })
    }

    /// Where the process is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// GET, answered in JSON.
    ///
    /// # Errors
    /// No connection, no answer, a refusal, or an answer of another form.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &'static str) -> Result<T, ClientError> {
        let octets = self.octets(path).await?;
        self.read(path, &octets)
    }

    /// GET, answered in octets.
    ///
    /// # Errors
    /// No connection, no answer, or a refusal.
    pub async fn octets(&mut self, path: &'static str) -> Result<Bytes, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// POST in JSON, answered in JSON.
    ///
    /// # Errors
    /// No connection, no answer, a refusal, or an answer of another form.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &mut self,
        path: &'static str,
        body: &B,
    ) -> Result<T, ClientError> {
        let unwritable = |error: serde_json::Error| ClientError::Answer {
            url: self.url.clone(),
            what: "the request",
            error: error.to_string(),
        };
        let body = serde_json::to_vec(body).map_err(unwritable)?;
        let octets = self.ask(Method::POST, path, body.into()).await?;
        self.read(path, &octets)
    }

    fn read<T: DeserializeOwned>(&self, what: &'static str, octets: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(octets).map_err(|error| ClientError::Answer {
            url: self.url.clone(),
            what,
            error: error.to_string(),
        })
    }

    async fn ask(&mut self, method: Method, path: &'static str, body: Bytes) -> Result<Bytes, ClientError> {
        let request = self.request(method, path, &[("content-type", "application/json")], body)?;
        let response = self.send(request, path).await?;
        let status = response.status();
        let octets = self.collect(response, path).await;
        if octets.is_err() {
            self.connection = None;
        }
        let octets = octets?;
        if status.is_success() { Ok(octets) } else { Err(refused(&self.url, status, &octets)) }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).map_err(|error| ClientError::Answer {
            url: self.url.clone(),
            what: "the request",
            error: error.to_string(),
        })
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        what: &'static str,
    ) -> Result<Response<Incoming>, ClientError> {
        let kept = self.connection.take().filter(|kept| kept.is_ready() && !kept.is_closed());
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let response = match self.answer(&mut connection, request, what).await? {
            Ok(response) => response,
            // The process had closed the kept connection, and has not seen the request.
            Err(unsent) => {
                connection = self.connect().await?;
                match self.answer(&mut connection, *unsent, what).await? {
                    Ok(response) => response,
                    Err(_) => {
                        let error = "closed before anything was asked".to_owned();
                        return Err(ClientError::Broken { url: self.url.clone(), what, error });
                    }
                }
            }
        };
        self.connection = Some(connection);
        Ok(response)
    }

    /// The answer to a request; the request itself if it never left.
    async fn answer(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        what: &'static str,
    ) -> Result<Result<Response<Incoming>, Box<Request<Full<Bytes>>>>, ClientError> {
        match timeout(ANSWER_PATIENCE, connection.try_send_request(request)).await {
            Ok(Ok(response)) => Ok(Ok(response)),
            Ok(Err(mut failed)) => match failed.take_message() {
                Some(request) => Ok(Err(Box::new(request))),
                None => {
                    let error = failed.into_error().to_string();
                    Err(ClientError::Broken { url: self.url.clone(), what, error })
                }
            },
            Err(_) => {
                let seconds = ANSWER_PATIENCE.as_secs();
                Err(ClientError::Silent { url: self.url.clone(), what, seconds })
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let failed = |error| ClientError::Connect { url: self.url.clone(), error };
        let stream = match timeout(CONNECT_PATIENCE, TcpStream::connect(&self.authority)).await {
            Ok(stream) => stream.map_err(failed)?,
            Err(_) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
        };
        // Small requests go back and forth: none should wait for more octets.
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| failed(std::io::Error::other(error)))?;
        // What goes wrong with the connection is seen by whoever waits for an answer on it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn collect(&self, response: Response<Incoming>, what: &'static str) -> Result<Bytes, ClientError> {
        let collected = Limited::new(response.into_body(), MOST_ANSWER).collect();
        match timeout(ANSWER_PATIENCE, collected).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) => {
                let url = self.url.clone();
                let error = if error.is::<LengthLimitError>() {
                    format!("longer than {MOST_ANSWER} octets")
                } else {
                    error.to_string()
                };
                Err(ClientError::Broken { url, what, error })
            }
            Err(_) => {
                let seconds = ANSWER_PATIENCE.as_secs();
                Err(ClientError::Silent { url: self.url.clone(), what, seconds })
            }
        }
    }
}

fn refused(url: &str, status: StatusCode, octets: &[u8]) -> ClientError {
    let refusal = serde_json::from_slice(octets).unwrap_or_else(|_| Refusal {
        error: String::from_utf8_lossy(octets).chars().take(200).collect(),
        next: "is it a gateway or MeshOS that listens there?".to_owned(),
    });
    ClientError::Refused { url: url.to_owned(), status: status.as_u16(), refusal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://127.0.0.1:80", true)]
    #[case("http://gateway:8080/", true)]
    #[case("https://127.0.0.1:80", false)]
    #[case("127.0.0.1:80", false)]
    #[case("http://127.0.0.1", false)]
    #[case("http://:80", false)]
    #[case("http://a/b:80", false)]
    fn a_url_is_host_and_port(#[case] url: &str, #[case] is_one: bool) {
        assert_eq!(Client::new(url).is_ok(), is_one);
    }
}
