//! Who may send requests: hosts, origins, the key; and the headers of every response.
//!
//! A page of another site can make a browser send requests to this server. So `Host` must be ours (against DNS rebinding),
//! and requests that change something must come from our own page or from no page.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::config::Serve;

/// Name of the cookie that stands for the key.
pub(super) const COOKIE: &str = "ingest-key";
/// Paths that need no key: the page itself, which asks for it, and the probes.
const OPEN_PATHS: [&str; 5] = ["/", "/search", "/library", "/healthz", "/readyz"];
/// Prefixes of paths that need no key.
const OPEN_PREFIXES: [&str; 2] = ["/assets/", "/page/"];

/// Scripts, styles and pictures of this server only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'";

/// What requests are checked against.
pub(super) struct Access {
    /// Names of this server, without port.
    hosts: Vec<String>,
    /// Other origins that may use the interface.
    origins: Vec<String>,
    /// SHA-256 of the key, if one is needed.
    key: Option<[u8; 32]>,
    /// Path before every other, without a slash at its end.
    pub(super) base: String,
}

impl Access {
    pub(super) fn new(config: &Serve, bound: SocketAddr, key: Option<&str>) -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let own = match bound.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let named = config.hosts.iter().map(|host| host.to_lowercase());
        Self {
            hosts: loopback.into_iter().chain([own]).chain(named).collect(),
            origins: config.origins.clone(),
            key: key.map(hash),
            base: config.base.trim_end_matches('/').to_owned(),
        }
    }

    /// Whether a key is right. Digests are compared, so the time says nothing about the key.
    pub(super) fn is_key(&self, given: &str) -> bool {
        self.key.is_some_and(|key| hash(given) == key)
    }

    /// Whether requests need a key.
    pub(super) fn needs_key(&self) -> bool {
        self.key.is_some()
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let forbidden = |kind, detail: &str| Problem::new(StatusCode::FORBIDDEN, kind, detail);
        let host = text(headers, &header::HOST)
            .or_else(|| request.uri().authority().map(ToString::to_string));
        let host = host.unwrap_or_default().to_lowercase();
        if !self.hosts.iter().any(|own| own == without_port(&host)) {
            let detail = format!("this server is not `{host}`");
            return Err(forbidden("foreign-host", &detail)
                .hint("behind a proxy, add the name to `serve.hosts`"));
        }
        if let Some(origin) = text(headers, &header::ORIGIN) {
            let own = origin
                .split_once("://")
                .is_some_and(|(_, rest)| rest == host);
            if !own && !self.origins.contains(&origin) {
                let detail = format!("pages of `{origin}` may not use this server");
                return Err(
                    forbidden("foreign-origin", &detail).hint("allow them with `serve.origins`")
                );
            }
        } else if !is_safe(request.method()) && is_cross_site(headers) {
            let detail = "pages of other sites may not change the library";
            return Err(
                forbidden("foreign-origin", detail).hint("allow the site with `serve.origins`")
            );
        }
        let path = request.uri().path();
        let is_open = OPEN_PATHS.contains(&path)
            || OPEN_PREFIXES.iter().any(|prefix| path.starts_with(prefix))
            || path == "/api/v1/session";
        if self.needs_key() && !is_open && !self.has_key(headers) {
            let detail = "this server needs a key";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "no-key", detail)
                .hint("send it as `Authorization: Bearer KEY`, or open the page and enter it"));
        }
        Ok(())
    }

    fn has_key(&self, headers: &HeaderMap) -> bool {
        // Its bytes: a key may have letters that are not ASCII.
        let bearer = headers.get(header::AUTHORIZATION);
        let bearer = bearer.and_then(|value| str::from_utf8(value.as_bytes()).ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let cookies = text(headers, &header::COOKIE).unwrap_or_default();
        let mut cookies = cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='));
        let cookie = cookies
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value);
        let decoded =
            cookie.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy());
        bearer.is_some_and(|key| self.is_key(key)) || decoded.is_some_and(|key| self.is_key(&key))
    }

    /// The headers that allow another origin to read a response.
    fn allow_origin(&self, origin: Option<&HeaderValue>, response: &mut Response) {
        let Some(origin) = origin.filter(|origin| {
            origin
                .to_str()
                .is_ok_and(|origin| self.origins.iter().any(|known| known == origin))
        }) else {
            return;
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// Checks a request, and sets the headers of its response.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_preflight = *request.method() == Method::OPTIONS;
    let mut response = match access.check(&request) {
        Err(problem) if !(is_preflight && problem.status == StatusCode::UNAUTHORIZED) => {
            problem.into_response()
        }
        _ if is_preflight && origin.is_some() => preflight(),
        _ => next.run(request).await,
    };
    access.allow_origin(origin.as_ref(), &mut response);
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    let is_document = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/pdf"));
    // The viewer of a browser needs its own scripts and styles.
    if !is_document {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The answer to a browser that asks before it sends a request of another origin.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser says that the request comes from a page of another site.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site != "same-origin" && site != "none")
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
