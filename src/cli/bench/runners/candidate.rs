//! Measures one candidate (a runner and its model): speed of each approach, VQA answers, consistency.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::annotate::{self, Round, Trial};
use crate::chat::Gauge;
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

use super::super::super::interrupt::STOP;
use super::super::super::progress;
use super::super::super::ui::Ui;
use super::questions::VqaQuestion;
use super::{Approach, CandidateSpec, grade};

/// Number of repetitions of one request, to measure whether answers are the same.
const REPEATS: usize = 5;

/// The parts that all candidates share.
pub(super) struct RunnerBench<'a> {
    pub(super) ui: &'a Ui,
    pub(super) settings: &'a Settings,
    pub(super) trial: &'a Trial,
    pub(super) questions: &'a [VqaQuestion],
    pub(super) approaches: &'a [(Approach, usize)],
    pub(super) runs: u32,
}

/// Reason why the measurement of a candidate ended early.
enum Abort {
    /// The candidate failed; the other candidates are still measured.
    Failed(String),
    /// Stopped by Ctrl-C.
    Stopped,
}

impl From<vlm::Error> for Abort {
    fn from(cause: vlm::Error) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl From<annotate::Error> for Abort {
    fn from(cause: annotate::Error) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl RunnerBench<'_> {
    /// Measures a candidate; its failure is part of the record.
    pub(super) fn run(
        &self,
        spec: &CandidateSpec,
        config: &vlm::Config,
    ) -> Result<Candidate, Diagnostic> {
        let mut record = Candidate {
            name: spec.text.clone(),
            ..Candidate::default()
        };
        let fetched = progress::fetch(self.ui, |on_progress| vlm::fetch(config, on_progress));
        let measured = match fetched {
            Ok(()) => self.measure(config, &mut record),
            Err(cause) => Err(cause.into()),
        };
        match measured {
            Ok(()) => {}
            Err(Abort::Failed(why)) => {
                self.ui.warn(format!("{}: {why}", spec.text));
                record.error = Some(why);
            }
            Err(Abort::Stopped) => {
                return Err(Diagnostic::new("stopped; no report written"));
            }
        }
        record.verdict = grade::verdict(&record, self.memory());
        Ok(record)
    }

    /// Frees the memory of a candidate for the next one.
    pub(super) fn unload(&self, config: &vlm::Config) {
        drop(self.open(config).and_then(|runner| runner.unload()));
    }

    /// Opens the runner of a candidate.
    pub(super) fn open(&self, config: &vlm::Config) -> Result<Box<dyn Runner>, vlm::Error> {
        vlm::open(config, library::in_process_vlm_memory_limit(self.settings))
    }

    /// Memory limit of a model, in bytes.
    fn memory(&self) -> u64 {
        library::vlm_memory_limit(self.settings)
    }

    fn measure(&self, config: &vlm::Config, record: &mut Candidate) -> Result<(), Abort> {
        let mut texts = Vec::new();
        for &(approach, size) in self.approaches {
            let mut config = config.clone();
            (config.lanes, config.interleave) = match approach {
                Approach::Sequential => (1, 1),
                Approach::Lanes => (size, 1),
                Approach::Interleaved => (1, size),
            };
            let runner = self.open(&config)?;
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
                Err(Abort::Failed(why)) => {
                    // It may lack memory for this approach; others may work.
                    self.ui.warn(format!("{} {size}: {why}", approach.name()));
                    row.error = Some(why);
                }
                result => result?,
            }
            record.approaches.push(row);
            texts.push(first);
        }
        if let Some(why) = why_no_result(&record.approaches) {
            return Err(Abort::Failed(why));
        }
        let best = record.best().cloned();
        let index = record
            .approaches
            .iter()
            .position(|row| Some(row) == best.as_ref());
        record.outputs = index
            .map(|index| texts.swap_remove(index))
            .unwrap_or_default();
        let mut config = config.clone();
        (config.lanes, config.interleave) = (REPEATS, 1);
        let runner = self.open(&config)?;
        record.answers = self.answers(&*runner, &config)?;
        record.consistency = Some(self.consistency(&*runner, &config)?);
        Ok(())
    }

