//! `ingest check`: opens PDFium, the store and the model, and reports what fails.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::{self, meaning};
use crate::library;
use crate::page::{ManualId, PageSet};
use crate::render::{self, Source};
use crate::store::{self, CollectionSelector};
use crate::units::pages;

use super::ui::Ui;
use super::{Common, self_test};

/// Check that PDFium, the model, the device and the store work, and show the memory plan
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest check
  ingest check --load --model vidore/colqwen2.5-v0.2
  ingest check --self-test --device metal
  ingest check --json")]
pub(super) struct CheckArgs {
    /// Load the model weights too (downloads them if missing)
    #[arg(long)]
    load: bool,
    /// Test the device: are its vectors those of the CPU, how fast is it, does it give the memory? Needs no download
    #[arg(long, conflicts_with_all = ["load", "licences"])]
    self_test: bool,
    /// Print the licences of the bundled libraries
    #[arg(long)]
    licences: bool,
}

/// A PDF with one page and one word, rendered to test PDFium.
const TEST_PAGE: &[u8] = include_bytes!("probe.pdf");

#[derive(Serialize)]
struct CheckResult {
    #[serde(rename = "part")]
    name: &'static str,
    ready: bool,
    #[serde(rename = "found")]
    detail: String,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &CheckArgs) -> Result<ExitCode, Diagnostic> {
    if args.licences {
        let licences = [render::licences(), meaning::licence()].join("\n\n");
        match ui.json {
            true => ui.json(&serde_json::json!({"licences": licences}))?,
            false => ui.text(&licences)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let settings = common.settings()?;
    if args.self_test {
        self_test::reject_unused(common)?;
        return self_test::run(ui, &settings);
    }
    let mut results = vec![
        check_result("pdfium", check_pdfium(&settings)),
        check_result("store", check_store(&settings)),
    ];
    match embed::card(&settings.embed) {
        Err(e) => results.push(check_result("model", Err(Diagnostic::from(e)))),
        Ok(card) => {
            let shape = format!("at most {} x {} per page", card.max_rows, card.profile.dim);
            let text = format!(
                "{} ({}), {shape}; licence: {}",
                card.profile.model, card.profile.id, card.licence
            );
            results.push(check_result("model", Ok(text)));
            let device = match card.is_gpu {
                true => card.device.clone(),
                false => format!("{}, {}", card.device, embed::instruction_set()),
            };
            results.push(check_result("device", Ok(device)));
            let plan = library::memory_plan(&settings, &card).map_err(Diagnostic::from);
            let text = plan.map(|p| {
                format!(
                    "batch size {}: {} of {} allowed",
                    p.batch_size, p.total, p.limit
                )
            });
            results.push(check_result("memory", text));
        }
    }
    if args.load {
        let loaded = library::open_model(&settings, &settings.embed)
            .and_then(|mut model| model.embed_query("ready?"));
        results.push(check_result(
            "weights",
            loaded
                .map(|_| "loaded".to_owned())
                .map_err(Diagnostic::from),
        ));
    }
    let ready = results.iter().all(|result| result.ready);
    if ui.json {
        ui.json(&results)?;
    } else {
        for result in &results {
            ui.data(format!(
                "{} {:<8} {}",
                if result.ready { "ok " } else { "NO " },
                result.name,
                result.detail
            ))?;
        }
    }
    Ok(ExitCode::from(u8::from(!ready)))
}

fn check_result(name: &'static str, outcome: Result<String, Diagnostic>) -> CheckResult {
    match outcome {
        Ok(detail) => CheckResult {
            name,
            ready: true,
            detail,
        },
        Err(diagnostic) => CheckResult {
            name,
            ready: false,
            detail: [vec![diagnostic.message], diagnostic.hints]
                .concat()
                .join("; "),
        },
    }
}

fn check_pdfium(settings: &Settings) -> Result<String, Diagnostic> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("probe.pdf");
    std::fs::write(&path, TEST_PAGE)?;
    let mut renderer = render::open(&settings.render).map_err(|e| Diagnostic::from_error(&e))?;
    renderer
        .open(&Source {
            manual: ManualId::new("probe"),
            path,
            passwords: Vec::new(),
        })
        .map_err(|e| Diagnostic::from_error(&e))?;
    let all = PageSet::all();
    let page = renderer
        .pages(&all)
        .map_err(|e| Diagnostic::from_error(&e))?
        .next();
    match page {
        Some((_, Ok(page))) if !page.blank => Ok(format!("renders at {} dpi", settings.render.dpi)),
        Some((_, Err(e))) => Err(Diagnostic::from_error(&e)),
        _ => Err(Diagnostic::new("the test page was rendered blank")),
    }
}

fn check_store(settings: &Settings) -> Result<String, Diagnostic> {
    let at = store::name(&settings.store)?;
    match store::open(&settings.store, CollectionSelector::Last, store::Mode::Read) {
        Ok(opened) => {
            let count: u32 = opened
                .store
                .manuals()?
                .iter()
                .map(|manual| manual.stored)
                .sum();
            let model = opened
                .profile
                .map(|profile| profile.model)
                .unwrap_or_default();
            Ok(format!(
                "{}: {}, last model {model}",
                opened.location,
                pages(count)
            ))
        }
        Err(store::Error::Empty { .. }) => {
            store::try_creating(&settings.store)?;
            Ok(format!("{at}: empty"))
        }
        Err(e) => Err(e.into()),
    }
}
