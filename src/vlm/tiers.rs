//! Recommended vision-language models by memory of the machine.
//!
//! Memory and tokens per second were measured by users on Macs; accuracy on DocVQA (validation or test, ANLS in per cent)
//! is from the models' own reports: Qwen2.5-VL (arXiv 2502.13923), SmolVLM (arXiv 2504.05299, the 500 M model).

use serde::Serialize;

const GB: u64 = 1_000_000_000;

/// Known vision-language model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tier {
    /// Hub id, for `mlx_vlm.server` or another MLX server.
    pub model: &'static str,
    /// Bytes of memory in use while it describes pages.
    pub memory: u64,
    /// Tokens per second of one answer on an Apple GPU; `None` if not measured.
    pub tokens_per_second: Option<f64>,
    /// DocVQA accuracy, per cent.
    pub docvqa: Option<f64>,
    /// Bytes of machine memory from which it is recommended; `None` if another model is always better.
    #[serde(rename = "from")]
    pub min_memory: Option<u64>,
    /// Note for people.
    pub note: &'static str,
}

/// All known models; the recommended ones in order of machine memory.
pub const TIERS: [Tier; 8] = [
    Tier {
        model: "mlx-community/SmolVLM2-500M-Video-Instruct-mlx",
        memory: 2 * GB,
        tokens_per_second: None,
        docvqa: Some(70.5),
        min_memory: Some(0),
        note: "misreads about one value in three: its descriptions help to find pages, do not quote them",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-3B-Instruct-4bit",
        memory: 4 * GB,
        tokens_per_second: Some(225.0),
        docvqa: Some(93.9),
        min_memory: None,
        note: "where the 7B fits, take that",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-7B-Instruct-4bit",
        memory: 6 * GB,
        tokens_per_second: Some(94.0),
        docvqa: Some(95.7),
        min_memory: Some(20 * GB),
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-32B-Instruct-4bit",
        memory: 28 * GB,
        tokens_per_second: None,
        docvqa: Some(94.8),
        min_memory: None,
        note: "from 64 GB, beside the 7B: slower, better at figures",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-72B-Instruct-4bit",
        memory: 50 * GB,
        tokens_per_second: None,
        docvqa: Some(96.4),
        min_memory: Some(190 * GB),
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen3-VL-2B-Instruct-4bit",
        memory: 3 * GB,
        tokens_per_second: None,
        docvqa: None,
        min_memory: None,
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen3-VL-4B-Instruct-4bit",
        memory: 5 * GB,
        tokens_per_second: Some(173.0),
        docvqa: None,
        min_memory: None,
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen3-VL-8B-Instruct-4bit",
        memory: 8 * GB,
        tokens_per_second: None,
        docvqa: None,
        min_memory: None,
        note: "",
    },
];

/// Returns the model for a machine with `machine_memory` bytes.
pub fn recommended(machine_memory: u64) -> &'static Tier {
    let fitting = TIERS
        .iter()
        .filter(|tier| tier.min_memory.is_some_and(|min| min <= machine_memory));
    fitting
        .max_by_key(|tier| tier.min_memory)
        .unwrap_or(&TIERS[0])
}

/// Finds a model by a name that contains family and size, such as `qwen2.5vl:7b` or a hub id.
pub fn find(model: &str) -> Option<&'static Tier> {
    let normalize = |name: &str| {
        let name = name.to_lowercase();
        name.replace(|c: char| !c.is_ascii_alphanumeric(), "")
    };
    let model = normalize(model);
    // The name up to `Instruct`: family and size, which servers write in different ways.
    let family_and_size = |tier: &Tier| {
        let name = normalize(tier.model.rsplit('/').next().unwrap_or_default());
        name.split("instruct").next().unwrap_or_default().to_owned()
    };
    TIERS
        .iter()
        .find(|tier| model.contains(&family_and_size(tier)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommended_model_fits_half_of_the_machine() {
        for (gb, model) in [
            (8, "SmolVLM2-500M"),
            (16, "SmolVLM2-500M"),
            (24, "Qwen2.5-VL-7B"),
            (32, "Qwen2.5-VL-7B"),
            (48, "Qwen2.5-VL-7B"),
            (128, "Qwen2.5-VL-7B"),
            (192, "Qwen2.5-VL-72B"),
            (256, "Qwen2.5-VL-72B"),
        ] {
            let tier = recommended(gb * GB);
            assert!(tier.model.contains(model), "{gb}: {}", tier.model);
            assert!(tier.memory < gb * GB / 2, "{gb}");
        }
    }

    #[test]
    fn models_are_found_by_the_names_of_every_server() {
        for (name, model) in [
            ("qwen2.5vl:7b", Some("Qwen2.5-VL-7B")),
            (
                "mlx-community/Qwen2.5-VL-7B-Instruct-8bit",
                Some("Qwen2.5-VL-7B"),
            ),
            ("qwen3-vl:4b-instruct", Some("Qwen3-VL-4B")),
            ("Qwen/Qwen2.5-VL-72B-Instruct-AWQ", Some("Qwen2.5-VL-72B")),
            (
                "ollama=qwen2.5vl:7b@http://127.0.0.1:80",
                Some("Qwen2.5-VL-7B"),
            ),
            ("llava:13b", None),
        ] {
            let found = find(name).map(|tier| tier.model);
            assert_eq!(found.is_some(), model.is_some(), "{name}: {found:?}");
            assert!(
                model.is_none_or(|model| found.unwrap_or_default().contains(model)),
                "{name}"
            );
        }
    }
}
