//! `ingest list`: lists the stored manuals.

use crate::diagnostic::Diagnostic;
use crate::library;
use crate::reports::table::fitted;
use crate::units::ByteSize;

use super::Common;
use super::ui::{Ui, table_columns};

/// List the stored manuals
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest list
  ingest list --json
  ingest list --model vidore/colqwen2.5-v0.2")]
pub(super) struct ListArgs {}

pub(super) fn run(ui: &mut Ui, common: &Common, _args: &ListArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let manuals = library::open_for_reading(&settings.store, common.selected_model(&settings)?)?
        .store
        .manuals()?;
    if ui.json {
        return ui.json(&manuals);
    }
    let row = |manual: &crate::store::ManualSummary| {
        let pages = format!("{} of {}", manual.stored, manual.card.pages);
        let name = manual.card.id.to_string();
        vec![
            name,
            pages,
            manual.blank.to_string(),
            ByteSize(manual.bytes).to_string(),
            manual.card.path.display().to_string(),
        ]
    };
    let rows: Vec<_> = manuals.iter().map(row).collect();
    ui.text(fitted(
        &["manual", "pages", "blank", "vectors", "path"],
        &rows,
        table_columns(),
    ))
}
