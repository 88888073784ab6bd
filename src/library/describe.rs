//! The settings of runs that describe pages.

use std::time::Duration;

use crate::annotate;
use crate::chat;
use crate::config::Settings;
use crate::vlm;

use super::vlm_memory_limit;

/// The settings of a run that describes pages with the model of `config`.
pub fn describe_settings(settings: &Settings, config: &vlm::Config) -> annotate::Settings {
    annotate::Settings {
        lanes: config.lanes,
        interleave: config.interleave,
        chat: chat::Settings {
            max_tokens: config.max_tokens,
            deadline: Duration::from_secs(config.deadline_s),
            memory: vlm_memory_limit(settings),
        },
        attempts: config.attempts,
        unload_every: config.unload_every,
        canary_every: config.canary_every,
    }
}
