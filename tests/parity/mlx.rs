//! Every number that MLX computes on its way, and a page in a batch.

use std::collections::BTreeMap;

use ingest::embed::{self, Embedder, Engine, colqwen};

use super::reference::{
    EXACT, Inside, compare_inside, config, cut, differ, key, patches, prepared, turned,
};

fn on_mlx(name: &str) {
    let config = config(&format!("{name}-tiny"), Engine::Mlx);
    let mut model = colqwen::open_mlx(&config).unwrap();
    let pages = prepared(&embed::card(&config).unwrap().prepare);
    let taps = model.activations(&patches(&pages)).unwrap();
    let mut inside = Inside {
        taps: BTreeMap::new(),
        order: Vec::new(),
    };
    for hook in &taps {
        if hook.name == "vit.order" {
            let back: Vec<u32> = hook.values.iter().map(|&row| row as u32).collect();
            inside.order = turned(&back);
        } else {
            inside
                .taps
                .insert(key(hook.name, hook.number), cut(&hook.values, hook.width));
        }
    }
    compare_inside(name, &inside);
}

#[test]
fn colqwen2_5_on_mlx_equals_the_reference_inside() {
    on_mlx("colqwen2.5");
}

#[test]
fn colqwen2_on_mlx_equals_the_reference_inside() {
    on_mlx("colqwen2");
}

#[test]
fn a_page_in_a_batch_equals_the_page_alone_on_mlx() {
    for name in ["colqwen2.5-tiny", "colqwen2-tiny"] {
        let config = config(name, Engine::Mlx);
        let mut model = colqwen::open_mlx(&config).unwrap();
        let pages = prepared(&embed::card(&config).unwrap().prepare);
        let all = [0, 1, 0, 0, 1].map(|i: usize| pages[i].clone());
        model.set_chunk_size(usize::MAX);
        let together = model.embed_pages(&all).unwrap();
        model.set_chunk_size(1);
        for (alone, together) in model.embed_pages(&all).unwrap().iter().zip(together) {
            let (alone, together) = (alone.as_ref().unwrap(), together.unwrap());
            let alone = cut(alone.vectors.as_slice(), 128);
            assert!(differ(&together.vectors, &alone) <= EXACT);
        }
    }
}
