//! How long calls wait: they end when the client gives up, and tell it meanwhile that they go on.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{self, Either};
use rmcp::RoleServer;
use rmcp::model::{CallToolResult, ErrorData, ProgressNotificationParam};
use rmcp::service::RequestContext;

/// Time between two messages that a call goes on. Clients give up after 30 to 60 seconds without one.
const BEAT: Duration = Duration::from_secs(5);

/// Waits for `call`; drops it when the client cancels it or goes away.
///
/// # Errors
/// Those of the call.
pub(super) async fn wait(
    context: &RequestContext<RoleServer>,
    call: impl Future<Output = Result<CallToolResult, ErrorData>>,
) -> Result<CallToolResult, ErrorData> {
    let with_beat = pin!(with_beat(context, call));
    match future::select(with_beat, pin!(context.ct.cancelled())).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(ErrorData::internal_error("the call was cancelled", None)),
    }
}

/// Waits for `call`; tells a client that asked for it that the call goes on.
async fn with_beat<T>(context: &RequestContext<RoleServer>, call: impl Future<Output = T>) -> T {
    let token = context.meta.get_progress_token();
    let mut call = pin!(call);
    let mut seconds = 0.0;
    loop {
        call = match future::select(call, pin!(tokio::time::sleep(BEAT))).await {
            Either::Left((done, _)) => return done,
            Either::Right(((), call)) => call,
        };
        seconds += BEAT.as_secs_f64();
        if let Some(token) = token.clone() {
            let progress = ProgressNotificationParam::new(token, seconds);
            // A client that is gone cancels the call.
            let _ = context.peer.notify_progress(progress).await;
        }
    }
}
