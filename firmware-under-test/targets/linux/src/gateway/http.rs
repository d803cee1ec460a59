//! The gateway's HTTP side: looks at what comes in before the machine's thread is bothered with it.

use super::core::Input;
use crate::api::Health;
use crate::api::gateway::{GatewayState, Orders, RadioState, Taken};
use crate::http::{self, Events, Refused, json};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use mk_wire::AccessMessage;
use mk_wire::north::Order;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest wait for the machine's thread.
const PATIENCE: Duration = Duration::from_secs(10);
/// What can be asked for.
const REQUESTS: &str = "a gateway answers POST /orders, GET /events, GET /state and GET /healthz";

/// What the handlers need.
#[derive(Clone)]
pub struct Front {
    pub inputs: SyncSender<Input>,
    pub events: Events,
}

pub fn router(front: Front) -> Router {
    let routes = Router::new()
        .route("/orders", post(orders))
        .route("/events", get(events))
        .route("/state", get(state))
        .route("/healthz", get(health));
    http::with_fallbacks(routes, REQUESTS).with_state(front)
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

async fn orders(State(front): State<Front>, request: Request) -> Result<Response, Refused> {
    let orders: Orders = http::body(request, Orders::MOST_OCTETS).await?;
    check(&orders).map_err(|(error, next)| Refused::new(StatusCode::BAD_REQUEST, error, next))?;
    let taken: Taken = front.ask(|answer| Input::Orders(orders, answer)).await?;
    Ok(json(StatusCode::ACCEPTED, &taken))
}

/// What the machine would silently ignore is refused here, where somebody can be told.
fn check(orders: &Orders) -> Result<(), (String, &'static str)> {
    if orders.orders.len() > Orders::MOST {
        return Err((
            format!("{} orders, at most {}", orders.orders.len(), Orders::MOST),
            "send them in several requests",
        ));
    }
    if orders.sender.len() > Orders::MOST_SENDER {
        return Err((format!("sender: more than {} octets", Orders::MOST_SENDER), "shorten the name"));
    }
    for (index, order) in orders.orders.iter().enumerate() {
        let problem = match order {
            Order::Access(octets) => match AccessMessage::decode(octets) {
                Ok(AccessMessage::Distribution(_) | AccessMessage::Blob(_)) => None,
                Ok(AccessMessage::Update(_) | AccessMessage::Config(_) | AccessMessage::Vendor(_)) => {
                    Some("a message to nodes: MeshOS speaks to them through the distributor".to_owned())
                }
                Err(error) => Some(error.to_string()),
            },
            Order::Throttle { permille: 1..=1000 } | Order::Window { .. } => None,
            Order::Throttle { permille } => Some(format!("throttle of {permille} permille, expected 1 to 1000")),
            Order::RequestReport { node } if node.is_unicast() => None,
            Order::RequestReport { node } => Some(format!("{node} is not the address of a node")),
        };
        if let Some(problem) = problem {
            return Err((
                format!("orders[{index}]: {problem}"),
                "no order of this request was carried out; correct it",
            ));
        }
    }
    Ok(())
}

async fn events(State(front): State<Front>, uri: Uri, headers: HeaderMap) -> Result<Response, Refused> {
    front.events.answer(&uri, &headers)
}

async fn state(State(front): State<Front>) -> Result<Response, Refused> {
    let state: GatewayState = front.ask(Input::State).await?;
    Ok(json(StatusCode::OK, &state))
}

async fn health(State(front): State<Front>) -> Result<Response, Refused> {
    let state: GatewayState = front.ask(Input::State).await?;
    let health = health_of(&state.radio);
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json(status, &health))
}

fn health_of(radio: &RadioState) -> Health {
    let (ok, state, next) = match radio {
        RadioState::Ready { .. } => (true, "the radio works".to_owned(), String::new()),
        RadioState::Absent { reason, next } => (false, format!("no radio: {reason}"), next.clone()),
        RadioState::Silent => (
            false,
            "the radio co-processor does not answer".to_owned(),
            "reset it; if it stays silent, look whether its firmware and the line's speed are right".to_owned(),
        ),
        RadioState::WrongVersion { radio, host } => (
            false,
            format!("the radio co-processor speaks version {radio} of the link, this gateway version {host}"),
            "flash the co-processor's firmware of this release".to_owned(),
        ),
    };
    Health { ok, state, next }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use mk_wire::access::Buffer;
    use mk_wire::{Addr, distribution, vendor};
    use rstest::rstest;

    fn access<'a>(message: impl Into<AccessMessage<'a>>) -> Order {
        Order::Access(message.into().to_buffer().unwrap())
    }

    #[rstest]
    #[case::throttle_full(Order::Throttle { permille: 1000 }, true)]
    #[case::throttle_over(Order::Throttle { permille: 1001 }, false)]
    #[case::throttle_none(Order::Throttle { permille: 0 }, false)]
    #[case::node(Order::RequestReport { node: Addr(0x101) }, true)]
    #[case::group(Order::RequestReport { node: Addr(0xC001) }, false)]
    #[case::for_nodes(access(vendor::Message::ReportGet), false)]
    #[case::nonsense(Order::Access(Buffer::from_slice(&[0xFF]).unwrap()), false)]
    fn an_order_that_the_machine_would_ignore_is_refused(#[case] order: Order, #[case] is_good: bool) {
        let orders = Orders { sender: String::new(), batch: 0, orders: vec![Order::Window { open: true }, order] };
        let checked = check(&orders);
        assert_eq!(checked.is_ok(), is_good, "{checked:?}");
        assert!(checked.err().is_none_or(|(error, _)| error.starts_with("orders[1]")));
    }

    #[test]
    fn the_distributors_messages_are_taken() {
        let order = Order::Access(AccessMessage::Distribution(distribution::Message::Get).to_buffer().unwrap());
        let orders = |count| Orders { sender: String::new(), batch: 0, orders: vec![order.clone(); count] };
        assert!(check(&orders(Orders::MOST)).is_ok());
        assert!(check(&orders(Orders::MOST + 1)).is_err());
    }

    #[test]
    fn what_ails_the_radio_comes_with_what_to_do() {
        for radio in [
            RadioState::Silent,
            RadioState::WrongVersion { radio: 2, host: 1 },
            RadioState::Absent { reason: "gone".to_owned(), next: "plug it in".to_owned() },
        ] {
            let health = health_of(&radio);
            assert!(!health.ok && !health.next.is_empty(), "{health:?}");
        }
        assert!(health_of(&RadioState::Ready { window: 8 }).ok);
    }
}
