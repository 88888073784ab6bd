//! One candidate: its ways of asking, its answers, its constancy.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::annotate::{self, Gauge, Round, Trial};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{description_matches, simple_accuracy, vqa_accuracy};
use crate::library;
use crate::measure::{
    self, AnswerAccuracy, ApproachResult, Candidate, Consistency, PageOutput, Percentiles,
    RoundMetrics,
};
use crate::page::Description;
use crate::vlm::{self, Runner};

use super::super::super::describe_run::annotate_settings;
use super::super::super::interrupt::STOP;
use super::super::super::progress;
use super::super::super::ui::Ui;
use super::questions::VqaQuestion;
use super::{Approach, Named, grade};

/// Times that the same question is asked to see whether its answer is the same.
const TIMES: usize = 5;

/// What all candidates share.
pub(super) struct Bench<'a> {
    pub(super) ui: &'a Ui,
    pub(super) settings: &'a Settings,
    pub(super) trial: &'a Trial,
    pub(super) questions: &'a [VqaQuestion],
    pub(super) ways: &'a [(Approach, usize)],
    pub(super) runs: u32,
}

/// Why a candidate was not tried to its end.
enum Cut {
    /// A part of it failed: the others go on.
    Failed(String),
    /// A person stopped it.
    Stopped,
}

