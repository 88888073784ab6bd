//! The protocol over stdin and stdout, for the program that started this one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;

use super::Server;
use super::reader::Reader;
use crate::config::Settings;

/// Time between two looks at idle renderers.
const REST: Duration = Duration::from_secs(10);

/// Serves until stdin ends.
///
/// # Errors
/// If the system refuses a thread, or the first message is none of the protocol.
pub(in crate::web) async fn serve(settings: &Settings, passwords: &[String]) -> io::Result<()> {
    let reader = Arc::new(Reader::alone(settings, passwords)?);
    let resting = tokio::spawn(rest(reader.clone()));
    let served = match (Server { reader }).serve(rmcp::transport::stdio()).await {
        Ok(running) => running.waiting().await.map(drop).map_err(io::Error::other),
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    };
    resting.abort();
    served
}

/// Ends idle renderers from time to time.
async fn rest(reader: Arc<Reader>) {
    loop {
        tokio::time::sleep(REST).await;
        let reader = reader.clone();
        tokio::task::spawn_blocking(move || reader.pictures.rest());
    }
}
