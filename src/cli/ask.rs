//! `ingest ask`: answers a question from the pages that a search finds, and says which.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::answer::{self, Answer, Citation, ContextPage, Cut, Event, Piece, Verdict};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::library::{self, Library, QueryModels};
use crate::measure;
use crate::page::ManualId;
use crate::store::{Scope, VectorUpdate};
use crate::vlm::Runner;

use super::interrupt::{self, STOP};
use super::reading_args::{ReadingArgs, open_runner};
use super::ui::Ui;
use super::{Common, show};

/// Exit code if the pages do not answer a question.
const NOT_FOUND: u8 = 3;

/// Answer a question from the pages that a search finds
///
/// A vision-language model reads the best pages and cites those that it used; numbers and codes of its answer are looked for in
/// their text. The model is the one of `ingest describe`: set it in `[describe]` or by the options below; `--model` is its name
/// on the server. Exits with 3 if the pages do not answer.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest ask \"What torque for the flare nuts of the 1/2 inch pipe?\" --runner ollama
  ingest ask how do I silence the alarm --manual panel.pdf --pages 5
  ingest ask \"When is the filter changed?\" --show answers/
  ingest ask - --json < questions.txt")]
pub(super) struct AskArgs {
    /// Question; its words need no quotes. `-` reads one question per line from stdin
    #[arg(required = true, allow_negative_numbers = true)]
    question: Vec<String>,
    /// Write the cited pages as images with heat maps into this folder
    #[arg(long, value_name = "FOLDER")]
    show: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &AskArgs) -> Result<ExitCode, Diagnostic> {
    let settings = args.reading.settings(common)?;
    let library = library::open_for_reading(&settings.store, None)?;
    let scope = args.reading.scope(&*library.store)?;
    interrupt::install_handler()?;
    let mut session = Session {
        ui,
        models: QueryModels::new(&settings, &library.profile),
        settings: &settings,
        library: &library,
        scope,
        passwords: args.reading.passwords.read()?,
        runner: None,
        show: args.show.as_deref(),
    };
    if args.question == ["-"] {
        return session.ask_lines();
    }
    let asked = session.ask(&args.question.join(" "))?;
    if session.ui.json {
        session.ui.json(&asked)?;
    }
    Ok(exit_code(asked.answer.found).into())
}

fn exit_code(found: bool) -> u8 {
    if found { 0 } else { NOT_FOUND }
}

/// A question with its answer, as `--json` prints it.
#[derive(Serialize)]
struct Asked {
    question: String,
    #[serde(flatten)]
    answer: Answer,
    /// The pages that the model read.
    pages: Vec<Citation>,
}

/// A failed question of several, as `--json` prints it.
#[derive(Serialize)]
struct FailedLine<'a> {
    question: &'a str,
    error: &'a str,
    hints: &'a [String],
}

/// What all questions of a run share.
struct Session<'a> {
    ui: &'a Ui,
    settings: &'a Settings,
    library: &'a Library,
    models: QueryModels,
    scope: Scope,
    passwords: Vec<String>,
    /// Opened for the first question that has pages.
    runner: Option<Box<dyn Runner>>,
    show: Option<&'a Path>,
}

