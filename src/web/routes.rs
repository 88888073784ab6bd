//! The table of routes: what is served, and the document of the interface.

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Json, Router};
use serde_json::Value;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use super::app::Shared;
use super::job::JobView;
use super::openapi::Operation;
use super::problem::Problem;
use super::{
    about, access, ask, asker, assets, event_stream, jobs_api, manuals, mcp, metrics, moved,
    openapi, pages, search, uploads, words,
};

/// Longest JSON body, in bytes.
const MAX_JSON: usize = 1 << 20;

/// A route.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) operation: Operation,
    handler: MethodRouter<Shared>,
}

fn read(path: &'static str, operation: Operation, handler: MethodRouter<Shared>) -> Route {
    route(Method::GET, path, operation, handler)
}

fn route(
    method: Method,
    path: &'static str,
    operation: Operation,
    handler: MethodRouter<Shared>,
) -> Route {
    Route {
        method,
        path,
        operation,
        handler,
    }
}

fn op(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
}

/// All routes of the interface.
pub(super) fn routes() -> Vec<Route> {
    let mut all = search_routes();
    all.push(ask_route());
    all.extend(manual_routes());
    all.extend(job_routes());
    all.extend(server_routes());
    all
}

fn ask_route() -> Route {
    route(
        Method::POST,
        "/api/v1/ask",
        op("ask", "Answer a question from pages that it cites")
            .body::<ask::AskQuestion>()
            .json::<asker::AskAnswer>(
                200,
                "The answer, or with `Accept: text/event-stream` its events as it comes",
            )
            .text("text/event-stream", "The events")
            .problems(&[404, 409, 500, 502, 503]),
        post(ask::post),
    )
}

fn search_routes() -> Vec<Route> {
    let page_problems = [404, 500, 503];
    vec![
        read(
            "/api/v1/search",
            op("search", "Find the pages that answer a question")
                .query::<search::Question>()
                .json::<search::Answer>(200, "The pages, best first")
                .problems(&[404, 409, 500, 503]),
            get(search::get),
        ),
        route(
            Method::POST,
            "/api/v1/search",
            op("searchLong", "The same for long questions")
                .body::<search::Question>()
                .json::<search::Answer>(200, "The pages, best first")
                .problems(&[404, 409, 500, 503]),
            post(search::post),
        ),
        read(
            "/api/v1/pages",
            op("findPage", "A page by its manual and number")
                .query::<pages::PageQuery>()
                .json::<pages::PageView>(200, "The page")
                .problems(&page_problems),
            get(pages::find),
        ),
        read(
            "/api/v1/pages/{id}",
            op("page", "A page")
                .json::<pages::PageView>(200, "The page")
                .problems(&page_problems),
            get(pages::get),
        ),
        read(
            "/api/v1/pages/{id}/thumbnail",
            op("thumbnail", "A small picture of a page, as it was stored")
                .query::<pages::ThumbnailQuery>()
                .bytes("image/jpeg", "The picture")
                .empty(304, "The client has it")
                .problems(&page_problems),
            get(pages::thumbnail),
        ),
        read(
            "/api/v1/pages/{id}/picture",
            op("picture", "The picture of a page, rendered from its file")
                .query::<pages::PictureQuery>()
                .bytes(
                    "image/jpeg",
                    "The picture; not wider than twice the stored rendering",
                )
                .empty(304, "The client has it")
                .problems(&[404, 410, 422, 500, 503]),
            get(pages::picture),
        ),
        read(
            "/api/v1/pages/{id}/words",
            op("words", "Where the words of a page stand on its picture")
                .query::<pages::ThumbnailQuery>()
                .json::<words::PageWords>(200, "The words of its text layer")
                .problems(&[404, 410, 422, 500, 503]),
            get(words::get),
        ),
        read(
            "/api/v1/pages/{id}/heat",
            op("heat", "Where the words of a question match a page")
                .query::<pages::HeatQuery>()
                .json::<pages::Heat>(200, "A map for each word")
                .problems(&[404, 409, 500, 503]),
            get(pages::heat),
        ),
    ]
}

