//! A relay with a web interface: Shelly, Tasmota, ESPHome, a PDU of the lab. Two addresses, and a third that tells the state.
//!
//! Plain HTTP on the lab's own network; no certificates, no redirects.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{PowerSwitch, SWITCH_LIMIT};
use crate::definition::RawRelay;
use crate::error::Fault;

/// Longest answer looked at, octets.
const MOST_ANSWER: usize = 64 * 1024;

pub(super) fn check(written: &RawRelay) -> Result<(), String> {
    for (key, address) in [("on", Some(&written.on)), ("off", Some(&written.off)), ("state", written.state.as_ref())] {
        let Some(address) = address else { continue };
        let uri: Uri = address.parse().map_err(|error| format!("`{key}`: `{address}` is no address: {error}"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(format!("`{key}`: `{address}` has to begin with http://HOST"));
        }
    }
    match (&written.state, &written.state_on) {
        (Some(_), None) => Err("`state` needs `state-on`: the text in its answer while the relay is on".to_owned()),
        (None, Some(_)) => Err("`state-on` without `state`".to_owned()),
        _ => Ok(()),
    }
}

#[derive(Debug)]
pub(super) struct Relay {
    written: RawRelay,
}

impl Relay {
    pub(super) fn new(written: &RawRelay) -> Self {
        Self { written: written.clone() }
    }
}

impl PowerSwitch for Relay {
    fn describe(&self) -> String {
        format!("relay {}", self.written.off)
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        get(if on { &self.written.on } else { &self.written.off }, SWITCH_LIMIT)?;
        match self.state()? {
            Some(state) if state != on => {
                let (is, should) = if on { ("off", "on") } else { ("on", "off") };
                Err(Fault::Power { why: format!("{} says {is} after it was switched {should}", self.describe()) })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        let (Some(address), Some(text)) = (&self.written.state, &self.written.state_on) else { return Ok(None) };
        Ok(Some(get(address, SWITCH_LIMIT)?.contains(text.as_str())))
    }
}

/// Asks an address and gives its answer.
fn get(address: &str, limit: Duration) -> Result<String, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Fault::Io { why: error.to_string() })?;
    let fetched = runtime.block_on(async { tokio::time::timeout(limit, fetch(address)).await });
    match fetched {
        Ok(Ok((status, answer))) if status.is_success() => Ok(answer),
        Ok(Ok((status, _))) => Err(Fault::Power { why: format!("{address} answered {status}") }),
        Ok(Err(why)) => Err(Fault::Power { why: format!("{address}: {why}") }),
        Err(_elapsed) => Err(Fault::Deadline { operation: format!("GET {address}"), limit }),
    }
}

async fn fetch(address: &str) -> Result<(hyper::StatusCode, String), String> {
    let uri: Uri = address.parse().map_err(|error| format!("{error}"))?;
    let authority = uri.authority().ok_or("no host")?.clone();
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str).to_owned();
    let request = Request::get(path).header(hyper::header::HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    // Ends with the runtime of this one exchange.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await.map_err(|error| error.to_string())?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}
