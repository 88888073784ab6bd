//! The recommended embedding model of a machine.

use super::{Compute, KnownModel};

/// Most operations of a page on a CPU, in 10^12: about five seconds on eight cores.
const CPU_TERAFLOPS: f64 = 4.0;
/// Most bytes of the vectors of a page: a thousand pages take a gigabyte.
const PAGE_BYTES: u64 = 1_000_000;

/// The model that finds most on a device, of those that leave half of its `memory` free; `None` if none does. With
/// `commercial`, only models whose licence allows commercial use.
pub fn recommended<'m>(
    models: &'m [KnownModel],
    compute: &Compute,
    memory: u64,
    commercial: bool,
) -> Option<&'m KnownModel> {
    let fits = |model: &&KnownModel| {
        let is_small = |bytes: u64| bytes <= PAGE_BYTES;
        let is_fast = |teraflops: f64| compute.is_gpu || teraflops <= CPU_TERAFLOPS;
        (model.commercial || !commercial)
            && model.parameters * compute.bytes_per_parameter <= memory / 2
            && model.page_bytes.is_some_and(|bytes| is_small(bytes.0))
            && model.page_teraflops.is_some_and(is_fast)
    };
    let scored = |model: &&KnownModel| model.nano_vidore_v3.is_some();
    models.iter().filter(fits).filter(scored).max_by(|a, b| {
        a.nano_vidore_v3
            .partial_cmp(&b.nano_vidore_v3)
            .unwrap_or(std::cmp::Ordering::Equal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_model_that_fits_is_recommended() {
        let models = super::super::models();
        let name = |is_gpu, gb: u64, commercial| {
            let compute = Compute {
                device: String::new(),
                bytes_per_parameter: 2,
                is_gpu,
                own_memory: None,
            };
            let model = recommended(&models, &compute, gb * 1_000_000_000, commercial);
            model.map(|model| model.model.as_str())
        };
        for (is_gpu, gb, commercial, expected) in [
            (false, 8, false, None),
            (
                false,
                32,
                false,
                Some("VAGOsolutions/SauerkrautLM-ColQwen3-2b-v0.1"),
            ),
            (
                false,
                512,
                false,
                Some("VAGOsolutions/SauerkrautLM-ColQwen3-2b-v0.1"),
            ),
            (
                true,
                12,
                true,
                Some("VAGOsolutions/SauerkrautLM-ColQwen3-2b-v0.1"),
            ),
            (
                true,
                16,
                false,
                Some("tsystems/colqwen2.5-3b-multilingual-v1.0"),
            ),
            (true, 24, true, Some("TomoroAI/tomoro-colqwen3-embed-4b")),
            (true, 256, true, Some("TomoroAI/tomoro-colqwen3-embed-8b")),
        ] {
            assert_eq!(
                name(is_gpu, gb, commercial),
                expected,
                "{is_gpu}, {gb}, {commercial}"
            );
        }
    }
}
