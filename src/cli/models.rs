//! `ingest models`: known models, whether they fit this machine, and the recommended ones.

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::meaning::Model;
use crate::embed::{self, BUILT_IN, Compute, KnownModel};
use crate::library;
use crate::reports::table::fitted;
use crate::store::Address;
use crate::units::{ByteSize, three_digits};
use crate::vlm::tiers::{self, TIERS, Tier};

use super::ui::{Ui, table_columns};
use super::{Common, rates};

const GB: u64 = 1_000_000_000;
/// Memory of the system and other programs, on a small machine and on one of [`LARGE_MACHINE`] or more.
const SYSTEM_MEMORY: (u64, u64) = (4 * GB, 8 * GB);
const LARGE_MACHINE: u64 = 30 * GB;
/// Memory of the store: the page cache of a SQLite file, or a Weaviate server on this machine.
const STORE_MEMORY: (u64, u64) = (GB, 4 * GB);
/// Percentages of the machine's memory above which a warning, or an alarm, is printed.
const WARNING_PERCENT: u64 = 75;
const ALARM_PERCENT: u64 = 87;

/// List known models with size, licence and memory, and whether they fit this machine
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest models
  ingest models --commercial
  ingest models --model vidore/colqwen2.5-v0.2
  ingest models --json")]
pub(super) struct ModelsArgs {
    /// Leave out embedding models whose licence forbids commercial use
    #[arg(long)]
    commercial: bool,
}

#[derive(Serialize)]
struct EmbeddingModel {
    #[serde(flatten)]
    known: KnownModel,
    memory: ByteSize,
    fits: bool,
    /// Pages per second on this machine; `None` if the model does not fit, or nothing is known.
    pages_per_second: Option<f64>,
    /// Whether the last run with the model measured it; computed otherwise.
    measured: bool,
}

/// How the memory of this machine would be used.
#[derive(Debug, PartialEq, Serialize)]
struct Budget {
    machine: u64,
    system: u64,
    store: u64,
    embedding: u64,
    describing: u64,
    /// Remaining bytes; negative if memory is short.
    left: i64,
}

#[derive(Serialize)]
struct Models {
    embedding: Vec<EmbeddingModel>,
    describing: &'static [Tier],
    recommended: &'static str,
    recommended_embedding: String,
    budget: Budget,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &ModelsArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let machine = library::machine_memory();
    let limit = (machine as f64 * settings.limits.memory_fraction) as u64;
    let compute = embed::compute(&settings.embed)?;
    let known = embed::models();
    let memory = compute.own_memory.map_or(machine, |own| own.0);
    let recommended = embed::recommended(&known, &compute, memory, args.commercial);
    let recommended = recommended
        .map_or(BUILT_IN, |known| &known.model)
        .to_owned();
    let flops = embed::flops_per_second(&settings.embed)?;
    let rows: Vec<EmbeddingModel> = known
        .into_iter()
        .filter(|known| known.commercial || !args.commercial)
        .map(|known| embedding_model(known, &compute, flops, limit))
        .collect();
    let tier = tiers::recommended(machine);
    let text_model = library::text_model_memory(&settings);
    let selected = rows
        .iter()
        .find(|row| row.known.model == settings.embed.model);
    let budget = budget(
        &settings,
        machine,
        selected.map_or(0, |row| row.memory.0) + text_model,
        tier,
    );
    if ui.json {
        return ui.json(&Models {
            embedding: rows,
            describing: &TIERS,
            recommended: tier.model,
            recommended_embedding: recommended,
            budget,
        });
    }
    let advice = advice(&settings.embed.model, tier, &budget);
    ui.text(format!(
        "{}\n\n{}\n\n{}\n\n{}\nrecommended for embedding on this machine: {recommended}\n{advice}",
        embedding_table(&rows),
        text_model_table(settings.embed.meaning),
        description_table(limit),
        rate_note(&rows, &compute, flops)
    ))
}

/// What a model needs here, and how fast it is: as the last run measured it, else by its operations, of which this machine
/// computes `flops` a second.
fn embedding_model(known: KnownModel, compute: &Compute, flops: f64, limit: u64) -> EmbeddingModel {
    let memory = known.parameters * compute.bytes_per_parameter;
    let fits = memory <= limit;
    let measured = match known.model.as_str() {
        BUILT_IN => rates::of_model(BUILT_IN, &embed::builtin::card().device),
        model => rates::of_model(model, &compute.device),
    };
    let computed = known.page_teraflops.map(|page| flops / (page * 1e12));
    EmbeddingModel {
        pages_per_second: measured.or(computed).filter(|_| fits),
        measured: measured.is_some() && fits,
        fits,
        memory: ByteSize(memory),
        known,
    }
}

/// Where the pages per second come from.
fn rate_note(rows: &[EmbeddingModel], compute: &Compute, flops: f64) -> String {
    let measured: Vec<&str> = rows
        .iter()
        .filter(|row| row.measured)
        .map(|row| row.known.model.as_str())
        .collect();
    let measured = match measured.as_slice() {
        [] => String::new(),
        models => format!(
            "; that of {} was measured by its last run",
            models.join(", ")
        ),
    };
    let gigaflops = flops / 1e9;
    format!(
        "pages/s: computed from the TFLOP of an A4 page and {gigaflops:.0} GFLOP/s, by the time of a matrix product on {} just \
         now{measured}",
        compute.device
    )
}

