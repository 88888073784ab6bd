//! The contract on a real server: both indexes, and a server that many tenants share.

use ingest::store::{Address, Config, Index};

use crate::fixtures::{prepared, profile};
use crate::keeps_the_contract;
use crate::support;

fn config(collection: &str) -> Config {
    let url = Address::Servers(vec![support::shared().url()]);
    Config {
        collection: collection.to_owned(),
        ..Config::new(url)
    }
}

#[test]
fn weaviate_keeps_the_contract() {
    keeps_the_contract(&|name| prepared(&config(&format!("Raw_{name}")), &profile()).store);
}

#[test]
fn weaviate_keeps_the_contract_with_muvera() {
    keeps_the_contract(&|name| {
        let config = Config {
            index: Some(Index::Muvera),
            ..config(&format!("Muvera_{name}"))
        };
        prepared(&config, &profile()).store
    });
}

#[test]
fn weaviate_keeps_the_contract_for_a_tenant() {
    keeps_the_contract(&|name| {
        let config = Config {
            tenant: format!("tenant-{name}"),
            ..config("Shared")
        };
        prepared(&config, &profile()).store
    });
}
