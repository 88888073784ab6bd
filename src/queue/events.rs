//! What the client tells about its connection: outages, and rights that the user lacks.

use std::sync::{Mutex, PoisonError};

use async_nats::{Event, ServerError};
use tokio::sync::broadcast;

/// Refusals that a waiting request may miss before it looks.
const REFUSALS_KEPT: usize = 64;

/// The state of a connection, as last told by the client.
pub(super) struct Events {
    outage: Mutex<Option<String>>,
    refusals: broadcast::Sender<String>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            outage: Mutex::new(None),
            refusals: broadcast::channel(REFUSALS_KEPT).0,
        }
    }

    /// Takes in an event of the client.
    pub(super) fn record(&self, event: &Event) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => *outage = None,
            Event::Disconnected | Event::Closed => *outage = Some("disconnected".to_owned()),
            Event::ServerError(ServerError::Other(text)) if is_refusal(text) => {
                // Nobody may be waiting.
                let _ = self.refusals.send(text.clone());
            }
            Event::ServerError(error) if outage.is_some() => {
                *outage = Some(format!("disconnected: {error}"));
            }
            Event::ClientError(error) if outage.is_some() => {
                *outage = Some(format!("disconnected: {error}"));
            }
            _ => {}
        }
    }

    /// Why there is no connection; `None` if there is one.
    pub(super) fn outage(&self) -> Option<String> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.clone()
    }

    /// Refusals from now on.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals(self.refusals.subscribe())
    }
}

fn is_refusal(text: &str) -> bool {
    text.to_ascii_lowercase().contains("permissions violation")
}

/// Refusals of the server for want of a right. Without them such a request looks like one that was lost.
pub(super) struct Refusals(broadcast::Receiver<String>);

impl Refusals {
    /// Waits for one that is about a subject with this text.
    pub(super) async fn about(&mut self, subject: &str) -> String {
        loop {
            match self.0.recv().await {
                Ok(text) if text.contains(subject) => return text,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
