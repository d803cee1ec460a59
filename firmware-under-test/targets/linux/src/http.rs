//! What the HTTP sides of both processes have in common: bodies within bounds, refusals that say what to do next, and
//! server-sent events out of a feed.

use crate::api::{Gap, Refusal};
use crate::feed::{Feed, Next, Place};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Readers of events served at once.
pub const MOST_READERS: usize = 32;
/// Distance of the comments that show a waiting reader that its connection is alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Connections open at once.
const MOST_CONNECTIONS: usize = 128;
/// Longest wait for the head of a request, the first and any later one of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Time for connections to come to an end with the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A request that is not carried out.
#[derive(Clone, Debug)]
pub struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

impl Refused {
    pub fn new(status: StatusCode, error: impl ToString, next: impl ToString) -> Self {
        Self { status, refusal: Refusal { error: error.to_string(), next: next.to_string() } }
    }

    /// The machine's thread is gone: the process is ending.
    pub fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the process is ending", "ask again when it is up")
    }

    /// The machine's queue is full, or it is too slow.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too much is waiting", "ask again in a second")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json(self.status, &self.refusal)
    }
}

/// An answer in JSON.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Reads a body of at most `most` octets as JSON.
pub async fn body<T: DeserializeOwned>(request: Request, most: usize) -> Result<T, Refused> {
    let too_large = || {
        let error = format!("the body has more than {most} octets");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less at once")
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > most) {
        return Err(too_large());
    }
    let octets = match tokio::time::timeout(BODY_PATIENCE, to_bytes(request.into_body(), most)).await {
        Ok(Ok(octets)) => octets,
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => {
            return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not come", "send the request again"));
        }
    };
    let mut reader = serde_json::Deserializer::from_slice(&octets);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let place = error.path().to_string();
        let error = format!("{place}: {}", error.inner());
        Refused::new(StatusCode::BAD_REQUEST, error, "mk_linux::api says what is understood")
    })?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(Refused::new(StatusCode::BAD_REQUEST, error, "send one JSON value and nothing behind it")),
    }
}

/// What `GET /events` is served from.
#[derive(Clone)]
pub struct Events {
    feed: Arc<Feed>,
    readers: Arc<Semaphore>,
    ending: watch::Receiver<bool>,
}

impl Events {
    pub fn new(feed: Arc<Feed>, ending: watch::Receiver<bool>) -> Self {
        Self { feed, readers: Arc::new(Semaphore::new(MOST_READERS)), ending }
    }

    /// The answer to `GET /events`.
    pub fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Result<Response, Refused> {
        let place = self.place(uri, headers)?;
        let Ok(permit) = Arc::clone(&self.readers).try_acquire_owned() else {
            let error = format!("{MOST_READERS} readers follow the events already");
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, error, "close one of them"));
        };
        let start = (Arc::clone(&self.feed), place, self.feed.news(), self.ending.clone(), permit);
        let events = stream::unfold(start, |(feed, mut place, mut news, mut ending, permit)| async move {
            let event = loop {
                news.borrow_and_update();
                match feed.next(&mut place) {
                    Next::Event(told) => {
                        break Event::default().id(told.id.to_string()).event(told.kind).data(&*told.json);
                    }
                    Next::Gap(gap) => break gap_event(gap),
                    Next::End => return None,
                    Next::Wait => {
                        tokio::select! {
                            changed = news.changed() => changed.ok()?,
                            ended = ending.wait_for(|ending| *ending) => {
                                ended.ok()?;
                                // What was told last is still given out.
                                if matches!(feed.next(&mut place.clone()), Next::Wait | Next::End) {
                                    return None;
                                }
                            }
                        }
                    }
                }
            };
            Some((Ok::<_, Infallible>(event), (feed, place, news, ending, permit)))
        });
        Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
    }

    fn place(&self, uri: &Uri, headers: &HeaderMap) -> Result<Place, Refused> {
        if let Some(last) = headers.get("last-event-id") {
            let id = last.to_str().ok().and_then(|text| text.parse().ok());
            return id.map(Feed::resumed).ok_or_else(|| {
                let error = format!("Last-Event-ID {last:?} is no event id");
                Refused::new(StatusCode::BAD_REQUEST, error, "send the id of an event as it came, or none")
            });
        }
        match uri.query() {
            None | Some("") => Ok(self.feed.beginning()),
            Some("from=now") => Ok(self.feed.now()),
            Some(other) => {
                let error = format!("query {other:?} is not known");
                Err(Refused::new(StatusCode::BAD_REQUEST, error, "from=now is the only query"))
            }
        }
    }
}

fn gap_event(gap: Gap) -> Event {
    let text = serde_json::to_string(&gap).unwrap_or_default();
    Event::default().event("gap").data(text)
}

/// Answers for paths and methods that there are none for.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>, requests: &'static str) -> Router<S> {
    router
        .fallback(move |uri: Uri| async move {
            let error = format!("there is nothing at {}", uri.path());
            Refused::new(StatusCode::NOT_FOUND, error, requests)
        })
        .method_not_allowed_fallback(move |uri: Uri| async move {
            let error = format!("{} is not asked for in this way", uri.path());
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, error, requests)
        })
}

/// Serves until `ending` says so. Connections are few, and one that asks for nothing is closed, so that those who do ask
/// always find a place.
pub async fn serve(listener: TcpListener, router: Router, mut ending: watch::Receiver<bool>) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let open = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let (Ok(place), Ok((stream, _))) = (place, accepted) else {
            // Out of file descriptors, most likely: others have to end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Events and answers are small: none should wait for more octets. A refusal costs time, nothing else.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A reader that went away is no concern of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    // Whoever does not take what is left has had its time.
    let _ = tokio::time::timeout(LAST_WORDS, open.shutdown()).await;
    Ok(())
}

/// An answer in plain octets.
pub fn octets(octets: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from(octets)).into_response()
}