    fn settings(&self, config: &vlm::Config) -> annotate::Settings {
        annotate::Settings {
            lanes: config.lanes,
            interleave: config.interleave,
            unload_every: 0,
            canary_every: 0,
            ..library::describe_settings(self.settings, config)
        }
    }

    /// Load time in seconds: the first answer after an unload, minus the same answer when loaded.
    fn load(&self, runner: &dyn Runner, config: &vlm::Config) -> Result<Option<f64>, Abort> {
        if !runner.card().can_unload {
            return Ok(None);
        }
        runner.unload()?;
        let mut settings = self.settings(config);
        settings.chat.max_tokens = 1;
        let time = || -> Result<f64, Abort> {
            let start = Instant::now();
            self.trial.repeat(runner, &settings, 1, false)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let (cold, warm) = (time()?, time()?);
        Ok(Some((cold - warm).max(0.0)))
    }

    /// Runs all rounds of an approach; `first` receives the texts of the first round.
    fn rounds(
        &self,
        runner: &dyn Runner,
        config: &vlm::Config,
        row: &mut ApproachResult,
        first: &mut Vec<PageOutput>,
    ) -> Result<(), Abort> {
        let settings = self.settings(config);
        let gauge: &Gauge<'_> = &|| runner.process().and_then(measure::process_memory);
        // Warm-up: another context size reloads the model, which is not part of a round.
        self.trial.repeat(runner, &settings, 1, false)?;
        for _ in 0..self.runs {
            let before = gauge();
            let round = self.trial.describe(runner, &settings, gauge, &STOP)?;
            if STOP.load(Ordering::Relaxed) {
                return Err(Abort::Stopped);
            }
            let change = before.zip(gauge());
            let mut figures = self.figures(&round);
            figures.memory_change = change.map(|(before, after)| after as i64 - before as i64);
            self.ui.info(format!(
                "{} {} {}: {:.2} pages/s",
                runner.card().model,
                row.approach,
                row.batch,
                figures.rate()
            ));
            if row.rounds.is_empty() {
                *first = page_texts(&round);
            }
            row.rounds.push(figures);
        }
        Ok(())
    }

    fn figures(&self, round: &Round) -> RoundMetrics {
        let all: Vec<_> = self.trial.pages().collect();
        let index = |id| all.iter().position(|(page, ..)| *page == id);
        let described = round.pages.iter().filter_map(|(id, result)| {
            let description = result.as_ref().ok()?;
            Some((index(id)?, description_text(description)))
        });
        let layers: Vec<&str> = all.iter().map(|(_, text, _)| *text).collect();
        let classes = |names: &[&str]| {
            let retries = round.retries.iter();
            let retries = retries.filter(|(class, _)| names.contains(&class.as_str()));
            let failed = round
                .pages
                .iter()
                .filter_map(|(_, result)| result.as_ref().err());
            let failed = failed.filter(|(class, _)| names.contains(&class.as_str()));
            retries.map(|(_, times)| *times as usize).sum::<usize>() + failed.count()
        };
        let sum = |tokens: &dyn Fn(&vlm::Finish) -> Option<u32>| {
            let all = round
                .exchanges
                .iter()
                .map(|exchange| tokens(&exchange.finish));
            all.map(|tokens| tokens.map(u64::from)).sum::<Option<u64>>()
        };
        let ttfts: Vec<f64> = round
            .exchanges
            .iter()
            .map(|exchange| exchange.ttft)
            .collect();
        let failed = round
            .pages
            .iter()
            .filter(|(_, result)| result.is_err())
            .count();
        RoundMetrics {
            described: round.pages.len() - failed,
            failed,
            seconds: round.seconds,
            requests: round.exchanges.len(),
            attempts: round.pages.len() + round.retries.values().sum::<u32>() as usize,
            prompt_tokens: sum(&|end| end.prompt_tokens),
            tokens: sum(&|end| end.completion_tokens),
            ttft_seconds: ttfts.iter().sum(),
            generation_seconds: round
                .exchanges
                .iter()
                .map(|exchange| exchange.seconds - exchange.ttft)
                .sum(),
            ttft: Percentiles::of(ttfts),
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

    /// VQA accuracy with the page image and without it.
    fn answers(
        &self,
        runner: &dyn Runner,
        config: &vlm::Config,
    ) -> Result<Option<AnswerAccuracy>, Abort> {
        if self.questions.is_empty() {
            return Ok(None);
        }
        let settings = self.settings(config);
        let share = |with_image: bool| -> Result<(f64, f64), Abort> {
            let (mut simple, mut vqa) = (0.0, 0.0);
            for question in self.questions {
                let prompt = (question.question.as_str(), with_image);
                let answer = self
                    .trial
                    .answer(runner, &settings, &question.page, prompt)?;
                let answer = answer.unwrap_or_default();
                simple += simple_accuracy(&answer, &question.answers);
                vqa += vqa_accuracy(&answer, &question.answers);
                if STOP.load(Ordering::Relaxed) {
                    return Err(Abort::Stopped);
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

    fn consistency(&self, runner: &dyn Runner, config: &vlm::Config) -> Result<Consistency, Abort> {
        let settings = self.settings(config);
        let alone = self.trial.repeat(runner, &settings, REPEATS, false)?;
        let concurrent = self.trial.repeat(runner, &settings, REPEATS, true)?;
        let first = alone.first().cloned().unwrap_or_default();
        let agreement = |all: &[String]| {
            let same = all
                .iter()
                .filter(|text| !text.is_empty() && **text == first);
            let same = same.count();
            let distance = |text: &String| 1.0 - strsim::normalized_levenshtein(text, &first);
            let max_distance = all.iter().map(distance).fold(0.0, f64::max);
            (same as f64 / all.len().max(1) as f64, max_distance)
        };
        let ((alone, alone_distance), (concurrent, concurrent_distance)) =
            (agreement(&alone), agreement(&concurrent));
        Ok(Consistency {
            sequential: alone,
            sequential_distance: alone_distance,
            concurrent,
            concurrent_distance,
        })
    }
}

/// Returns the reason if no approach finished a round.
fn why_no_result(rows: &[ApproachResult]) -> Option<String> {
    let is_empty = rows.iter().all(|row| row.rounds.is_empty());
    let why = rows.iter().find_map(|row| row.error.clone());
    why.filter(|_| is_empty)
}

/// All text of a description.
fn description_text(description: &Description) -> String {
    let mut text = vec![description.title.clone(), description.summary.clone()];
    text.extend(description.topics.iter().cloned());
    text.extend(
        description
            .figures
            .iter()
            .map(|figure| format!("{} {}", figure.label, figure.content)),
    );
    text.extend(
        description
            .tables
            .iter()
            .map(|table| format!("{} {}", table.label, table.content)),
    );
    text.extend(
        description
            .identifiers
            .iter()
            .map(|identifier| identifier.text.clone()),
    );
    text.join(" ")
}

fn page_texts(round: &Round) -> Vec<PageOutput> {
    let mut all: Vec<_> = round.pages.iter().collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let text = |(id, result): &(_, annotate::DescribeResult)| {
        let id: &crate::page::PageId = id;
        PageOutput {
            page: id.to_string(),
            described: result.is_ok(),
            text: match result {
                Ok(page) => format!("{}: {}", page.title, page.summary),
                Err((class, why)) => format!("{class}: {why}"),
            },
        }
    };
    all.into_iter().map(text).collect()
}
