//! Which model describes pages on which machine.
//!
//! Memory in use and words a second come from what people measured on Macs, accuracy on DocVQA (validation or test, ANLS
//! in per cent) from the models' own reports: Qwen2.5-VL (arXiv 2502.13923), SmolVLM (arXiv 2504.05299, the 500 M model).

use serde::Serialize;

const GB: u64 = 1_000_000_000;

/// A model that describes pages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tier {
    /// Hub id, for `mlx_vlm.server` or another server of MLX.
    pub model: &'static str,
    /// Bytes of memory in use while it describes.
    pub memory: u64,
    /// Tokens a second of one answer, where somebody measured that on an Apple GPU.
    pub tokens_per_second: Option<f64>,
    /// DocVQA, per cent.
    pub docvqa: Option<f64>,
    /// Machines with less memory should not use it, in bytes; none where another one is always better.
    pub from: Option<u64>,
    /// What a person should know.
    pub note: &'static str,
}

/// All of them, the recommended ones from small machines to large.
pub const TIERS: [Tier; 8] = [
    Tier {
        model: "mlx-community/SmolVLM2-500M-Video-Instruct-mlx",
        memory: 2 * GB,
        tokens_per_second: None,
        docvqa: Some(70.5),
        from: Some(0),
        note: "misreads about one value in three: its descriptions help to find pages, do not quote them",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-3B-Instruct-4bit",
        memory: 4 * GB,
        tokens_per_second: Some(225.0),
        docvqa: Some(93.9),
        from: None,
        note: "where the 7B fits, take that",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-7B-Instruct-4bit",
        memory: 6 * GB,
        tokens_per_second: Some(94.0),
        docvqa: Some(95.7),
        from: Some(20 * GB),
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-32B-Instruct-4bit",
        memory: 28 * GB,
        tokens_per_second: None,
        docvqa: Some(94.8),
        from: None,
        note: "from 64 GB, beside the 7B: slower, better at figures",
    },
    Tier {
        model: "mlx-community/Qwen2.5-VL-72B-Instruct-4bit",
        memory: 50 * GB,
        tokens_per_second: None,
        docvqa: Some(96.4),
        from: Some(190 * GB),
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen3-VL-2B-Instruct-4bit",
        memory: 3 * GB,
        tokens_per_second: None,
        docvqa: None,
        from: None,
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen3-VL-4B-Instruct-4bit",
        memory: 5 * GB,
        tokens_per_second: Some(173.0),
        docvqa: None,
        from: None,
        note: "",
    },
    Tier {
        model: "mlx-community/Qwen3-VL-8B-Instruct-4bit",
        memory: 8 * GB,
        tokens_per_second: None,
        docvqa: None,
        from: None,
        note: "",
    },
];

/// The model for a machine with so many bytes of memory.
pub fn recommended(memory: u64) -> &'static Tier {
    let fitting = TIERS
        .iter()
        .filter(|tier| tier.from.is_some_and(|from| from <= memory));
    fitting.max_by_key(|tier| tier.from).unwrap_or(&TIERS[0])
}

/// What is known of a model by a name that holds family and size, such as `qwen2.5vl:7b` or a hub id; none where there is nothing.
pub fn known(model: &str) -> Option<&'static Tier> {
    let plain = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or_default().to_lowercase();
        name.replace(|c: char| !c.is_ascii_alphanumeric(), "")
    };
    let wanted = model.to_lowercase();
    let wanted = wanted.replace(|c: char| !c.is_ascii_alphanumeric(), "");
    // A tier's name up to `Instruct`: family and size, which servers name in different ways.
    let core = |tier: &Tier| {
        let name = plain(tier.model);
        name.split("instruct").next().unwrap_or_default().to_owned()
    };
    let fits = |tier: &&Tier| wanted.contains(&core(tier));
    TIERS.iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_their_model() {
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
            // What a machine of 32 GB says of itself.
            let tier = recommended(gb * GB);
            assert!(tier.model.contains(model), "{gb}: {}", tier.model);
            assert!(tier.memory < gb * GB / 2, "{gb}");
        }
    }

    #[test]
    fn servers_name_models_in_their_own_ways() {
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
            let found = known(name).map(|tier| tier.model);
            assert_eq!(found.is_some(), model.is_some(), "{name}: {found:?}");
            assert!(
                model.is_none_or(|model| found.unwrap_or_default().contains(model)),
                "{name}"
            );
        }
    }
}
