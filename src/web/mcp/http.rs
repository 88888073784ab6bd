//! `POST /mcp`: streamable HTTP, without sessions.

use std::sync::Arc;

use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;

use super::super::app::App;
use super::Server;
use super::reader::Reader;

/// The service. Its hosts, origins and key are those of every route: [`super::super::access`] has checked them.
pub(in crate::web) fn service(
    app: &App,
    max_body: usize,
) -> StreamableHttpService<Server, NeverSessionManager> {
    let server = Server {
        reader: Arc::new(Reader::of(app)),
    };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(max_body)
        .disable_allowed_hosts();
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
}
