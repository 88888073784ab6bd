//! The contract on a real Weaviate server: both indices, and multi-tenancy.

use ingest::store::{Address, Config, Index};

use crate::check_contract;
use crate::fixtures::{prepared, profile};
use crate::support;

/// A collection on the shared server.
pub(crate) fn config(collection: &str) -> Config {
    let url = Address::Servers(vec![support::shared().url()]);
    Config {
        collection: collection.to_owned(),
        ..Config::new(url)
    }
}

#[test]
fn weaviate_meets_the_contract() {
    check_contract(&|name| prepared(&config(&format!("Raw_{name}")), &profile()).store);
}

#[test]
fn weaviate_with_muvera_meets_the_contract() {
    check_contract(&|name| {
        let config = Config {
            index: Some(Index::Muvera),
            ..config(&format!("Muvera_{name}"))
        };
        prepared(&config, &profile()).store
    });
}

#[test]
fn weaviate_with_tenants_meets_the_contract() {
    check_contract(&|name| {
        let config = Config {
            tenant: format!("tenant-{name}"),
            ..config("Shared")
        };
        prepared(&config, &profile()).store
    });
}
