//! Adds the variants of words and codes ([`crate::analysis`]) to the pages that an earlier version stored.

use reqwest::Method;
use serde_json::json;

use super::Weaviate;
use super::schema::CollectionInfo;
use super::transport::Failure;
use crate::analysis;
use crate::store::{Catalogue, Error, Scope};

impl Weaviate {
    /// Writes the properties of all pages again, which keeps their vectors, and notes in the collection that they are
    /// current. An interrupted run does it again.
    pub(super) fn add_variants(&self) -> Result<(), Error> {
        for page in self.records(&Scope::default())? {
            // A page that was removed since, or that the server refuses, must not stop the others.
            let _ = self.patch(&page?)?;
        }
        self.mark_variants_current()
            .map_err(|failure| failure.into_error(&self.location))
    }

    fn mark_variants_current(&self) -> Result<(), Failure> {
        let path = format!("schema/{}", self.config.collection);
        let mut class = self.transport.rest(&Method::GET, &path, None)?;
        let text = class["description"].as_str().unwrap_or_default();
        if let Ok(mut info) = serde_json::from_str::<CollectionInfo>(text) {
            match self.config.tenant.as_str() {
                "" => info.variants = analysis::VERSION,
                tenant => drop(info.tenants.insert(tenant.to_owned())),
            }
            class["description"] = json!(info).to_string().into();
            self.transport.rest(&Method::PUT, &path, Some(&class))?;
        }
        Ok(())
    }
}
