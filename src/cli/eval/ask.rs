//! `ingest eval ask`: measures answers that cite pages, with the searching and asking of `ingest ask`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::answer::{self, Answer, Citation, ContextPage, Event, Verdict};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{
    ANSWER_SCHEMA, AnswerEvaluation, AnswerGrade, AnswerScores, Context, ContextResult,
    GradedAnswer, Question, Reply, read_questions,
};
use crate::library::{self, Library, QueryModels};
use crate::measure;
use crate::page::{ManualId, PageId, PageSet};
use crate::reports::answers as reports;
use crate::search::SearchHit;
use crate::store::Scope;
use crate::vlm::Runner;

use super::super::Common;
use super::super::interrupt::{self, STOP};
use super::super::progress::{self, Unit};
use super::super::reading_args::{ReadingArgs, open_runner};
use super::super::ui::Ui;
use super::query_sets::require_stored;

/// Wrong pages of the context `oracle+2`.
const WRONG_PAGES: usize = 2;

/// Measure answers: right and cited, refusals, numbers that no cited page has
///
/// Each question is asked with the pages that a search finds (`retrieved`), with those that answer it (`oracle`), and with these
/// and the two best pages of the search that do not answer it (`oracle+2`, sorted by manual and page). Questions of the kind
/// `absent`, which no page answers, should be refused; they have no `oracle`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest eval ask manuals/questions.json --runner ollama --model qwen2.5vl:3b
  ingest eval ask questions.json --manual pump.pdf --pages 5 --json > answers.json")]
pub(super) struct EvalAskArgs {
    /// JSON list of {question, manual, pages, answers, kind} about stored pages; `answers` are strings that a right answer
    /// contains
    file: PathBuf,
    #[command(flatten)]
    reading: ReadingArgs,
}

pub(super) fn run(ui: &Ui, common: &Common, args: &EvalAskArgs) -> Result<(), Diagnostic> {
    let settings = args.reading.settings(common)?;
    let passwords = args.reading.passwords.read()?;
    let library = library::open_for_reading(&settings.store, None)?;
    let scope = args.reading.scope(&*library.store)?;
    let trial = AnswerTrial::read(&settings, (library, scope), &passwords, &args.file)?;
    interrupt::install_handler()?;
    let runner = open_runner(ui, &settings)?;
    let evaluation = trial.evaluate(ui, &*runner)?;
    match ui.json {
        true => ui.json(&evaluation),
        false => ui.text(reports::text(&evaluation)),
    }
}

/// Questions about a library, and how they are asked.
pub(in crate::cli) struct AnswerTrial<'a> {
    settings: &'a Settings,
    library: Library,
    scope: Scope,
    /// Passwords of protected files. Never printed.
    passwords: &'a [String],
    file: &'a Path,
    questions: Vec<Question>,
}

impl<'a> AnswerTrial<'a> {
    /// Reads the questions of `file` that are about manuals of the scope.
    ///
    /// # Errors
    /// If the file cannot be read, none of its questions is about these manuals, or a page is not stored.
    pub(in crate::cli) fn read(
        settings: &'a Settings,
        (library, scope): (Library, Scope),
        passwords: &'a [String],
        file: &'a Path,
    ) -> Result<Self, Diagnostic> {
        let mut questions = read_questions(file).map_err(|e| Diagnostic::from_error(&e))?;
        questions.retain(|question| {
            let manual = ManualId::new(&question.manual);
            scope.manuals.is_empty() || scope.manuals.contains(&manual)
        });
        if questions.is_empty() {
            let file = file.display();
            let why = format!("{file}: no question is about these manuals");
            return Err(Diagnostic::new(why));
        }
        require_stored(&*library.store, file, &questions)?;
        Ok(Self {
            settings,
            library,
            scope,
            passwords,
            file,
            questions,
        })
    }

    /// Asks all questions in all contexts.
    ///
    /// # Errors
    /// If the store or the runner fails, or the user stops the run.
    pub(in crate::cli) fn evaluate(
        &self,
        ui: &Ui,
        runner: &dyn Runner,
    ) -> Result<AnswerEvaluation, Diagnostic> {
        let mut asking = Asking {
            ui,
            models: QueryModels::new(self.settings, &self.library.profile),
            trial: self,
            runner,
            notes: BTreeSet::new(),
        };
        let results = Context::ALL.map(|context| asking.ask_all(context));
        Ok(AnswerEvaluation {
            schema: ANSWER_SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            questions: self.file.display().to_string(),
            model: runner.card().model.clone(),
            runner: runner.card().name.clone(),
            pages: self.settings.ask.pages,
            results: results.into_iter().collect::<Result<_, _>>()?,
        })
    }
}

/// A trial with a model.
struct Asking<'a> {
    ui: &'a Ui,
    trial: &'a AnswerTrial<'a>,
    models: QueryModels,
    runner: &'a dyn Runner,
    /// Messages about pages that were printed: each is printed once.
    notes: BTreeSet<String>,
}

