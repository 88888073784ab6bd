//! Records of manuals: one object each.

use reqwest::Method;
use serde_json::{Value, json};

use super::transport::Failure;
use super::{Weaviate, object, schema};
use crate::page::ManualId;
use crate::store::{Error, ManualCard, lock};

impl Weaviate {
    /// Inserts the record of a manual; updates one that is stored, which keeps its other properties.
    pub(super) fn store_manual(&self, card: &ManualCard) -> Result<(), Error> {
        let collection = self.require_collection()?;
        if !self.patch_manual(&card.id, object::manual_body(card))? {
            let mut object = object::manual(card);
            object.collection = schema::manuals(&self.config);
            object.tenant.clone_from(&self.config.tenant);
            if let Some((_, why)) = self.send(&collection, vec![object])?.pop() {
                return Err(self.manual_rejected(&card.id, &why));
            }
        }
        lock(&self.known_manuals).insert(card.id.clone());
        Ok(())
    }

    /// Updates some properties of the record of a manual; returns whether there is one.
    pub(super) fn patch_manual(&self, manual: &ManualId, properties: Value) -> Result<bool, Error> {
        let mut body = json!({"class": schema::manuals(&self.config), "properties": properties});
        if !self.config.tenant.is_empty() {
            body["tenant"] = self.config.tenant.as_str().into();
        }
        let path = self.manual_path(manual);
        match self.transport.rest(&Method::PATCH, &path, Some(&body)) {
            Ok(_) => Ok(true),
            Err(Failure::NotFound(_)) => Ok(false),
            Err(Failure::Rejected(why)) => Err(self.manual_rejected(manual, &why)),
            Err(failure) => Err(failure.into_error(&self.location)),
        }
    }

    pub(super) fn has_manual(&self, manual: &ManualId) -> Result<bool, Error> {
        if lock(&self.known_manuals).contains(manual) {
            return Ok(true);
        }
        let path = self.manual_path(manual);
        match self.transport.rest(&Method::GET, &path, None) {
            Ok(_) => {
                lock(&self.known_manuals).insert(manual.clone());
                Ok(true)
            }
            Err(Failure::NotFound(_)) => Ok(false),
            Err(failure) => Err(failure.into_error(&self.location)),
        }
    }

    /// Deletes the record of a manual.
    pub(super) fn delete_manual(&self, manual: &ManualId) -> Result<(), Error> {
        lock(&self.known_manuals).remove(manual);
        let path = self.manual_path(manual);
        match self.transport.rest(&Method::DELETE, &path, None) {
            Ok(_) | Err(Failure::NotFound(_)) => Ok(()),
            Err(failure) => Err(failure.into_error(&self.location)),
        }
    }

    fn manual_path(&self, manual: &ManualId) -> String {
        format!(
            "objects/{}/{}{}",
            schema::manuals(&self.config),
            object::manual_uuid(manual),
            self.parameters()
        )
    }

    fn manual_rejected(&self, manual: &ManualId, why: &str) -> Error {
        Error::failed(&self.location, &format!("{manual}: {why}"))
    }
}
