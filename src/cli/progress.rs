//! Progress bars, one per stage, with rate and time left; and a line for each failure.

use std::fmt::Write;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::checkpoint::Progress as FetchProgress;
use crate::page::{ManualId, PageSet};
use crate::pipeline::{Availability, Event, PageNote, Stage};
use crate::reports::terminal;
use crate::units::{self, ByteSize, Seconds, pages, three_digits};

use super::ui::{self, Ui};

/// Columns of the longest bar.
const MAX_BAR: usize = 30;
/// Columns of the shortest bar.
const MIN_BAR: usize = 10;

/// What a progress bar counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Pages,
    Bytes,
}

/// Adds a progress bar; `note` gives further text of its line.
pub(super) fn bar(
    ui: &Ui,
    name: &str,
    unit: Unit,
    note: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> ProgressBar {
    let name = terminal::line(name);
    let line = move |state: &ProgressState, out: &mut dyn Write| {
        let position = Position {
            done: state.pos(),
            total: state.len().unwrap_or(0),
            per_second: state.per_sec(),
            left: format!("{:#} left", HumanDuration(state.eta())),
        };
        // A full line makes some terminals begin the next one.
        let columns = ui::bar_columns().saturating_sub(1);
        let line = bar_line(&name, unit, &position, &note(), columns);
        let _ = out.write_str(&line);
    };
    let style = ProgressStyle::with_template("{line}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style.with_key("line", line));
    ui.bars().add(bar)
}

/// State of a progress bar.
struct Position {
    done: u64,
    total: u64,
    per_second: f64,
    left: String,
}

/// The line of a progress bar: name and count, then rate, time left, note and the bar itself, as far as they fit into
/// `columns`. Before the first page there is no rate and no time.
fn bar_line(name: &str, unit: Unit, at: &Position, note: &str, columns: usize) -> String {
    let name = format!("{name:>8}");
    if at.total == 0 {
        return terminal::shorten(&format!("{name}  waiting"), columns);
    }
    let (count, rate) = match unit {
        Unit::Pages => {
            let digits = at.total.to_string().len();
            let count = format!("{:>digits$}/{}", at.done, at.total);
            (count, format!("{}/s", three_digits(at.per_second)))
        }
        Unit::Bytes => {
            let count = format!("{}/{}", ByteSize(at.done), ByteSize(at.total));
            (count, format!("{}/s", ByteSize(at.per_second as u64)))
        }
    };
    let mut tail = count;
    let mut append = |text: String| {
        let longer = format!("{tail}  {text}");
        if at.done > 0 && terminal::width(&name) + 1 + terminal::width(&longer) <= columns {
            tail = longer;
        }
    };
    append(format!("{rate:>7}"));
    if at.done < at.total {
        append(format!("{:>8}", at.left));
    }
    if !note.is_empty() {
        append(note.to_owned());
    }
    let room = columns.saturating_sub(terminal::width(&name) + terminal::width(&tail) + 2);
    let line = match room {
        MIN_BAR.. => {
            let length = room.min(MAX_BAR);
            let full = (length as u64 * at.done.min(at.total) / at.total) as usize;
            let (full, empty) = ("█".repeat(full), "░".repeat(length - full));
            format!("{name} {full}{empty} {tail}")
        }
        _ => format!("{name} {tail}"),
    };
    terminal::shorten(&line, columns)
}

/// Downloads the missing files of a hub model, with one progress bar per file.
pub(super) fn fetch<E>(
    ui: &Ui,
    fetch: impl FnOnce(FetchProgress) -> Result<(), E>,
) -> Result<(), E> {
    let mut file: Option<(String, ProgressBar)> = None;
    let result = fetch(&mut |name: &str, done, total| {
        if file.as_ref().is_none_or(|(known, _)| known != name) {
            ui.info(format!("downloading {name}"));
            let bar = bar(ui, name, Unit::Bytes, String::new);
            bar.set_length(total);
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
    /// What is done with pages.
    verb: &'static str,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ui: &'a Ui, stages: &[Stage]) -> Self {
        let bar = |&stage: &Stage| (stage, bar(ui, stage.name(), Unit::Pages, String::new));
        Self {
            ui,
            bars: stages.iter().map(bar).collect(),
            verb: "index",
        }
    }

    /// The one bar of pages that are described on other machines.
    pub(super) fn describing(ui: &'a Ui) -> Self {
        let bar = bar(ui, "describe", Unit::Pages, String::new);
        Self {
            ui,
            bars: vec![(Stage::Store, bar)],
            verb: "describe",
        }
    }

    pub(super) fn on_event(&self, event: &Event) {
        match event {
            Event::Opened { manual, todo } => {
                self.ui
                    .detail(format!("{manual}: {} to {}", pages(*todo), self.verb));
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
            Event::Pages {
                manual,
                pages,
                count,
                note,
            } => self.ui.warn(note_line(manual, pages, *count, note)),
            Event::ContentMissing { manual, content } => {
                self.ui.warn(format!("{manual}: {content}"));
            }
            Event::ManualFailed { path, why, cause } => {
                self.ui.input_failed(path, why, cause.as_deref());
            }
            Event::SameAs {
                path,
                manual,
                availability,
            } => {
                let what = match availability {
                    Availability::Stored => "",
                    Availability::Queued => ", whose pages are queued",
                    Availability::Missing => ", of which no page is stored",
                };
                self.ui
                    .info(format!("{}: same as {manual}{what}", path.display()));
            }
            Event::Deferred(why) => self
                .ui
                .warn(format!("server unavailable, pages queued: {why}")),
            Event::RunNotRecorded { manual, why } => self.ui.warn(format!(
                "{manual}: what this run did is not recorded: {why}"
            )),
            Event::BatchSizeReduced(size) => self
                .ui
                .info(format!("out of memory: batch size reduced to {size}")),
        }
    }

    pub(super) fn finish(&self) {
        self.bars.iter().for_each(|(_, bar)| bar.finish_and_clear());
    }
}

/// A line about pages of a manual to which the same happened.
fn note_line(manual: &ManualId, numbers: &PageSet, count: u32, note: &PageNote) -> String {
    let pages = match count {
        1 => format!("page {numbers}"),
        _ => format!("pages {numbers}"),
    };
    match note {
        PageNote::Failed(error) => format!("{manual}, {pages}: {error}"),
        PageNote::Incomplete {
            blank: true,
            undrawn,
        } => format!("{manual}: {pages} came out blank: {undrawn}"),
        PageNote::Incomplete { undrawn, .. } => {
            format!("{manual}: part of {pages} was not drawn: {undrawn}")
        }
        PageNote::UnreadableText => format!(
            "{manual}: the text layer of {} is unreadable, only the picture is searched: {pages}",
            units::pages(count)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64, total: u64) -> Position {
        Position {
            done,
            total,
            per_second: 18.576_366_003_445,
            left: "2m left".to_owned(),
        }
    }

    #[test]
    fn a_line_fits_its_terminal() {
        let note = "12 tokens/s, 3 retries";
        for columns in 0..200 {
            for position in [at(0, 0), at(0, 53), at(17, 53), at(12_345, 67_890)] {
                for name in ["render", "model-00001-of-00004.safetensors"] {
                    let line = bar_line(name, Unit::Pages, &position, note, columns);
                    assert!(terminal::width(&line) <= columns, "{columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_line_shows_what_its_terminal_has_room_for() {
        let line = |at, columns| bar_line("render", Unit::Pages, &at, "", columns);
        assert_eq!(line(at(17, 53), 39), "  render 17/53   18.6/s   2m left");
        let wide = line(at(17, 53), 79);
        assert_eq!(wide.matches('█').count(), 9, "{wide}");
        assert!(wide.ends_with("░ 17/53   18.6/s   2m left"), "{wide}");
    }

    #[test]
    fn before_the_first_page_nothing_is_full_and_no_time_is_left() {
        assert_eq!(
            bar_line("embed", Unit::Pages, &at(0, 0), "", 79),
            "   embed  waiting"
        );
        let line = bar_line("embed", Unit::Pages, &at(0, 53), "", 79);
        assert!(line.ends_with("░  0/53") && !line.contains('█'), "{line}");
    }
}
