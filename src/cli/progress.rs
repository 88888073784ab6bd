//! Progress bars, one per stage, with rate and time left; and a line for each failure.

use indicatif::{ProgressBar, ProgressStyle};

use crate::checkpoint::Progress as FetchProgress;
use crate::pipeline::{Event, Stage};
use crate::units::{Seconds, pages};

use super::ui::Ui;

/// Downloads the missing files of a hub model, with one progress bar per file.
pub(super) fn fetch<E>(
    ui: &Ui,
    fetch: impl FnOnce(FetchProgress) -> Result<(), E>,
) -> Result<(), E> {
    let style = "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let mut file: Option<(String, ProgressBar)> = None;
    let result = fetch(&mut |name: &str, done, total| {
        if file.as_ref().is_none_or(|(known, _)| known != name) {
            ui.info(format!("downloading {name}"));
            let bar = ui
                .bars()
                .add(ProgressBar::new(total).with_style(style.clone()));
            bar.set_prefix(name.to_owned());
            if let Some((_, before)) = file.replace((name.to_owned(), bar)) {
                before.finish_and_clear();
            }
        }
        if let Some((_, bar)) = &file {
            bar.set_position(done);
        }
    });
    if let Some((_, bar)) = file {
        bar.finish_and_clear();
    }
    result
}

/// The progress bars of a run.
pub(super) struct Progress<'a> {
    ui: &'a Ui,
    bars: Vec<(Stage, ProgressBar)>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ui: &'a Ui, stages: &[Stage]) -> Self {
        let style = "{prefix:>8} {bar:30} {pos:>5}/{len} {per_sec:>12} {eta:>6} left";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |&stage: &Stage| {
            let bar = ui.bars().add(ProgressBar::new(0).with_style(style.clone()));
            bar.set_prefix(stage.name());
            (stage, bar)
        };
        Self {
            ui,
            bars: stages.iter().map(bar).collect(),
        }
    }

    pub(super) fn on_event(&self, event: &Event) {
        match event {
            Event::Opened { manual, todo } => {
                self.ui
                    .detail(format!("{manual}: {} to index", pages(*todo)));
                self.bars
                    .iter()
                    .for_each(|(_, bar)| bar.inc_length(u64::from(*todo)));
            }
            Event::Done(stage, count) => {
                let bar = self.bars.iter().find(|(of, _)| of == stage);
                bar.into_iter()
                    .for_each(|(_, bar)| bar.inc(u64::from(*count)));
            }
            Event::Loading => self.ui.detail("loading model"),
            Event::Loaded(time) => self
                .ui
                .detail(format!("model loaded in {}", Seconds::from(*time))),
            Event::PageFailed {
                manual,
                number,
                error,
            } => self.ui.warn(format!("{manual}, page {number}: {error}")),
            Event::ManualFailed { path, why } => self.ui.warn(format!("{}: {why}", path.display())),
            Event::SameAs { path, manual } => self
                .ui
                .info(format!("{}: same as {manual}", path.display())),
            Event::Deferred(why) => self
                .ui
                .warn(format!("server unavailable, pages queued: {why}")),
            Event::BatchSizeReduced(size) => self
                .ui
                .info(format!("out of memory: batch size reduced to {size}")),
        }
    }

    pub(super) fn finish(&self) {
        self.bars.iter().for_each(|(_, bar)| bar.finish_and_clear());
    }
}
