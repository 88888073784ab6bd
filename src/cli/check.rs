//! `ingest check`: is everything ready? Each part is tried, not only looked for.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed;
use crate::library;
use crate::page::{ManualId, PageSet};
use crate::render::{self, Source};
use crate::store::{self, CollectionSelector};

use super::Common;
use super::ui::Ui;

/// Check that PDFium, the model, the device and the store are ready, and how memory would be used
#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// Open the model's weights as well (fetches them if they are not here)
    #[arg(long)]
    load: bool,
    /// Print the licences of what is built in
    #[arg(long)]
    licences: bool,
}

/// One page with one word: enough to see the whole way from file to pixels.
const PROBE: &[u8] = include_bytes!("probe.pdf");

#[derive(Serialize)]
struct Part {
    part: &'static str,
    ready: bool,
    found: String,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &CheckArgs) -> Result<ExitCode, Diagnostic> {
    if args.licences {
        ui.data(render::licences())?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = common.settings()?;
    let mut parts = vec![
        part("pdfium", pdfium(&settings)),
        part("store", place(&settings)),
    ];
    match embed::card(&settings.embed) {
        Err(e) => parts.push(part("model", Err(Diagnostic::from(e)))),
        Ok(card) => {
            let rows = format!(
                "{} rows x {} a page at most",
                card.max_rows, card.profile.dim
            );
            let text = format!(
                "{} ({}), {rows}; licence: {}",
                card.profile.model, card.profile.id, card.licence
            );
            parts.push(part("model", Ok(text)));
            parts.push(part("device", Ok(card.device.clone())));
            let plan = library::memory_plan(&settings, &card).map_err(Diagnostic::from);
            let text = plan.map(|p| {
                format!(
                    "batches of {}: {} of {} allowed",
                    p.batch_size, p.total, p.limit
                )
            });
            parts.push(part("memory", text));
        }
    }
    if args.load {
        let opened = library::open_model(&settings, &settings.embed)
            .and_then(|mut model| model.embed_query("ready?"));
        parts.push(part(
            "weights",
            opened
                .map(|_| "opened".to_owned())
                .map_err(Diagnostic::from),
        ));
    }
    let ready = parts.iter().all(|part| part.ready);
    if ui.json {
        ui.json(&parts)?;
    } else {
        for part in &parts {
            ui.data(format!(
                "{} {:<8} {}",
                if part.ready { "ok " } else { "NO " },
                part.part,
                part.found
            ))?;
        }
    }
    Ok(ExitCode::from(u8::from(!ready)))
}

fn part(part: &'static str, found: Result<String, Diagnostic>) -> Part {
    match found {
        Ok(found) => Part {
            part,
            ready: true,
            found,
        },
        Err(report) => Part {
            part,
            ready: false,
            found: [vec![report.message], report.hints].concat().join("; "),
        },
    }
}

fn pdfium(settings: &Settings) -> Result<String, Diagnostic> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("probe.pdf");
    std::fs::write(&path, PROBE)?;
    let mut renderer = render::open(&settings.render).map_err(|e| Diagnostic::from_error(&e))?;
    renderer
        .open(&Source {
            manual: ManualId::new("probe"),
            path,
            password: None,
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
        _ => Err(Diagnostic::new("a page came back empty")),
    }
}

fn place(settings: &Settings) -> Result<String, Diagnostic> {
    let at = store::name(&settings.store)?;
    match store::open(&settings.store, CollectionSelector::Last, store::Mode::Read) {
        Ok(opened) => {
            let pages: u32 = opened
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
                "{}: {pages} pages, last model {model}",
                opened.location
            ))
        }
        Err(store::Error::Empty { .. }) => Ok(format!("{at}: nothing stored yet")),
        Err(e) => Err(e.into()),
    }
}
