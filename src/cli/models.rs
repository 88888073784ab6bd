//! `ingest models`: known models and whether they fit here.

use serde::Serialize;

use crate::embed;
use crate::report::Report;
use crate::units::ByteSize;

use super::table::table;
use super::ui::Ui;
use super::{Common, kit};

/// List the known models with size, width, licence, and whether they fit this machine
#[derive(clap::Args, Debug)]
pub(super) struct ModelsArgs {}

#[derive(Serialize)]
struct Row {
    model: String,
    parameters: u64,
    dim: u32,
    download: ByteSize,
    memory: ByteSize,
    fits: bool,
    licence: String,
}

pub(super) fn run(ui: &mut Ui, common: &Common, _args: &ModelsArgs) -> Result<(), Report> {
    let settings = common.settings()?;
    let limit = (kit::machine_memory() as f64 * settings.limits.memory_fraction) as u64;
    let bytes = embed::bytes_per_parameter(&settings.embed)?;
    let rows: Vec<Row> = embed::models()
        .into_iter()
        .map(|known| Row {
            fits: known.parameters * bytes <= limit,
            model: known.model,
            parameters: known.parameters,
            dim: known.dim,
            download: known.download,
            memory: ByteSize(known.parameters * bytes),
            licence: known.licence,
        })
        .collect();
    if ui.json {
        return ui.json(&rows);
    }
    let cells = |r: &Row| {
        let parameters = format!("{:.1} M", r.parameters as f64 / 1e6);
        let fits = if r.fits { "yes" } else { "no" };
        vec![
            r.model.clone(),
            parameters,
            r.dim.to_string(),
            r.download.to_string(),
            r.memory.to_string(),
            fits.into(),
            r.licence.clone(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    ui.data(table(
        &[
            "model",
            "parameters",
            "width",
            "download",
            "memory",
            "fits",
            "licence",
        ],
        &rows,
    ))
}
