//! `ingest --dry-run`: counts pages and batches, and estimates memory and time.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::Card;
use crate::pipeline::{self, Input, Inputs, Job, Plan};
use crate::render::{self, Renderer};
use crate::reports::table::fitted;
use crate::units::{PagesPerSecond, Seconds, pages};

use super::rates;
use super::ui::{Ui, table_columns};

/// The inputs of a dry run.
pub(super) struct DryRun<'a> {
    pub(super) settings: &'a Settings,
    pub(super) card: &'a Card,
    pub(super) plan: &'a Plan,
}

#[derive(Serialize)]
struct DryRunReport<'a> {
    manuals: Vec<ManualPlan>,
    pages: u32,
    batches: usize,
    /// By the rate of the last run with this model and device; `None` before the first.
    expected_seconds: Option<f64>,
    plan: &'a Plan,
}

#[derive(Serialize)]
struct ManualPlan {
    manual: String,
    pages: u32,
    todo: u32,
    error: Option<String>,
    /// The manual that is stored from another file with the same bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<String>,
}

impl DryRun<'_> {
    /// Counts the pages of new and changed files, and prints the report; embeds and stores nothing.
    pub(super) fn run(&self, ui: &Ui, inputs: &Inputs) -> Result<ExitCode, Diagnostic> {
        let mut renderer: Option<Box<dyn Renderer>> = None;
        let mut manuals = Vec::new();
        for input in &inputs.items {
            manuals.push(match input {
                Input::Rejected(rejected) => {
                    ui.input_failed(&rejected.path, &rejected.why, None);
                    let manual = rejected.path.display().to_string();
                    ManualPlan {
                        error: Some(rejected.why.clone()),
                        ..ManualPlan::of(manual)
                    }
                }
                Input::Job(job) => self.count(ui, &mut renderer, job)?,
                Input::Twin(twin) => {
                    let original = inputs.items[twin.of].job();
                    let manual = twin.path.display().to_string();
                    ManualPlan {
                        same_as: original.map(|job| job.source.manual.to_string()),
                        ..ManualPlan::of(manual)
                    }
                }
            });
        }
        let pages: u32 = manuals.iter().map(|m| m.todo).sum();
        let batches = (pages as usize).div_ceil(self.plan.batch_size);
        let rate = rates::load(self.card).filter(|rate| *rate > 0.0);
        let expected_seconds = rate.map(|rate| f64::from(pages) / rate);
        let code = u8::from(manuals.iter().any(|m| m.error.is_some()));
        let report = DryRunReport {
            manuals,
            pages,
            batches,
            expected_seconds,
            plan: self.plan,
        };
        if ui.json {
            ui.json(&report)?;
        } else {
            report.print(ui, rate)?;
        }
        Ok(code.into())
    }

    fn count(
        &self,
        ui: &Ui,
        renderer: &mut Option<Box<dyn Renderer>>,
        job: &Job,
    ) -> Result<ManualPlan, Diagnostic> {
        let manual = job.source.manual.to_string();
        let plan = match &job.copy {
            None => ManualPlan::of(manual),
            Some(path) => ManualPlan {
                same_as: Some(manual),
                ..ManualPlan::of(path.display().to_string())
            },
        };
        if let Some(pages) = job.unchanged {
            return Ok(ManualPlan { pages, ..plan });
        }
        let renderer = match renderer {
            Some(renderer) => renderer,
            empty => {
                empty.insert(render::open(&self.settings.render).map_err(pipeline::Error::from)?)
            }
        };
        Ok(match renderer.open(&job.source) {
            Err(e) => {
                let path = job.copy.as_ref().unwrap_or(&job.source.path);
                ui.input_failed(path, &e.to_string(), Some(&e));
                ManualPlan {
                    error: Some(e.to_string()),
                    ..plan
                }
            }
            Ok(open) => {
                let requested = job.selection.within(open.pages);
                let current_pages = requested.iter().filter(|n| job.is_current(**n)).count();
                ManualPlan {
                    pages: requested.len() as u32,
                    todo: (requested.len() - current_pages) as u32,
                    ..plan
                }
            }
        })
    }
}

impl ManualPlan {
    fn of(manual: String) -> Self {
        Self {
            manual,
            pages: 0,
            todo: 0,
            error: None,
            same_as: None,
        }
    }

    fn row(&self) -> Vec<String> {
        let same = self.same_as.as_ref();
        let note = same.map(|original| format!("same as {original}"));
        let error = self.error.clone().or(note).unwrap_or_default();
        vec![
            self.manual.clone(),
            self.pages.to_string(),
            self.todo.to_string(),
            error,
        ]
    }
}

impl DryRunReport<'_> {
    fn print(&self, ui: &Ui, rate: Option<f64>) -> Result<(), Diagnostic> {
        let rows: Vec<_> = self.manuals.iter().map(ManualPlan::row).collect();
        let header = ["manual", "pages", "to index", ""];
        ui.text(fitted(&header, &rows, table_columns()))?;
        ui.data(format!(
            "{}; batches of {}: {}",
            pages(self.pages),
            self.plan.batch_size,
            self.batches
        ))?;
        ui.data(match (self.expected_seconds, rate) {
            (Some(time), Some(rate)) => format!(
                "time: about {} (last run: {})",
                Seconds(time),
                PagesPerSecond(rate)
            ),
            _ => "time: unknown before the first run of this model on this machine".to_owned(),
        })?;
        ui.data(format!("memory: {}", memory_line(self.plan)))
    }
}

/// The memory plan in one line.
pub(super) fn memory_line(plan: &Plan) -> String {
    format!(
        "weights {} + activations {} + images {} + queues {} = {} of {} allowed",
        plan.weights, plan.activations, plan.images, plan.queues, plan.total, plan.limit
    )
}
