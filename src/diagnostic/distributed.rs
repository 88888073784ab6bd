//! Errors of a queue, and of the coordinator and the workers of a distributed run.

use super::{Diagnostic, USAGE};
use crate::{distributed, pipeline, queue};

impl From<queue::Error> for Diagnostic {
    fn from(e: queue::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            queue::Error::Unset => Self {
                exit: USAGE,
                ..diagnostic
            }
            .hint("`--queue nats://HOST:4222`, or `queue.url` in the settings"),
            queue::Error::Unreachable { .. } => diagnostic.hint(
                "start the server, `nats-server --jetstream`, or check `--queue`",
            ),
            queue::Error::Unauthorized { .. } | queue::Error::Key { .. } => diagnostic.hint(
                "INGEST_QUEUE_KEY, or the file of `queue.key_file`, has `user:password`, a token, an nkey seed or the text of a .creds file",
            ),
            queue::Error::Untrusted { .. } => {
                diagnostic.hint("set `queue.ca_file` to the certificate of your certificate authority")
            }
            queue::Error::UnencryptedKey { .. } => diagnostic.hint(
                "use tls://, or set `queue.key_over_plain = true` on a trusted network",
            ),
            queue::Error::NoJetStream { .. } => {
                diagnostic.hint("start the server with `--jetstream`, or with a `jetstream` block in its settings")
            }
            queue::Error::Missing { .. } => {
                diagnostic.hint("`ingest FILE… --queue …` makes what the queue needs")
            }
            _ => diagnostic,
        }
    }
}

impl From<distributed::Error> for Diagnostic {
    fn from(e: distributed::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            distributed::Error::Queue(e) => e.into(),
            distributed::Error::Store(e) => e.into(),
            distributed::Error::Render(e) => pipeline::Error::from(e).into(),
            distributed::Error::Pipeline(e) => e.into(),
            distributed::Error::Annotate(e) => e.into(),
            distributed::Error::NotAServer(_) => Self {
                exit: USAGE,
                ..diagnostic
            }
            .hint("`--store http://HOST:8080` names a Weaviate server, which many machines fill"),
            distributed::Error::Busy { .. } => {
                diagnostic.hint("wait until it has ended, or cancel it: `ingest queue cancel RUN`")
            }
            distributed::Error::Mismatch { .. } => Self {
                exit: USAGE,
                ..diagnostic
            }
            .hint("use the same version and the same settings on all machines"),
            distributed::Error::NoRun(_) => diagnostic.hint("`ingest queue status` lists the runs"),
            distributed::Error::LeadLost { .. } => diagnostic,
        }
    }
}
