//! Interoperation with Weaviate's official Python client: each side reads what the other wrote.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use ingest::page::{ManualId, PageId};
use ingest::store::{
    Config, ManualCard, Scope, StoredPage, TextField, TextUpdate, TopK, VectorUpdate,
};
use ingest::vectors::MultiVector;
use serde_json::{Value, json};

use crate::fixtures::{DIM, all, page, prepared, profile, put, rows, upsert_manual, vectors};
use crate::library::{config, reader};
use crate::server::{shared, tool};

/// Connects; defines `pages`, `manuals` and `given`.
const PROLOGUE: &str = r#"
import json, sys
import numpy as np
import weaviate
from weaviate.classes.query import Filter, MetadataQuery
from weaviate.util import generate_uuid5

port, grpc, collection, given = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.load(open(sys.argv[4]))
client = weaviate.connect_to_local(port=port, grpc_port=grpc)
pages = client.collections.use(collection)
manuals = client.collections.use(collection + "Manual")

def max_sim(query, rows):
    return float((np.array(query, dtype=np.float32) @ np.array(rows, dtype=np.float32).T).max(1).sum())
"#;

fn run_client(config: &Config, script: &str, given: &Value) -> Value {
    let server = shared();
    let (port, grpc) = (server.port().to_string(), server.grpc_port().to_string());
    let script = format!("{PROLOGUE}{script}\nclient.close()\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), given.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let output = python(&script, &[&port, &grpc, &config.collection, path]);
    serde_json::from_str(output.lines().last().unwrap_or_default())
        .unwrap_or_else(|e| panic!("{e}: {output}"))
}

/// Runs a Python script with the official client; returns its stdout.
fn python(script: &str, arguments: &[&str]) -> String {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let done = Command::new(PYTHON.get_or_init(|| tool("python.sh")))
        .args(["-c", script])
        .args(arguments)
        .env("no_proxy", "127.0.0.1,localhost")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{error}");
    String::from_utf8(done.stdout).unwrap()
}

fn floats(vectors: &MultiVector) -> Vec<&[f32]> {
    vectors.rows().collect()
}

fn page_json(page: &StoredPage) -> Value {
    let VectorUpdate::Replace(reply) = &page.vectors else {
        panic!("no vectors");
    };
    json!({"id": page.id.uuid().to_string(), "rows": floats(&reply.vectors), "text": page.text, "number": page.id.number})
}

#[test]
fn official_client_reads_our_pages() {
    let config = config(&shared().url());
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let stored: Vec<StoredPage> = (1..=60)
        .map(|n| page("pump.pdf", n, &format!("Fault E-{n} of the pump")))
        .collect();
    put(store.as_ref(), &stored);
    let query = rows(7, DIM, 99);
    let given =
        json!({"query": floats(&query), "pages": stored.iter().map(page_json).collect::<Vec<_>>()});
    let reply = run_client(
        &config,
        r#"
wanted = {page["id"]: page for page in given["pages"]}
count = pages.aggregate.over_all(total_count=True).total_count
worst = 0.0
for item in pages.iterator(include_vector=True):
    page = wanted.pop(str(item.uuid))
    theirs, ours = np.array(item.vector["colqwen"], dtype=np.float32), np.array(page["rows"], dtype=np.float32)
    assert theirs.shape == ours.shape and item.properties["text"] == page["text"], item
    assert item.properties["page_number"] == page["number"] and item.properties["manual"] == "pump.pdf"
    worst = max(worst, float(abs(theirs - ours).max()))
near = pages.query.near_vector(given["query"], target_vector="colqwen", limit=60, return_metadata=MetadataQuery(distance=True))
distances = [[o.properties["page_number"], o.metadata.distance, max_sim(given["query"], wanted_rows)]
             for o in near.objects
             for wanted_rows in [next(p["rows"] for p in given["pages"] if p["id"] == str(o.uuid))]]
words = [o.properties["page_number"] for o in pages.query.bm25("E-17", limit=1).objects]
names = [o.properties["name"] for o in manuals.iterator()]
print(json.dumps({"count": count, "left": len(wanted), "worst": worst, "distances": distances, "words": words, "names": names}))
"#,
        &given,
    );
    assert_eq!(
        (&reply["count"], &reply["left"], &reply["worst"]),
        (&json!(60), &json!(0), &json!(0.0))
    );
    assert_eq!(
        (&reply["words"], &reply["names"]),
        (&json!([17]), &json!(["pump.pdf"]))
    );
    let distances = reply["distances"].as_array().unwrap();
    let hits = store
        .visual(&query, &Scope::default(), TopK::new(60))
        .unwrap();
    assert_eq!((distances.len(), hits.len()), (60, 60));
    for (theirs, ours) in distances.iter().zip(&hits) {
        assert_eq!(theirs[0], ours.id.number);
        for score in [-theirs[1].as_f64().unwrap(), theirs[2].as_f64().unwrap()] {
            assert!(
                (score - f64::from(ours.score)).abs() < 1e-4,
                "{theirs} {}",
                ours.score
            );
        }
    }
}

#[test]
fn pages_of_the_official_client_are_read() {
    let config = config(&shared().url());
    let store = prepared(&config, &profile()).store;
    let id = PageId::new(&ManualId::new("theirs.pdf"), 3);
    let made = vectors(9, DIM, 5);
    let given = json!({"id": id.uuid().to_string(), "rows": floats(&made.vectors)});
    run_client(
        &config,
        r#"
import base64
cells = np.array([65535] + list(range(1, 9)), dtype="<u2").tobytes()
pages.data.insert(uuid=given["id"], vector={"colqwen": given["rows"]}, properties={
    "manual": "theirs.pdf", "page_number": 3, "text": "Ölstand prüfen", "label": "iii", "blank": False, "rows": 9,
    "origin": "o", "content": "c", "grid_columns": 7, "grid_rows": 11,
    "places": base64.b64encode(cells).decode(), "thumbnail": base64.b64encode(b"jpeg").decode()})
print(json.dumps(None))
"#,
        &given,
    );
    // The record of the manual is written by our store.
    store
        .upsert_manual(&ManualCard {
            id: id.manual.clone(),
            path: "/theirs.pdf".into(),
            file: "f".into(),
            render: "r".into(),
            pages: 3,
        })
        .unwrap();
    let expected = StoredPage {
        id: id.clone(),
        origin: "o".into(),
        content: "c".into(),
        label: Some("iii".into()),
        section: None,
        text: "Ölstand prüfen".into(),
        description: None,
        blank: false,
        thumbnail: b"jpeg".to_vec(),
        vectors: VectorUpdate::Replace(made),
        text_vectors: TextUpdate::Keep,
    };
    let read = reader(&config).store;
    assert_eq!(all(read.as_ref()), [expected]);
    assert_eq!(read.manuals().unwrap()[0].stored, 1);
    let found = read
        .text(
            TextField::TextLayer,
            "olstand",
            &Scope::default(),
            TopK::new(3),
        )
        .unwrap();
    assert_eq!(found[0].id, id);
}

#[test]
fn description_update_by_the_official_client_keeps_vectors() {
    let config = config(&shared().url());
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let first = page("pump.pdf", 1, "before");
    put(store.as_ref(), std::slice::from_ref(&first));
    let given = json!({"id": first.id.uuid().to_string()});
    let patch = r#"
pages.data.update(uuid=given["id"], properties={"description": "An exploded view of the pump"})
print(json.dumps(None))
"#;
    run_client(&config, patch, &given);
    let described = StoredPage {
        description: Some("An exploded view of the pump".into()),
        ..first.clone()
    };
    assert_eq!(all(store.as_ref()), [described]);
    // A text update of ours keeps vectors and description.
    let second = StoredPage {
        text: "after".into(),
        vectors: VectorUpdate::Keep,
        ..first.clone()
    };
    put(store.as_ref(), &[second]);
    let reply = run_client(
        &config,
        r#"
page = pages.query.fetch_object_by_id(given["id"], include_vector=True)
print(json.dumps([page.properties["description"], page.properties["text"], len(page.vector["colqwen"])]))
"#,
        &given,
    );
    let VectorUpdate::Replace(new) = &first.vectors else {
        panic!("no vectors");
    };
    assert_eq!(
        reply,
        json!(["An exploded view of the pump", "after", new.vectors.len()])
    );
}
