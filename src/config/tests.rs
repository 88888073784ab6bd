//! Tests of the settings.

use super::*;
use crate::embed::meaning::Model;

fn with(toml: &str) -> Result<Settings, Error> {
    let mut layers = Layers::new()?;
    layers.merge("ingest.toml".into(), toml.parse().unwrap())?;
    layers.settings("x")?.validated()
}

#[test]
fn defaults_come_from_the_shipped_file() {
    let settings = with("").unwrap();
    assert_eq!(
        (settings.embed.model.as_str(), settings.render.dpi),
        ("built-in", 150)
    );
    assert_eq!(settings.embed.max_visual_tokens, None);
}

#[test]
fn later_layers_override_and_unknown_keys_suggest_the_nearest() {
    assert_eq!(with("[search]\ncount = 9").unwrap().search.count, 9);
    let error = with("[embed]\nmodle = \"x\"").unwrap_err().to_string();
    assert_eq!(
        error,
        "ingest.toml: there is no setting `embed.modle`; did you mean `embed.model`?"
    );
    assert!(
        with("[search]\nmode = 3")
            .unwrap_err()
            .to_string()
            .starts_with("ingest.toml: ")
    );
    assert!(with("[limits]\nmemory_fraction = 1.5").is_err());
}

#[test]
fn profile_overrides_the_limits() {
    let mut layers = Layers::new().unwrap();
    layers.profile("studio").unwrap();
    let limits = layers.settings("x").unwrap().limits;
    assert_eq!(
        (limits.batch_size, limits.memory_limit),
        (32, ByteSize(40_000_000_000))
    );
    assert!(
        layers
            .profile("atelier")
            .unwrap_err()
            .to_string()
            .contains("studio")
    );
    layers
        .merge(
            "ingest.toml".into(),
            "[profile.mine]\nbatch_size = 7".parse().unwrap(),
        )
        .unwrap();
    layers.profile("mine").unwrap();
    assert_eq!(layers.settings("x").unwrap().limits.batch_size, 7);
}

#[test]
fn variables_set_the_key_in_their_name() {
    let mut layers = Layers::new().unwrap();
    layers.variable("INGEST_EMBED_MODEL", "tiny").unwrap();
    layers
        .variable("INGEST_RENDER_MAX_MEGAPIXELS", "8")
        .unwrap();
    layers.variable("INGEST_ACCEPT", "1").unwrap();
    layers
        .variable("INGEST_STORE_KEY_OVER_HTTP", "true")
        .unwrap();
    let settings = layers.settings("x").unwrap();
    assert_eq!(
        (
            settings.embed.model.as_str(),
            settings.render.max_megapixels
        ),
        ("tiny", 8)
    );
    assert!(settings.store.key_over_http);
    assert!(layers.variable("INGEST_EMBED_MODLE", "tiny").is_err());
}

#[test]
fn invalid_settings_of_the_server_are_refused() {
    for (line, key) in [
        ("base = 'manuals'", "serve.base"),
        ("base = '/a\"b'", "serve.base"),
        ("origins = ['wiki.example']", "serve.origins"),
        ("origins = ['https://wiki.example/x']", "serve.origins"),
        ("address = 'localhost'", "address"),
    ] {
        let error = with(&format!("[serve]\n{line}")).unwrap_err();
        assert!(error.to_string().contains(key), "{line}: {error}");
    }
    let served = with("[serve]\nbase = '/manuals/'\norigins = ['http://a:1']");
    assert_eq!(served.unwrap().serve.base, "/manuals/");
}

#[test]
fn golden_file_sets_every_field_of_answers_and_the_server() {
    let settings = with(include_str!("../../tests/golden/ingest.toml")).unwrap();
    let search = search::Config {
        mode: search::Mode::Visual,
        count: 7,
    };
    assert_eq!(settings.search, search);
    let serve = Serve {
        address: "[::]:7000".parse().unwrap(),
        hosts: vec!["manuals.example".to_owned()],
        origins: vec!["https://wiki.example".to_owned()],
        folders: vec!["/srv/manuals".into()],
        base: "/manuals".to_owned(),
        key_file: Some("/etc/ingest/serve.key".into()),
        max_upload: ByteSize(2_000_000_000),
        cache: ByteSize(1_000_000_000),
    };
    assert_eq!(settings.serve, serve);
    let ask = answer::Config {
        pages: 2,
        max_tokens: 602,
    };
    assert_eq!(settings.ask, ask);
}

