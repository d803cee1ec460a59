//! The HTTP side of MeshOS.

use super::core::{Input, No};
use crate::api::Health;
use crate::api::meshos::{CampaignRequest, MeshosState, OperatorRequest};
use crate::http::{self, Events, Refused, json, octets};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest wait for the machine's thread.
const PATIENCE: Duration = Duration::from_secs(10);
/// What can be asked for.
const REQUESTS: &str =
    "MeshOS answers POST /campaign, POST /orders, GET /events, GET /state, GET /journal and GET /healthz";

/// What the handlers need.
#[derive(Clone)]
pub struct Front {
    pub inputs: SyncSender<Input>,
    pub events: Events,
}

pub fn router(front: Front) -> Router {
    let routes = Router::new()
        .route("/campaign", post(campaign))
        .route("/orders", post(orders))
        .route("/events", get(events))
        .route("/state", get(state))
        .route("/journal", get(journal))
        .route("/healthz", get(health));
    http::with_fallbacks(routes, REQUESTS).with_state(front)
}

impl From<No> for Refused {
    fn from(no: No) -> Self {
        match no {
            No::Wrong(refusal) => Refused::new(StatusCode::BAD_REQUEST, refusal.error, refusal.next),
            No::Conflict(refusal) => Refused::new(StatusCode::CONFLICT, refusal.error, refusal.next),
        }
    }
}

impl Front {
    /// Asks the machine's thread.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        match self.inputs.try_send(question(answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refused::busy()),
            Err(TrySendError::Disconnected(_)) => return Err(Refused::ending()),
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Refused::ending()),
            Err(_) => Err(Refused::busy()),
        }
    }
}

async fn campaign(State(front): State<Front>, request: Request) -> Result<Response, Refused> {
    let wanted: CampaignRequest = http::body(request, CampaignRequest::MOST_OCTETS).await?;
    let accepted = front.ask(|answer| Input::Create(Box::new(wanted), answer)).await??;
    Ok(json(StatusCode::CREATED, &accepted))
}

async fn orders(State(front): State<Front>, request: Request) -> Result<Response, Refused> {
    let OperatorRequest { order } = http::body(request, 1_024).await?;
    let state = front.ask(|answer| Input::Operator(order, answer)).await??;
    Ok(json(StatusCode::OK, &state))
}

async fn events(State(front): State<Front>, uri: Uri, headers: HeaderMap) -> Result<Response, Refused> {
    front.events.answer(&uri, &headers)
}

async fn state(State(front): State<Front>) -> Result<Response, Refused> {
    let state: MeshosState = front.ask(Input::State).await?;
    Ok(json(StatusCode::OK, &state))
}

async fn journal(State(front): State<Front>) -> Result<Response, Refused> {
    Ok(octets(front.ask(Input::Journal).await??))
}

async fn health(State(front): State<Front>) -> Result<Response, Refused> {
    let state: MeshosState = front.ask(Input::State).await?;
    let health = health_of(&state);
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json(status, &health))
}

fn health_of(state: &MeshosState) -> Health {
    match state.gateways.iter().find(|gateway| !gateway.connected) {
        None => Health { ok: true, state: "every gateway is connected".to_owned(), next: String::new() },
        Some(gateway) => Health {
            ok: false,
            state: format!("gateway {} at {} is not connected", gateway.address, gateway.url),
            next: "start it, or correct its URL in --gateway".to_owned(),
        },
    }
}