impl From<vlm::Error> for Cut {
    fn from(cause: vlm::Error) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl From<annotate::Error> for Cut {
    fn from(cause: annotate::Error) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl Bench<'_> {
    /// Tries a candidate; what fails is told in the record.
    pub(super) fn run(&self, named: &Named) -> Result<Candidate, Diagnostic> {
        let mut record = Candidate {
            name: named.text.clone(),
            ..Candidate::default()
        };
        let mut config = self.settings.describe.clone();
        (config.runner, config.model) = (named.runner, named.model.clone());
        config.url.clone_from(&named.url);
        // The command starts the server that the settings name, not a candidate's.
        config.command.clear();
        let fetched = progress::fetch(self.ui, |watch| vlm::fetch(&config, watch));
        let filled = match fetched {
            Ok(()) => self.fill(&config, &mut record),
            Err(cause) => Err(cause.into()),
        };
        // The next candidate needs the memory.
        drop(
            vlm::open(&config, library::in_process_vlm_memory_limit(self.settings))
                .and_then(|runner| runner.unload()),
        );
        match filled {
            Ok(()) => {}
            Err(Cut::Failed(why)) => {
                self.ui.warn(format!("{}: {why}", named.text));
                record.error = Some(why);
            }
            Err(Cut::Stopped) => {
                return Err(Diagnostic::new("stopped; nothing is reported"));
            }
        }
        record.verdict = grade::verdict(&record, self.memory());
        Ok(record)
    }

    /// Bytes of memory that a model may take.
    fn memory(&self) -> u64 {
        library::vlm_memory_limit(self.settings)
    }

    fn fill(&self, config: &vlm::Config, record: &mut Candidate) -> Result<(), Cut> {
        let mut said = Vec::new();
        for &(approach, size) in self.ways {
            let mut config = config.clone();
            (config.lanes, config.interleave) = match approach {
                Approach::Sequential => (1, 1),
                Approach::Lanes => (size, 1),
                Approach::Interleaved => (1, size),
            };
            let runner = vlm::open(&config, library::in_process_vlm_memory_limit(self.settings))?;
            if record.server.is_empty() {
                record.server.clone_from(&runner.card().name);
                record.load = self.load(&*runner, &config)?;
            }
            let mut row = ApproachResult {
                approach: approach.name().to_owned(),
                batch: size,
                rounds: Vec::new(),
                error: None,
            };
            let mut first = Vec::new();
            match self.rounds(&*runner, &config, &mut row, &mut first) {
                Err(Cut::Failed(why)) => {
                    // Too much for it, maybe: other ways may do.
                    self.ui.warn(format!("{} {size}: {why}", approach.name()));
                    row.error = Some(why);
                }
                done => done?,
            }
            record.approaches.push(row);
            said.push(first);
        }
        if let Some(why) = nothing(&record.approaches) {
            return Err(Cut::Failed(why));
        }
        let best = record.best().cloned();
        let at = record
            .approaches
            .iter()
            .position(|row| Some(row) == best.as_ref());
        record.outputs = at.map(|at| said.swap_remove(at)).unwrap_or_default();
        let mut config = config.clone();
        (config.lanes, config.interleave) = (TIMES, 1);
        let runner = vlm::open(&config, library::in_process_vlm_memory_limit(self.settings))?;
        record.answers = self.answers(&*runner, &config)?;
        record.consistency = Some(self.constancy(&*runner, &config)?);
        Ok(())
    }

    fn settings(&self, config: &vlm::Config) -> annotate::Settings {
        annotate::Settings {
            lanes: config.lanes,
            interleave: config.interleave,
            unload_every: 0,
            canary_every: 0,
            ..annotate_settings(self.settings, config)
        }
    }

    /// Seconds that the first answer takes longer than the same one later.
    fn load(&self, runner: &dyn Runner, config: &vlm::Config) -> Result<Option<f64>, Cut> {
        if !runner.card().can_unload {
            return Ok(None);
        }
        runner.unload()?;
        let settings = annotate::Settings {
            max_tokens: 1,
            ..self.settings(config)
        };
        let time = || -> Result<f64, Cut> {
            let start = Instant::now();
            self.trial.repeat(runner, &settings, 1, false)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let (cold, warm) = (time()?, time()?);
        Ok(Some((cold - warm).max(0.0)))
    }

    /// All rounds of a way of asking, and what was said in the first.
    fn rounds(
        &self,
        runner: &dyn Runner,
        config: &vlm::Config,
        row: &mut ApproachResult,
        first: &mut Vec<PageOutput>,
    ) -> Result<(), Cut> {
        let settings = self.settings(config);
        let gauge: &Gauge<'_> = &|| runner.process().and_then(measure::process_memory);
        // Another size of the context loads the model anew, which is not part of a round.
        self.trial.repeat(runner, &settings, 1, false)?;
        for _ in 0..self.runs {
            let before = gauge();
            let round = self.trial.describe(runner, &settings, gauge, &STOP)?;
            if STOP.load(Ordering::Relaxed) {
                return Err(Cut::Stopped);
            }
            let change = before.zip(gauge());
            let mut figures = self.figures(&round);
            figures.memory_change = change.map(|(before, after)| after as i64 - before as i64);
            self.ui.say(format!(
                "{} {} {}: {:.2} pages/s",
                runner.card().model,
                row.approach,
                row.batch,
                figures.rate()
            ));
            if row.rounds.is_empty() {
                *first = said(&round);
            }
            row.rounds.push(figures);
        }
        Ok(())
    }

    fn figures(&self, round: &Round) -> RoundMetrics {
        let all: Vec<_> = self.trial.pages().collect();
        let place = |id| all.iter().position(|(page, ..)| *page == id);
        let described = round.pages.iter().filter_map(|(id, said)| {
            let said = said.as_ref().ok()?;
            Some((place(id)?, words(said)))
        });
        let layers: Vec<&str> = all.iter().map(|(_, text, _)| *text).collect();
        let classes = |names: &[&str]| {
            let again = round.retries.iter();
            let again = again.filter(|(class, _)| names.contains(&class.as_str()));
            let failed = round
                .pages
                .iter()
                .filter_map(|(_, said)| said.as_ref().err());
            let failed = failed.filter(|(class, _)| names.contains(&class.as_str()));
            again.map(|(_, times)| *times as usize).sum::<usize>() + failed.count()
        };
        let sum = |tokens: &dyn Fn(&vlm::Finish) -> Option<u32>| {
            let all = round.exchanges.iter().map(|one| tokens(&one.finish));
            all.map(|tokens| tokens.map(u64::from)).sum::<Option<u64>>()
        };
        let waits: Vec<f64> = round.exchanges.iter().map(|one| one.ttft).collect();
        let failed = round.pages.iter().filter(|(_, said)| said.is_err()).count();
        RoundMetrics {
            described: round.pages.len() - failed,
            failed,
            seconds: round.seconds,
            requests: round.exchanges.len(),
            attempts: round.pages.len() + round.retries.values().sum::<u32>() as usize,
            prompt_tokens: sum(&|end| end.prompt_tokens),
            tokens: sum(&|end| end.completion_tokens),
            ttft_seconds: waits.iter().sum(),
            generation_seconds: round
                .exchanges
                .iter()
                .map(|one| one.seconds - one.ttft)
                .sum(),
            ttft: Percentiles::of(waits),
            truncated: classes(&["truncated"]),
            repetitions: classes(&["repetition"]),
            unusable: classes(&[
                "unparsable",
                "empty",
                "gibberish",
                "too-brief",
                "mislabelled",
                "thinking",
            ]),
            matched: description_matches(&described.collect(), &layers),
            memory_change: None,
            peak: round.peak,
        }
    }

    /// Answers to the questions, with the page's picture and without.
    fn answers(
        &self,
        runner: &dyn Runner,
        config: &vlm::Config,
    ) -> Result<Option<AnswerAccuracy>, Cut> {
        if self.questions.is_empty() {
            return Ok(None);
        }
        let settings = self.settings(config);
        let share = |with_picture: bool| -> Result<(f64, f64), Cut> {
            let (mut simple, mut vqa) = (0.0, 0.0);
            for asked in self.questions {
                let question = (asked.question.as_str(), with_picture);
                let answer = self
                    .trial
                    .answer(runner, &settings, &asked.page, question)?;
                let answer = answer.unwrap_or_default();
                simple += simple_accuracy(&answer, &asked.answers);
                vqa += vqa_accuracy(&answer, &asked.answers);
                if STOP.load(Ordering::Relaxed) {
                    return Err(Cut::Stopped);
                }
            }
            let all = self.questions.len() as f64;
            Ok((simple / all, vqa / all))
        };
        let ((simple, vqa), (simple_without_image, vqa_without_image)) =
            (share(true)?, share(false)?);
        Ok(Some(AnswerAccuracy {
            simple,
            vqa,
            simple_without_image,
            vqa_without_image,
        }))
    }

    fn constancy(&self, runner: &dyn Runner, config: &vlm::Config) -> Result<Consistency, Cut> {
        let settings = self.settings(config);
        let alone = self.trial.repeat(runner, &settings, TIMES, false)?;
        let beside = self.trial.repeat(runner, &settings, TIMES, true)?;
        let first = alone.first().cloned().unwrap_or_default();
        let alike = |all: &[String]| {
            let same = all.iter().filter(|one| !one.is_empty() && **one == first);
            let same = same.count();
            let apart = |one: &String| 1.0 - strsim::normalized_levenshtein(one, &first);
            let most = all.iter().map(apart).fold(0.0, f64::max);
            (same as f64 / all.len().max(1) as f64, most)
        };
        let ((alone, alone_distance), (beside, beside_distance)) = (alike(&alone), alike(&beside));
        Ok(Consistency {
            sequential: alone,
            sequential_distance: alone_distance,
            concurrent: beside,
            concurrent_distance: beside_distance,
        })
    }
}

/// Why there is nothing to report, where no way of asking came to an end.
fn nothing(rows: &[ApproachResult]) -> Option<String> {
    let is_empty = rows.iter().all(|row| row.rounds.is_empty());
    let why = rows.iter().find_map(|row| row.error.clone());
    why.filter(|_| is_empty)
}

/// All words of a description.
fn words(said: &Description) -> String {
    let mut words = vec![said.title.clone(), said.summary.clone()];
    words.extend(said.topics.iter().cloned());
    words.extend(
        said.figures
            .iter()
            .map(|one| format!("{} {}", one.label, one.content)),
    );
    words.extend(
        said.tables
            .iter()
            .map(|one| format!("{} {}", one.label, one.content)),
    );
    words.extend(said.identifiers.iter().map(|one| one.text.clone()));
    words.join(" ")
}

fn said(round: &Round) -> Vec<PageOutput> {
    let mut all: Vec<_> = round.pages.iter().collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let one = |(id, said): &(_, annotate::DescribeResult)| {
        let id: &crate::page::PageId = id;
        PageOutput {
            page: id.to_string(),
            described: said.is_ok(),
            text: match said {
                Ok(page) => format!("{}: {}", page.title, page.summary),
                Err((class, why)) => format!("{class}: {why}"),
            },
        }
    };
    all.into_iter().map(one).collect()
}