#[test]
fn golden_file_sets_every_field_of_the_queue() {
    let settings = with(include_str!("../../tests/golden/ingest.toml")).unwrap();
    let queue = queue::Config {
        url: "nats://127.0.0.1:4222,tls://node-2:4222".parse().unwrap(),
        key_file: Some("/etc/ingest/queue.key".into()),
        key_over_plain: true,
        ca_file: Some("/etc/ssl/own-ca.pem".into()),
        replicas: 3,
        files: queue::FileAccess::Shared,
        keep: ByteSize(60_000_000_000),
        cache: "/var/cache/ingest".into(),
        cache_limit: ByteSize(30_000_000_000),
        lease_s: 90,
    };
    assert_eq!(settings.queue, queue);
}

#[test]
fn meaning_is_off_on_or_multilingual() {
    for (value, expected) in [
        ("false", None),
        ("true", Some(Model::English)),
        ("multilingual", Some(Model::Multilingual)),
    ] {
        let mut layers = Layers::new().unwrap();
        layers.variable("INGEST_EMBED_MEANING", value).unwrap();
        let settings = layers.settings("x").unwrap();
        assert_eq!(settings.embed.meaning, expected);
        let written = toml::to_string(&settings.embed).unwrap();
        let read: embed::Config = toml::from_str(&written).unwrap();
        assert_eq!(read, settings.embed);
    }
    let refused = with("[embed]\nmeaning = \"dutch\"").unwrap_err();
    let expected = "true, false or \"multilingual\"";
    assert!(refused.to_string().contains(expected), "{refused}");
}

#[test]
fn golden_file_sets_every_field() {
    let mut settings = with(include_str!("../../tests/golden/ingest.toml")).unwrap();
    let nodes = ["http://127.0.0.1:8080", "https://node-2:8443"];
    assert_eq!(
        settings.store,
        store::Config {
            url: store::Address::Servers(nodes.map(str::to_owned).to_vec()),
            limit: Some(ByteSize(50_000_000_000)),
            precision: Some(store::Precision::Int8),
            first_stage: Some(4),
            collection: "Shelf".to_owned(),
            tenant: String::new(),
            expected_pages: 7000,
            index: Some(store::Index::Raw),
            quantiser: Some(store::Quantiser::Rq8),
            replication: Some(3),
            shards: Some(2),
            key_file: Some("/etc/ingest/weaviate.key".into()),
            key_over_http: true,
            ca_file: Some("/etc/ssl/own-ca.pem".into()),
            timeout_s: 61,
        }
    );
    assert_eq!(
        settings.embed,
        embed::Config {
            model: "vidore/colqwen2.5-v0.2".to_owned(),
            engine: embed::Engine::Mlx,
            device: embed::Device::Metal,
            max_visual_tokens: Some(768),
            pool_factor: 3,
            width: Some(320),
            meaning: Some(Model::English),
        }
    );
    let command = ["python", "-m", "mlx_vlm.server"];
    assert_eq!(
        settings.describe,
        vlm::Config {
            runner: vlm::RunnerKind::Openai,
            url: "http://127.0.0.1:9000".to_owned(),
            model: "qwen".to_owned(),
            lanes: 2,
            interleave: 3,
            megapixels: 1.5,
            max_tokens: 601,
            deadline_s: 181,
            attempts: 4,
            key_over_http: true,
            command: command.map(str::to_owned).to_vec(),
            unload_every: 500,
            canary_every: 51,
        }
    );
    assert_eq!(
        settings.render,
        render::Config {
            dpi: 151,
            max_megapixels: 17,
            workers: 5,
            deadline_s: 31,
            worker_memory: ByteSize(5_000_000_000),
        }
    );
    // Part of the origin of every stored page.
    let profile = "pdfium-8149 v2 151 dpi, at most 17 MP";
    assert_eq!(settings.render.profile(), profile);
    let limits = Limits {
        batch_size: 6,
        memory_fraction: 0.7,
        memory_limit: ByteSize(30 << 30),
    };
    assert_eq!(settings.limits, limits);
    let mine = settings.profiles.remove("mine").unwrap();
    assert_eq!(mine["memory_limit"], Value::Integer(1024));
}

#[test]
fn invalid_settings_of_the_queue_are_refused_and_its_defaults_are_the_shipped_ones() {
    let shipped = with("").unwrap().queue;
    assert_eq!(shipped, queue::Config::new(queue::Servers::default()));
    let error = |toml| with(toml).unwrap_err().to_string();
    assert_eq!(
        error("[queue]\nreplicas = 2"),
        "queue.replicas: must be 1, 3 or 5"
    );
    let why = error("[queue]\nurl = \"nats://me:secret@host\"");
    assert!(!why.contains("secret"), "{why}");
    assert!(why.contains("INGEST_QUEUE_KEY"), "{why}");
}