impl Session<'_> {
    /// Answers the questions on stdin, one per line. A failed one is reported in its place; the others still run.
    fn ask_lines(&mut self) -> Result<ExitCode, Diagnostic> {
        let mut code = 0;
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let question = line.trim_start_matches('\u{feff}').trim();
            if question.is_empty() {
                continue;
            }
            if !self.ui.json {
                self.ui.data(format!("# {question}"))?;
            }
            match (self.ask(question), self.ui.json) {
                (Ok(asked), is_json) => {
                    code = code.max(exit_code(asked.answer.found));
                    match is_json {
                        true => self.ui.json_line(&asked)?,
                        false => self.ui.data("")?,
                    }
                }
                (Err(why), is_json) => {
                    // A model that cannot be opened answers no other question either.
                    if self.runner.is_none() || STOP.load(Ordering::Relaxed) {
                        return Err(why);
                    }
                    code = code.max(1);
                    let (error, hints) = (why.message.as_str(), why.hints.as_slice());
                    match is_json {
                        true => self.ui.json_line(&FailedLine {
                            question,
                            error,
                            hints,
                        })?,
                        false => self.ui.report(&why),
                    }
                }
            }
        }
        Ok(code.into())
    }

    /// Answers a question; in a terminal it is printed as it comes.
    fn ask(&mut self, question: &str) -> Result<Asked, Diagnostic> {
        let pages = self.pages(question)?;
        let shown: Vec<Citation> = Citation::all(&pages);
        if let Err(why) = self.open_runner() {
            if !self.ui.json {
                self.print_pages("pages that may answer:", &shown)?;
            }
            return Err(why.hint(
                "a model that reads pages is needed: `ollama pull qwen2.5vl:3b`, then `ingest ask … --runner ollama --model qwen2.5vl:3b`",
            ));
        }
        let Some(runner) = self.runner.as_deref() else {
            return Err(Diagnostic::new("no model is open"));
        };
        let gauge = || runner.process().and_then(measure::process_memory);
        let ui = self.ui;
        let on_event = |event| print_event(ui, event);
        let answer = answer::answer(
            runner,
            (library::answer_settings(self.settings, pages.len()), &gauge),
            (question, &pages),
            &STOP,
            &on_event,
        )?;
        if !self.ui.json {
            match is_shown_as_it_comes(ui) {
                true => ui.data("")?,
                false => ui.data(&answer.answer)?,
            }
            self.print_answer(&answer, &shown)?;
        }
        self.write_pages(question, &answer)?;
        Ok(Asked {
            question: question.to_owned(),
            answer,
            pages: shown,
        })
    }

    /// The pages that the model reads.
    fn pages(&mut self, question: &str) -> Result<Vec<ContextPage>, Diagnostic> {
        let count = self.settings.ask.pages;
        let asked = (question, &self.scope, count);
        let hits = library::hits_to_read(self.settings, self.library, &mut self.models, asked)?;
        let parts = (
            self.settings,
            &*self.library.store,
            self.passwords.as_slice(),
        );
        let mut note = |text: String| self.ui.warn(text);
        let pages = library::context_pages(parts, &hits, count, &mut note)?;
        match pages.is_empty() {
            true => Err(Diagnostic::new("no page was found that could answer")),
            false => Ok(pages),
        }
    }

    fn open_runner(&mut self) -> Result<(), Diagnostic> {
        if self.runner.is_none() {
            self.runner = Some(open_runner(self.ui, self.settings)?);
        }
        Ok(())
    }

    /// Prints the pages that an answer cites, or those that were read, and what is to be doubted.
    fn print_answer(&self, answer: &Answer, read: &[Citation]) -> Result<(), Diagnostic> {
        let is_uncited = answer.citations.is_empty() && !answer.answer.is_empty();
        match answer.found {
            true => self.print_pages("", &answer.citations)?,
            false if is_uncited => {
                self.print_pages("no page is cited; those that were read:", read)?;
            }
            false => self.print_pages("not on the pages that were read:", read)?,
        }
        if let Some(cut) = answer.cut {
            self.ui.warn(cut_message(cut));
        }
        for (verdict, message) in [
            (Verdict::NotConfirmed, "not in the text of the cited pages"),
            (
                Verdict::CannotTell,
                "to be compared with the cited pages, whose text says little",
            ),
        ] {
            let facts: Vec<&str> = answer.facts_with(verdict).collect();
            if !facts.is_empty() {
                self.ui.warn(format!("{message}: {}", facts.join(", ")));
            }
        }
        Ok(())
    }

    fn print_pages(&self, title: &str, pages: &[Citation]) -> Result<(), Diagnostic> {
        if !title.is_empty() {
            self.ui.data(title)?;
        }
        for page in pages {
            let label = page
                .label
                .as_deref()
                .filter(|label| *label != page.page.to_string());
            let label = label.map_or_else(String::new, |label| format!(" (labelled {label})"));
            let (n, manual, number) = (page.n, &page.manual, page.page);
            self.ui
                .data(format!("[{n}] {manual} page {number}{label}"))?;
        }
        Ok(())
    }

    /// Writes the cited pages with heat maps of the question.
    fn write_pages(&self, question: &str, answer: &Answer) -> Result<(), Diagnostic> {
        let Some(folder) = self.show else {
            return Ok(());
        };
        std::fs::create_dir_all(folder)
            .map_err(|e| Diagnostic::new(format!("{}: {e}", folder.display())))?;
        let mut renderer =
            crate::render::open(&self.settings.render).map_err(library::Error::from)?;
        for citation in &answer.citations {
            let id = &citation.page_id();
            let page = library::find_page(&*self.library.store, &id.manual, id.number)?;
            let card = library::manual_named(&*self.library.store, id.manual.as_str())?;
            let mut image = library::page_image(&mut *renderer, &card, &page, &self.passwords)?;
            if let VectorUpdate::Replace(stored) = &page.vectors {
                image = library::heat_map(
                    self.settings,
                    &self.library.profile,
                    image,
                    stored,
                    question,
                )?;
            }
            show::write_png(
                self.ui,
                &image,
                &folder.join(file_name(&id.manual, id.number)),
            )?;
        }
        Ok(())
    }
}

/// The name of the image of a page.
fn file_name(manual: &ManualId, page: u32) -> String {
    let name = manual.as_str().replace(['/', '\\', ':'], "-");
    let name = name.strip_suffix(".pdf").unwrap_or(&name).to_owned();
    format!("{name}-page-{page}.png")
}

/// Whether an answer is printed while it comes. A program that reads it must not see what an attempt that failed has said.
fn is_shown_as_it_comes(ui: &Ui) -> bool {
    !ui.json && std::io::stdout().is_terminal()
}

fn print_event(ui: &Ui, event: Event) {
    match event {
        Event::Note(text) => ui.warn(text),
        Event::Restart => {
            if is_shown_as_it_comes(ui) {
                drop(ui.part("\n"));
            }
            ui.warn("the request failed; the answer begins anew");
        }
        Event::Piece(_) if !is_shown_as_it_comes(ui) => {}
        // A closed stdout shows when the rest is printed.
        Event::Piece(Piece::Text(text)) => drop(ui.part(&text)),
        Event::Piece(Piece::Citation(n)) => drop(ui.part(&format!(" [{n}]"))),
    }
}

fn cut_message(cut: Cut) -> &'static str {
    match cut {
        Cut::Length => "the answer is cut: raise `ask.max_tokens`",
        Cut::Repetition => "the answer is cut: the model began to repeat itself",
        Cut::Deadline => "the answer is cut: it took longer than `describe.deadline_s` allows",
    }
}