impl Asking<'_> {
    /// Asks every question that has pages in a context.
    fn ask_all(&mut self, context: Context) -> Result<ContextResult, Diagnostic> {
        let asked = self.trial.questions.iter();
        let asked = asked.filter(|q| context != Context::Oracle || !q.is_absent());
        let asked: Vec<&Question> = asked.collect();
        let bar = progress::bar(self.ui, context.name(), Unit::Pages, String::new);
        bar.set_length(asked.len() as u64);
        let mut answers = Vec::new();
        for question in asked {
            answers.push(self.ask(context, question)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let grades: Vec<AnswerGrade> = answers.iter().map(|answer| answer.grade).collect();
        Ok(ContextResult {
            context,
            scores: AnswerScores::of(&grades),
            answers,
        })
    }

    fn ask(&mut self, context: Context, question: &Question) -> Result<GradedAnswer, Diagnostic> {
        let pages = self.pages(context, question)?;
        let (runner, ui) = (self.runner, self.ui);
        let gauge = || runner.process().and_then(measure::process_memory);
        let on_event = |event| {
            if let Event::Note(text) = event {
                ui.warn(text);
            }
        };
        let answer = answer::answer(
            runner,
            (
                library::answer_settings(self.trial.settings, pages.len()),
                &gauge,
            ),
            (&question.text, &pages),
            &STOP,
            &on_event,
        );
        match answer {
            Ok(answer) => Ok(graded(question, &pages, Ok(&answer))),
            Err(why @ answer::Error::NoAnswer { .. }) => {
                Ok(graded(question, &pages, Err(why.to_string())))
            }
            Err(answer::Error::Stopped) => Err(Diagnostic::new("stopped; no report written")),
            Err(why) => Err(why.into()),
        }
    }

    /// The pages that the model reads.
    fn pages(
        &mut self,
        context: Context,
        question: &Question,
    ) -> Result<Vec<ContextPage>, Diagnostic> {
        if context == Context::Retrieved {
            let count = self.trial.settings.ask.pages;
            let hits = self.hits(question, &self.trial.scope, count)?;
            return self.read(&hits, count);
        }
        let mut hits = Vec::new();
        if !question.is_absent() {
            let scope = Scope {
                manuals: vec![ManualId::new(&question.manual)],
                pages: PageSet::of(question.pages.iter().copied()),
            };
            hits = self.hits(question, &scope, question.pages.len())?;
        }
        let right = self.read(&hits, question.pages.len())?;
        for page in question.page_ids() {
            if !right.iter().any(|read| read.id == page) {
                let text = &question.text;
                self.note(format!(
                    "{page}, which answers `{text}`, is blank or equal to another one"
                ));
            }
        }
        if context == Context::Oracle {
            return Ok(right);
        }
        let count = question.pages.len() + WRONG_PAGES;
        let all = self.hits(question, &self.trial.scope, count)?;
        let relevant: BTreeSet<PageId> = question.page_ids().collect();
        let is_wrong = |hit: &SearchHit| !relevant.contains(&page_of(hit));
        hits.extend(all.into_iter().filter(is_wrong));
        let mut pages = self.read(&hits, right.len() + WRONG_PAGES)?;
        // Neither the right pages nor the best ones come first.
        pages.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(pages)
    }

    fn hits(
        &mut self,
        question: &Question,
        scope: &Scope,
        count: usize,
    ) -> Result<Vec<SearchHit>, Diagnostic> {
        let asked = (question.text.as_str(), scope, count);
        let (settings, library) = (self.trial.settings, &self.trial.library);
        Ok(library::hits_to_read(
            settings,
            library,
            &mut self.models,
            asked,
        )?)
    }

    fn read(&mut self, hits: &[SearchHit], count: usize) -> Result<Vec<ContextPage>, Diagnostic> {
        let store = &*self.trial.library.store;
        let mut notes = Vec::new();
        let parts = (self.trial.settings, store, self.trial.passwords);
        let pages = library::context_pages(parts, hits, count, &mut |note| notes.push(note))?;
        notes.into_iter().for_each(|note| self.note(note));
        Ok(pages)
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.ui.warn(&text);
            self.notes.insert(text);
        }
    }
}

fn page_of(hit: &SearchHit) -> PageId {
    PageId::new(&ManualId::new(&hit.manual), hit.page)
}

/// The grade of an answer, or of its failure.
fn graded(
    question: &Question,
    pages: &[ContextPage],
    answer: Result<&Answer, String>,
) -> GradedAnswer {
    let citations = answer.iter().flat_map(|answer| &answer.citations);
    let cited: Vec<PageId> = citations.map(Citation::page_id).collect();
    let reply = answer.as_ref().ok().map(|answer| Reply {
        text: &answer.answer,
        is_refusal: !answer.found,
        cited: &cited,
        unconfirmed: answer.facts_with(Verdict::NotConfirmed).count(),
        first_s: answer.first_s,
        tokens: answer.tokens,
    });
    let grade = AnswerGrade::of(question, reply.as_ref());
    GradedAnswer {
        question: question.text.clone(),
        expected: question.page_ids().map(|page| page.to_string()).collect(),
        read: pages.iter().map(|page| page.id.to_string()).collect(),
        cited: cited.iter().map(PageId::to_string).collect(),
        answer: answer
            .as_ref()
            .map_or("", |answer| answer.answer.as_str())
            .to_owned(),
        error: answer.err(),
        grade,
    }
}
