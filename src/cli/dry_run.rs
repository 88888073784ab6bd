//! `ingest --dry-run`: what would be done.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::Card;
use crate::page::PageSet;
use crate::pipeline::{self, Inputs, Job, Plan};
use crate::render::{self, Renderer};
use crate::reports::table::aligned;
use crate::units::{PagesPerSecond, Seconds};

use super::rates;
use super::ui::Ui;

/// What a dry run looks at.
pub(super) struct DryRun<'a> {
    pub(super) settings: &'a Settings,
    pub(super) card: &'a Card,
    pub(super) plan: &'a Plan,
    pub(super) pages: &'a PageSet,
}

#[derive(Serialize)]
struct Planned<'a> {
    manuals: Vec<PlannedManual>,
    pages: u32,
    batches: usize,
    /// By the rate of the last run with this model and device; none before the first.
    expected_seconds: Option<f64>,
    plan: &'a Plan,
}

#[derive(Serialize)]
struct PlannedManual {
    manual: String,
    pages: u32,
    todo: u32,
    error: Option<String>,
}

impl DryRun<'_> {
    /// Opens what must be opened and counts; embeds and stores nothing.
    pub(super) fn tell(&self, ui: &Ui, jobs: &Inputs) -> Result<ExitCode, Diagnostic> {
        let mut renderer: Option<Box<dyn Renderer>> = None;
        let mut manuals = Vec::new();
        for job in jobs {
            manuals.push(match job {
                Err(rejected) => {
                    PlannedManual::failed(rejected.path.display().to_string(), rejected.why.clone())
                }
                Ok(job) => self.count(&mut renderer, job)?,
            });
        }
        let pages: u32 = manuals.iter().map(|m| m.todo).sum();
        let batches = (pages as usize).div_ceil(self.plan.batch_size);
        let rate = rates::recall(self.card).filter(|rate| *rate > 0.0);
        let expected_seconds = rate.map(|rate| f64::from(pages) / rate);
        let code = u8::from(manuals.iter().any(|m| m.error.is_some()));
        let planned = Planned {
            manuals,
            pages,
            batches,
            expected_seconds,
            plan: self.plan,
        };
        if ui.json {
            ui.json(&planned)?;
        } else {
            planned.print(ui, rate)?;
        }
        Ok(code.into())
    }

    fn count(
        &self,
        renderer: &mut Option<Box<dyn Renderer>>,
        job: &Job,
    ) -> Result<PlannedManual, Diagnostic> {
        let manual = job.source.manual.to_string();
        if let Some(pages) = job.unchanged {
            return Ok(PlannedManual {
                manual,
                pages,
                todo: 0,
                error: None,
            });
        }
        let renderer = match renderer {
            Some(renderer) => renderer,
            none => {
                none.insert(render::open(&self.settings.render).map_err(pipeline::Error::from)?)
            }
        };
        Ok(match renderer.open(&job.source) {
            Err(e) => PlannedManual::failed(manual, e.to_string()),
            Ok(open) => {
                let asked = self.pages.within(open.pages);
                let current = |n: &&u32| {
                    job.fingerprints
                        .get(n)
                        .is_some_and(|(origin, _)| *origin == job.origin)
                };
                let there = asked.iter().filter(current).count();
                PlannedManual {
                    manual,
                    pages: asked.len() as u32,
                    todo: (asked.len() - there) as u32,
                    error: None,
                }
            }
        })
    }
}

impl PlannedManual {
    fn failed(manual: String, why: String) -> Self {
        Self {
            manual,
            pages: 0,
            todo: 0,
            error: Some(why),
        }
    }

    fn row(&self) -> Vec<String> {
        let error = self.error.clone().unwrap_or_default();
        vec![
            self.manual.clone(),
            self.pages.to_string(),
            self.todo.to_string(),
            error,
        ]
    }
}

impl Planned<'_> {
    fn print(&self, ui: &Ui, rate: Option<f64>) -> Result<(), Diagnostic> {
        let rows: Vec<_> = self.manuals.iter().map(PlannedManual::row).collect();
        ui.data(aligned(&["manual", "pages", "to do", ""], &rows))?;
        ui.data(format!(
            "{} pages in {} batches of {}",
            self.pages, self.batches, self.plan.batch_size
        ))?;
        ui.data(match (self.expected_seconds, rate) {
            (Some(time), Some(rate)) => format!(
                "time: about {} ({} last time)",
                Seconds(time),
                PagesPerSecond(rate)
            ),
            _ => "time: not known before the first run of this model here".to_owned(),
        })?;
        ui.data(format!("memory: {}", memory(self.plan)))
    }
}

/// Where the bytes go, in a line.
pub(super) fn memory(plan: &Plan) -> String {
    format!(
        "weights {} + activations {} + pictures {} + queues {} = {} of {} allowed",
        plan.weights, plan.activations, plan.images, plan.queues, plan.total, plan.limit
    )
}