fn manual_routes() -> Vec<Route> {
    vec![
        read(
            "/api/v1/manuals",
            op("manuals", "The manuals of the library")
                .json::<manuals::ManualList>(200, "The manuals, by name")
                .problems(&[500, 503]),
            get(manuals::list),
        ),
        route(
            Method::POST,
            "/api/v1/manuals",
            op("addManual", "Upload a file and store its pages")
                .query::<uploads::UploadQuery>()
                .raw_body()
                .json::<uploads::Accepted>(202, "The job that stores it")
                .problems(&[500]),
            post(uploads::upload).layer(DefaultBodyLimit::disable()),
        ),
        read(
            "/api/v1/manuals/{name}",
            op("manual", "A manual with its sections")
                .json::<manuals::ManualDetail>(200, "The manual")
                .problems(&[404, 500, 503]),
            get(manuals::get),
        ),
        route(
            Method::DELETE,
            "/api/v1/manuals/{name}",
            op("removeManual", "Remove a manual; its job is stopped first")
                .empty(204, "It is removed")
                .problems(&[404, 409, 500, 503, 507]),
            delete(manuals::remove),
        ),
        read(
            "/api/v1/manuals/{name}/pdf",
            op("file", "The original file; ranges of bytes are served")
                .bytes("application/pdf", "The file")
                .empty(206, "A part of the file")
                .empty(304, "The client has it")
                .empty(416, "There is no such part")
                .problems(&[404, 410, 500, 503]),
            get(manuals::file),
        ),
        route(
            Method::PUT,
            "/api/v1/manuals/{name}/file",
            op(
                "chooseFile",
                "Upload the file of a manual again, after it moved or changed; it must be the one that was stored",
            )
            .raw_body()
            .empty(204, "It is the file of the manual now")
            .problems(&[404, 409, 500, 503]),
            put(moved::file).layer(DefaultBodyLimit::disable()),
        ),
        route(
            Method::PUT,
            "/api/v1/manuals/{name}/path",
            op(
                "choosePath",
                "Name the file of a manual again, on the server's disk below `serve.folders`",
            )
            .body::<moved::NewPath>()
            .empty(204, "It is the file of the manual now")
            .problems(&[404, 409, 500, 503]),
            put(moved::path),
        ),
    ]
}

fn job_routes() -> Vec<Route> {
    vec![
        read(
            "/api/v1/jobs",
            op(
                "jobs",
                "The files that are being added, and those that were",
            )
            .json::<jobs_api::JobList>(200, "The jobs, the oldest first"),
            get(jobs_api::list),
        ),
        route(
            Method::POST,
            "/api/v1/jobs",
            op(
                "addPaths",
                "Store files of the server's disk, below `serve.folders`",
            )
            .body::<uploads::PathsRequest>()
            .json::<uploads::AllAccepted>(202, "The jobs that store them")
            .problems(&[500, 507]),
            post(uploads::add_paths),
        ),
        read(
            "/api/v1/jobs/{id}",
            op("job", "A file that is being added")
                .json::<JobView>(200, "The job")
                .problems(&[404]),
            get(jobs_api::get),
        ),
        route(
            Method::DELETE,
            "/api/v1/jobs/{id}",
            op("stopJob", "Stop a job; the pages stored until then stay. The upload of one that failed is removed")
                .empty(204, "It stops")
                .problems(&[404, 507]),
            delete(jobs_api::stop),
        ),
        read(
            "/api/v1/events",
            op(
                "events",
                "What happens, as server-sent events: `snapshot`, `job`, `library`, `model`",
            )
            .text("text/event-stream", "The events"),
            get(event_stream::get),
        ),
    ]
}

fn server_routes() -> Vec<Route> {
    vec![
        read(
            "/api/v1/about",
            op("about", "The server and its library")
                .json::<about::About>(200, "What is known of them")
                .problems(&[500, 503]),
            get(about::get),
        ),
        route(
            Method::POST,
            "/api/v1/session",
            op("session", "Exchange the key of the server for a cookie")
                .body::<about::SessionRequest>()
                .empty(204, "The cookie is set"),
            post(about::session),
        ),
        read(
            "/api/v1/openapi.json",
            op("openapi", "This document").json::<Value>(200, "OpenAPI 3.1"),
            get(document),
        ),
        read(
            "/healthz",
            op("healthz", "Whether the server runs").text("text/plain; charset=utf-8", "It does"),
            get(about::healthz),
        ),
        read(
            "/readyz",
            op("readyz", "Whether questions are answered")
                .text("text/plain; charset=utf-8", "They are")
                .problems(&[500, 503]),
            get(about::readyz),
        ),
        read(
            "/metrics",
            op("metrics", "Counters in the text format of Prometheus")
                .text("text/plain; version=0.0.4", "The counters")
                .problems(&[500, 503]),
            get(metrics::get),
        ),
    ]
}

/// The document of the interface.
async fn document() -> Json<Value> {
    let operations = routes()
        .into_iter()
        .map(|route| (route.method, route.path, route.operation));
    Json(openapi::document(operations))
}

/// The service of all routes, behind the checks of [`access`].
pub(super) fn router(app: Shared) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handler);
    }
    for path in ["/", "/search", "/library"] {
        router = router.route(path, get(assets::index));
    }
    let compressed = DefaultPredicate::new()
        .and(NotForContentType::new("application/pdf"))
        .and(NotForContentType::SSE);
    router
        .route("/assets/{version}/{name}", get(assets::asset))
        .route_service("/mcp", mcp::service(&app, MAX_JSON))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .layer(CompressionLayer::new().gzip(true).compress_when(compressed))
        .layer(middleware::from_fn_with_state(
            app.access.clone(),
            access::guard,
        ))
        .with_state(app)
}

async fn not_found() -> Problem {
    let detail = "there is nothing at this address";
    Problem::new(StatusCode::NOT_FOUND, "no-such-address", detail)
        .hint("the interface is described in `api/v1/openapi.json`")
}

async fn method_not_allowed() -> Problem {
    let detail = "this address does not take that method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", detail)
        .hint("the interface is described in `api/v1/openapi.json`")
}
