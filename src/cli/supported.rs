//! Which command supports which global options.

/// The options of every command that reads settings.
const ALWAYS_SUPPORTED: [&str; 3] = ["config", "quiet", "verbose"];
/// The other options of each command, by clap id. `ingest FILE` supports all; commands not listed here support none.
const SUPPORTED: &[(&str, &[&str])] = &[
    (
        "search",
        &[
            "store",
            "json",
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
        ],
    ),
    (
        "show",
        &[
            "store",
            "json",
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
        ],
    ),
    ("list", &["store", "json", "model", "pool_factor"]),
    ("remove", &["store", "model", "pool_factor"]),
    ("sync", &["store", "json", "model", "pool_factor"]),
    ("describe", &["store", "queue", "json", "model", "profile"]),
    (
        "ask",
        &["store", "json", "model", "profile", "engine", "device"],
    ),
    (
        "embed",
        &[
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
            "batch_size",
        ],
    ),
    (
        "models",
        &["store", "json", "model", "profile", "engine", "device"],
    ),
    (
        "serve",
        &[
            "store",
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
            "batch_size",
        ],
    ),
    ("mcp", &["store", "profile", "engine", "device"]),
    (
        "work",
        &[
            "store",
            "queue",
            "json",
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
            "batch_size",
        ],
    ),
    ("queue status", &["queue", "json"]),
    ("queue cancel", &["queue"]),
    ("queue clean", &["queue"]),
    ("bench", &ALL_OPTIONS),
    ("bench describe", &["store", "json", "profile"]),
    ("eval", &ALL_OPTIONS),
    (
        "eval ask",
        &["store", "json", "model", "profile", "engine", "device"],
    ),
    ("check", &ALL_OPTIONS),
];
/// All options that are not in [`ALWAYS_SUPPORTED`].
const ALL_OPTIONS: [&str; 8] = [
    "store",
    "json",
    "model",
    "pool_factor",
    "profile",
    "engine",
    "device",
    "batch_size",
];

/// Whether a command, given by its names after `ingest`, supports an option.
pub(super) fn supports(command: &str, option: &str) -> bool {
    let supported = SUPPORTED.iter().find(|(name, _)| *name == command);
    supported
        .is_some_and(|(_, options)| ALWAYS_SUPPORTED.contains(&option) || options.contains(&option))
}
