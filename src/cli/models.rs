//! `ingest models`: known models, whether they fit here, and which one should describe pages on this machine.

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed;
use crate::library;
use crate::reports::table::aligned;
use crate::store::Address;
use crate::units::ByteSize;
use crate::vlm::tiers::{self, TIERS, Tier};

use super::Common;
use super::ui::Ui;

const GB: u64 = 1_000_000_000;
/// What the system and other programs keep for themselves on a small machine and on a large one, of this size or more.
const SYSTEM: (u64, u64) = (4 * GB, 8 * GB);
const LARGE: u64 = 30 * GB;
/// What a store takes while it is searched and written: our file's pages that are in memory, or a Weaviate beside us.
const STORE: (u64, u64) = (GB, 4 * GB);
/// Shares of the machine, in per cent, beyond which a plan is a warning, and beyond which it is an alarm.
const WARN: u64 = 75;
const ALARM: u64 = 87;

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

/// Where the memory of this machine would go.
#[derive(Debug, PartialEq, Serialize)]
struct Budget {
    machine: u64,
    system: u64,
    store: u64,
    embedding: u64,
    describing: u64,
    /// What is left; negative where it is too little.
    left: i64,
}

#[derive(Serialize)]
struct Models {
    embedding: Vec<Row>,
    describing: &'static [Tier],
    recommended: &'static str,
    budget: Budget,
}

pub(super) fn run(ui: &mut Ui, common: &Common, _args: &ModelsArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let machine = library::machine_memory();
    let limit = (machine as f64 * settings.limits.memory_fraction) as u64;
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
    let tier = tiers::recommended(machine);
    let chosen = rows.iter().find(|row| row.model == settings.embed.model);
    let budget = budget(
        &settings,
        machine,
        chosen.map_or(0, |row| row.memory.0),
        tier,
    );
    if ui.json {
        return ui.json(&Models {
            embedding: rows,
            describing: &TIERS,
            recommended: tier.model,
            budget,
        });
    }
    let words = words(&settings.embed.model, tier, &budget);
    ui.data(format!(
        "{}\n\n{}\n\n{words}",
        embedding(&rows),
        describing(limit)
    ))
}

fn embedding(rows: &[Row]) -> String {
    let cells = |r: &Row| {
        vec![
            r.model.clone(),
            format!("{:.1} M", r.parameters as f64 / 1e6),
            r.dim.to_string(),
            r.download.to_string(),
            r.memory.to_string(),
            yes(r.fits),
            r.licence.clone(),
        ]
    };
    let header = [
        "embeds pages",
        "parameters",
        "width",
        "download",
        "memory",
        "fits",
        "licence",
    ];
    aligned(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn describing(limit: u64) -> String {
    let cells = |tier: &Tier| {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |n| n.to_string());
        vec![
            tier.model.to_owned(),
            ByteSize(tier.memory).to_string(),
            yes(tier.memory <= limit),
            number(tier.docvqa),
            number(tier.tokens_per_second),
            tier.note.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = TIERS.iter().map(cells).collect();
    let header = [
        "describes pages",
        "memory",
        "fits",
        "DocVQA %",
        "tokens/s",
        "",
    ];
    aligned(&header, &rows)
}

fn yes(fits: bool) -> String {
    if fits { "yes" } else { "no" }.to_owned()
}

fn budget(settings: &Settings, machine: u64, embedding: u64, tier: &Tier) -> Budget {
    let system = if machine < LARGE { SYSTEM.0 } else { SYSTEM.1 };
    let store = match settings.store.url {
        Address::File(_) => STORE.0,
        Address::Servers(_) => STORE.1,
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

fn words(model: &str, tier: &Tier, budget: &Budget) -> String {
    let size = |bytes: u64| ByteSize(bytes).to_string();
    let used = budget.system + budget.store + budget.embedding + budget.describing;
    let left = match budget.left {
        0.. => format!("{} left", size(budget.left.unsigned_abs())),
        _ => format!("{} too little", size(budget.left.unsigned_abs())),
    };
    let mut lines = vec![
        format!("for this machine: {} describes pages", tier.model),
        format!(
            "memory: system {} + store {} + {model} {} + describing {} = {} of {}, {left}",
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
        lines.push("no Qwen-VL fits beside the rest of a machine of this size".to_owned());
    }
    let share = used * 100 / budget.machine.max(1);
    match share {
        ALARM.. => lines.push(format!(
            "alarm: that is {share} % of the memory; more than {ALARM} % stalls the machine"
        )),
        WARN.. => lines.push(format!(
            "warning: that is {share} % of the memory, more than {WARN} %"
        )),
        _ => {}
    }
    lines.push(
        "vision parts of less than 8 bits misread print: the models above keep theirs in 16; `ingest describe` warns of others that lie in a folder or on Ollama"
            .to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_and_shortage_is_told() {
        let settings = Settings::resolve(&crate::config::Sources::default()).unwrap();
        for (gb, embedding, left, word) in [
            (256, 7, 190, ""),
            (32, 0, 17, ""),
            (32, 12, 5, "warning: that is 84 %"),
            (16, 7, 2, "alarm: that is 87 %"),
            (8, 7, -6, "6.0 GB too little"),
        ] {
            let machine = gb * GB;
            let tier = tiers::recommended(machine);
            let budget = budget(&settings, machine, embedding * GB, tier);
            assert_eq!(budget.left, left * GB as i64, "{gb}");
            let words = words("m", tier, &budget);
            assert!(words.contains(word), "{words}");
            let has_qwen = words.contains("Qwen2.5-VL");
            assert_eq!(has_qwen, gb >= 32, "{words}");
        }
    }
}
