//! The models that embed queries, each opened on first use.

use super::open::open_model_for_profile;
use crate::config::Settings;
use crate::embed::meaning::{Meaning, Model};
use crate::embed::{self, Embedder};
use crate::search::Models;
use crate::vectors::Profile;

/// The models of a collection.
pub struct QueryModels {
    settings: Settings,
    profile: Profile,
    embedder: Option<Box<dyn Embedder>>,
    meaning: Option<Meaning>,
}

impl QueryModels {
    /// The models of the collection with this profile; none is opened yet.
    pub fn new(settings: &Settings, profile: &Profile) -> Self {
        Self {
            settings: settings.clone(),
            profile: profile.clone(),
            embedder: None,
            meaning: None,
        }
    }
}

impl Models for QueryModels {
    fn embedder(&mut self) -> Result<&mut dyn Embedder, embed::Error> {
        let model = match self.embedder.take() {
            Some(model) => model,
            None => open_model_for_profile(&self.settings, &self.profile)?,
        };
        Ok(self.embedder.insert(model).as_mut())
    }

    fn text_model(&self) -> Model {
        self.settings.embed.meaning.unwrap_or(Model::English)
    }

    fn meaning(&mut self) -> Result<&Meaning, embed::Error> {
        let model = match self.meaning.take() {
            Some(model) => model,
            None => Meaning::open(self.text_model())?,
        };
        Ok(self.meaning.insert(model))
    }
}
