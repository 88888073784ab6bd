//! Shapes of the backbones of known models, for what is said of a model before anything of it is downloaded.

use crate::qwen::{Config, DeepStack, Family, Text, Vision, WindowedAttention};

/// The shape of a backbone by name; `None` if it is not known.
pub(super) fn known(name: &str) -> Option<Config> {
    Some(match name {
        "Qwen2-VL-2B" => qwen2(),
        "Qwen2.5-VL-3B" => qwen2_5(),
        "Qwen2.5-VL-7B" => qwen2_5_7b(),
        "Qwen3-VL-2B" => qwen3([2048, 28, 6144, 16]),
        "Qwen3-VL-4B" => qwen3([2560, 36, 9728, 32]),
        "Qwen3-VL-8B" => qwen3_8b(),
        _ => return None,
    })
}

/// Qwen2.5-VL-3B.
pub(super) fn qwen2_5() -> Config {
    Config {
        family: Family::Qwen25,
        vision: Vision {
            depth: 32,
            hidden_size: 1280,
            intermediate_size: 3420,
            num_heads: 16,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            out_hidden_size: 2048,
            windows: Some(WindowedAttention {
                side: 4,
                full_layers: vec![7, 15, 23, 31],
            }),
            deepstack: None,
        },
        text: Text {
            vocab_size: 151_936,
            hidden_size: 2048,
            intermediate_size: 11_008,
            num_hidden_layers: 36,
            num_attention_heads: 16,
            num_key_value_heads: 2,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            mrope_section: [16, 24, 24],
            qk_norm_head_dim: None,
            causal: true,
        },
        image_token: 151_655,
    }
}

/// Qwen2-VL-2B.
fn qwen2() -> Config {
    let newer = qwen2_5();
    Config {
        family: Family::Qwen2,
        vision: Vision {
            intermediate_size: 5120,
            out_hidden_size: 1536,
            windows: None,
            ..newer.vision
        },
        text: Text {
            hidden_size: 1536,
            intermediate_size: 8960,
            num_hidden_layers: 28,
            num_attention_heads: 12,
            ..newer.text
        },
        ..newer
    }
}

fn qwen2_5_7b() -> Config {
    let smaller = qwen2_5();
    Config {
        vision: Vision {
            out_hidden_size: 3584,
            ..smaller.vision
        },
        text: Text {
            vocab_size: 152_064,
            hidden_size: 3584,
            intermediate_size: 18_944,
            num_hidden_layers: 28,
            num_attention_heads: 28,
            num_key_value_heads: 4,
            ..smaller.text
        },
        ..smaller
    }
}

/// Qwen3-VL with the smaller vision tower, by hidden_size, layers, intermediate_size and heads of the language model.
pub(super) fn qwen3([hidden_size, layers, intermediate_size, heads]: [usize; 4]) -> Config {
    let older = qwen2_5();
    Config {
        family: Family::Qwen3,
        vision: Vision {
            depth: 24,
            hidden_size: 1024,
            intermediate_size: 4096,
            patch_size: 16,
            out_hidden_size: hidden_size,
            windows: None,
            deepstack: Some(DeepStack {
                grid_side: 48,
                layers: vec![5, 11, 17],
            }),
            ..older.vision
        },
        text: Text {
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: 8,
            rope_theta: 5e6,
            mrope_section: [24, 20, 20],
            qk_norm_head_dim: Some(128),
            ..older.text
        },
        ..older
    }
}

fn qwen3_8b() -> Config {
    let smaller = qwen3([4096, 36, 12_288, 32]);
    Config {
        vision: Vision {
            depth: 27,
            hidden_size: 1152,
            intermediate_size: 4304,
            deepstack: Some(DeepStack {
                grid_side: 48,
                layers: vec![8, 16, 24],
            }),
            ..smaller.vision
        },
        ..smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qwen::schema;

    /// The numbers that are published with the models, for mteb and in the headers of their files.
    #[test]
    fn parameters_are_the_published_ones() {
        for (name, projection, parameters) in [
            ("Qwen2-VL-2B", 128, 2_209_182_336),
            ("Qwen2.5-VL-3B", 128, 3_754_885_248),
            ("Qwen3-VL-2B", 128, 2_127_794_304),
            ("Qwen3-VL-4B", 128, 4_438_143_616),
            ("Qwen3-VL-4B", 2560, 4_444_371_968),
            ("Qwen3-VL-8B", 128, 8_145_318_256),
        ] {
            let schema = schema::embedding_model(&known(name).unwrap(), Some(projection));
            assert_eq!(schema::parameters(&schema), parameters, "{name}");
        }
    }
}
