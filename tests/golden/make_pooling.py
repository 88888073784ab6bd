"""Pools multi-vectors with colpali-engine's HierarchicalTokenPooler; `tests/pooling.rs` compares.

    ingest embed manuals/heat-pump-service-manual.pdf --pages 20 --out page.safetensors
    python make_pooling.py page.safetensors

Writes `pooling.safetensors` beside this file: for the first 300 rows of that page, and for each page of the tiny
ColQwen2.5, the rows, and for factors 2, 3 and 4 the cluster of each row and the pooled rows.
"""
import pathlib, sys
import torch
from colpali_engine.compression import HierarchicalTokenPooler
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
pages = {"manual": next(iter(load_file(sys.argv[1]).values()))[:300]}
tiny = load_file(HERE / "colqwen2.5.safetensors")
pages |= {f"tiny{i}": tiny[f"alone.{i}"][0] for i in range(2)}
made = {}
for name, page in pages.items():
    made[f"{name}.rows"] = page.half()
    for factor in (2, 3, 4):
        pooled = HierarchicalTokenPooler().pool_embeddings([page.half().float()], pool_factor=factor, return_dict=True)
        clusters = torch.full((len(page),), -1, dtype=torch.int32)
        for cluster, (rows,) in pooled.cluster_id_to_indices[0].items():
            clusters[rows] = cluster
        made[f"{name}.{factor}.clusters"] = clusters.to(torch.uint32)
        made[f"{name}.{factor}.pooled"] = pooled.pooled_embeddings[0]
save_file(made, HERE / "pooling.safetensors")
