//! `ingest remove`: deletes a manual, or some of its pages.

use std::ffi::OsString;

use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::page::PageSet;
use crate::store::{self, CollectionSelector, Mode};

use crate::units::{ByteSize, pages};

use super::Common;
use super::ui::Ui;

/// Free space in a file from which a copy without it is worth the time.
const WORTH_MENTIONING: ByteSize = ByteSize(1_000_000);

/// Delete a manual, or some of its pages, from the store
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest remove pump.pdf
  ingest remove pump.pdf --pages 1-20,33
  ingest remove pump.pdf --store library.db")]
pub(super) struct RemoveArgs {
    /// Name of the manual, as shown by `ingest list`, or path of its file
    manual: OsString,
    /// Pages to delete, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &RemoveArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let Library { profile, .. } =
        library::open_for_reading(&settings.store, common.selected_model(&settings)?)?;
    let store::Opened {
        store, location, ..
    } = store::open(
        &settings.store,
        CollectionSelector::Profile(&profile),
        Mode::Write,
    )?;
    let manual = library::find_manual(&*store, &args.manual)?.id;
    let stored = store.fingerprints(&manual)?;
    if !args.pages.is_all() && !stored.iter().any(|page| args.pages.contains(page.number)) {
        return Err(library::Error::NoPages(manual).into());
    }
    let removed = store.remove(&manual, &args.pages)?;
    ui.info(format!("{} of {manual} removed", pages(removed)));
    let kept = store.release_space()?;
    if kept >= WORTH_MENTIONING {
        ui.info(format!(
            "the file keeps {kept} for later pages; `ingest sync --from {} --to NEW.db` makes a smaller copy",
            location
        ));
    }
    Ok(())
}