/// The text models of search by meaning.
fn text_model_table(chosen: Option<Model>) -> String {
    let cells = |model: Model| {
        vec![
            model.name().to_owned(),
            model.setting().to_owned(),
            yes_no(chosen == Some(model)),
            ByteSize(model.download()).to_string(),
            ByteSize(model.memory()).to_string(),
            model.licence().to_owned(),
        ]
    };
    let header = [
        "text model",
        "embed.meaning",
        "chosen",
        "download",
        "memory",
        "licence",
    ];
    let rows: Vec<Vec<String>> = Model::ALL.map(cells).to_vec();
    fitted(&header, &rows, table_columns())
}

fn embedding_table(rows: &[EmbeddingModel]) -> String {
    let score = |score: Option<f64>| score.map(|score| format!("{score:.1}"));
    let cells = |r: &EmbeddingModel| {
        vec![
            r.known.model.clone(),
            format!("{:.1} M", r.known.parameters as f64 / 1e6),
            r.known.dim.to_string(),
            r.memory.to_string(),
            yes_no(r.fits),
            or_dash(r.known.page_bytes),
            or_dash(
                r.known
                    .page_teraflops
                    .map(|teraflops| format!("{teraflops:.1}")),
            ),
            or_dash(r.pages_per_second.map(three_digits)),
            or_dash(score(r.known.vidore_v1)),
            or_dash(score(r.known.nano_vidore_v3)),
            r.known.licence.clone(),
        ]
    };
    let header = [
        "embedding model",
        "parameters",
        "dim",
        "memory",
        "fits",
        "A4 page",
        "TFLOP",
        "pages/s",
        "ViDoRe v1",
        "v3 nano",
        "licence",
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    fitted(&header, &rows, table_columns())
}

fn description_table(limit: u64) -> String {
    let cells = |tier: &Tier| {
        vec![
            tier.model.to_owned(),
            ByteSize(tier.memory).to_string(),
            yes_no(tier.memory <= limit),
            or_dash(tier.docvqa),
            or_dash(tier.tokens_per_second),
            tier.note.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = TIERS.iter().map(cells).collect();
    let header = [
        "description model",
        "memory",
        "fits",
        "DocVQA %",
        "tokens/s",
        "",
    ];
    fitted(&header, &rows, table_columns())
}

fn or_dash(value: Option<impl std::fmt::Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn yes_no(fits: bool) -> String {
    if fits { "yes" } else { "no" }.to_owned()
}

fn budget(settings: &Settings, machine: u64, embedding: u64, tier: &Tier) -> Budget {
    let system = if machine < LARGE_MACHINE {
        SYSTEM_MEMORY.0
    } else {
        SYSTEM_MEMORY.1
    };
    let store = match settings.store.url {
        Address::File(_) => STORE_MEMORY.0,
        Address::Servers(_) => STORE_MEMORY.1,
    };
    let used = system + store + embedding + tier.memory;
    Budget {
        machine,
        system,
        store,
        embedding,
        describing: tier.memory,
        left: machine as i64 - used as i64,
    }
}

fn advice(model: &str, tier: &Tier, budget: &Budget) -> String {
    let size = |bytes: u64| ByteSize(bytes).to_string();
    let used = budget.system + budget.store + budget.embedding + budget.describing;
    let left = match budget.left {
        0.. => format!("{} left", size(budget.left.unsigned_abs())),
        _ => format!("{} short", size(budget.left.unsigned_abs())),
    };
    let mut lines = vec![
        format!(
            "recommended for descriptions on this machine: {}",
            tier.model
        ),
        format!(
            "memory: system {} + store {} + {model} {} + description model {} = {} of {}, {left}",
            size(budget.system),
            size(budget.store),
            size(budget.embedding),
            size(budget.describing),
            size(used),
            size(budget.machine),
        ),
    ];
    if !tier.note.is_empty() {
        lines.push(format!("{}: {}", tier.model, tier.note));
    }
    if tier.min_memory == Some(0) {
        lines.push("no Qwen-VL model fits in the remaining memory".to_owned());
    }
    let share = used * 100 / budget.machine.max(1);
    match share {
        ALARM_PERCENT.. => lines.push(format!(
            "alarm: {share} % of the memory; above {ALARM_PERCENT} % the machine stalls"
        )),
        WARNING_PERCENT.. => lines.push(format!(
            "warning: {share} % of the memory, above {WARNING_PERCENT} %"
        )),
        _ => {}
    }
    lines.push(
        "vision towers quantized below 8 bits misread text; those of the models above have 16 bits, and `ingest describe` warns about local folders and Ollama models"
            .to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_adds_up_and_a_shortage_is_reported() {
        let settings = Settings::resolve(&crate::config::Sources::default()).unwrap();
        for (gb, embedding, left, expected) in [
            (256, 7, 190, ""),
            (32, 0, 17, ""),
            (32, 12, 5, "warning: 84 %"),
            (16, 7, 2, "alarm: 87 %"),
            (8, 7, -6, "6.0 GB short"),
        ] {
            let machine = gb * GB;
            let tier = tiers::recommended(machine);
            let budget = budget(&settings, machine, embedding * GB, tier);
            assert_eq!(budget.left, left * GB as i64, "{gb}");
            let advice = advice("m", tier, &budget);
            assert!(advice.contains(expected), "{advice}");
            let has_qwen = advice.contains("Qwen2.5-VL");
            assert_eq!(has_qwen, gb >= 32, "{advice}");
        }
    }
}
