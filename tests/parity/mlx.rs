//! Parity of ColQwen on MLX: activations, and a page in a batch.

use std::collections::BTreeMap;

use ingest::embed::{self, Embedder, Engine, colqwen};

use super::reference::{
    Activations, EXACT, compare_activations, config, cut, inverse, key, max_difference, patches,
    prepared,
};

fn compare_on_mlx(name: &str) {
    let config = config(&format!("{name}-tiny"), Engine::Mlx);
    let mut model = colqwen::open_mlx(&config).unwrap();
    let pages = prepared(&embed::card(&config).unwrap().prepare);
    let mut activations = Activations {
        values: BTreeMap::new(),
        order: Vec::new(),
    };
    for one in model.activations(&patches(&pages)).unwrap() {
        if one.name == "vit.order" {
            let order: Vec<u32> = one.values.iter().map(|&row| row as u32).collect();
            activations.order = inverse(&order);
        } else {
            let rows = cut(&one.values, one.width);
            activations.values.insert(key(one.name, one.index), rows);
        }
    }
    compare_activations(name, &activations);
}

#[test]
fn activations_of_colqwen2_5_on_mlx_equal_the_reference() {
    compare_on_mlx("colqwen2.5");
}

#[test]
fn activations_of_colqwen2_on_mlx_equal_the_reference() {
    compare_on_mlx("colqwen2");
}

#[test]
fn activations_of_colqwen3_on_mlx_equal_the_reference() {
    compare_on_mlx("colqwen3");
}

#[test]
fn page_in_a_batch_equals_the_page_alone_on_mlx() {
    for name in ["colqwen2.5-tiny", "colqwen2-tiny", "colqwen3-tiny"] {
        let config = config(name, Engine::Mlx);
        let mut model = colqwen::open_mlx(&config).unwrap();
        let pages = prepared(&embed::card(&config).unwrap().prepare);
        let all = [0, 1, 0, 0, 1].map(|i: usize| pages[i].clone());
        model.set_chunk_size(usize::MAX);
        let together = model.embed_pages(&all).unwrap();
        model.set_chunk_size(1);
        for (alone, together) in model.embed_pages(&all).unwrap().iter().zip(together) {
            let (alone, together) = (alone.as_ref().unwrap(), together.unwrap());
            let alone = cut(alone.vectors.as_slice(), alone.vectors.dim());
            assert!(max_difference(&together.vectors, &alone) <= EXACT);
        }
    }
}
