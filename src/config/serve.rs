//! The section `[serve]`: the web server.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::units::{ByteSize, Invalid};

/// Settings of `ingest serve`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// Address and port to listen on. One that other machines reach needs a key.
    pub address: SocketAddr,
    /// Other names of this server, as a proxy sends them in `Host`.
    pub hosts: Vec<String>,
    /// Other web sites that may use the interface, such as `https://wiki.example`.
    pub origins: Vec<String>,
    /// Folders whose files may be added by their path.
    pub folders: Vec<PathBuf>,
    /// Path that the server has behind a proxy, such as `/manuals`; empty: none.
    pub base: String,
    /// File with the key that clients must send.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Maximum size of an uploaded file.
    pub max_upload: ByteSize,
    /// Maximum size of the cache of page pictures on disk.
    pub cache: ByteSize,
}

impl Serve {
    /// Checks the values.
    ///
    /// # Errors
    /// With the first invalid one.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let base = self.base.trim_end_matches('/');
        if !base.is_empty() && (!base.starts_with('/') || base.contains(['?', '#', ' ', '"', '<']))
        {
            return Err(Invalid {
                key: "base",
                reason: "must be a path such as `/manuals`",
            });
        }
        let is_origin = |origin: &String| {
            let rest = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            rest.is_some_and(|host| !host.is_empty() && !host.contains('/'))
        };
        if !self.origins.iter().all(is_origin) {
            return Err(Invalid {
                key: "origins",
                reason: "must be origins such as `https://wiki.example`, without a path",
            });
        }
        Ok(())
    }
}
