//! Protobuf messages of Weaviate's gRPC API, hand-written: the used fields of `grpc/proto/v1/*.proto` (v1.39.3). Field
//! numbers never change, so newer servers accept them.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

/// `ConsistencyLevel`: a majority of the replicas of a page.
pub(super) const QUORUM: i32 = 2;
/// `Vectors.VectorType`: u16 little-endian width, then all rows, f32 little-endian.
pub(super) const MULTI_FP32: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchObjectsRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) objects: Vec<BatchObject>,
    #[prost(int32, optional, tag = "2")]
    pub(super) consistency_level: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchObject {
    #[prost(string, tag = "1")]
    pub(super) uuid: String,
    #[prost(message, optional, tag = "3")]
    pub(super) properties: Option<BatchProperties>,
    #[prost(string, tag = "4")]
    pub(super) collection: String,
    #[prost(string, tag = "5")]
    pub(super) tenant: String,
    #[prost(message, repeated, tag = "23")]
    pub(super) vectors: Vec<Vectors>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchProperties {
    #[prost(message, optional, tag = "1")]
    pub(super) non_ref_properties: Option<Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) fields: BTreeMap<String, JsonValue>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct JsonValue {
    #[prost(oneof = "Json", tags = "1, 2, 3, 4")]
    pub(super) kind: Option<Json>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Json {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Vectors {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) vector_bytes: Vec<u8>,
    #[prost(int32, tag = "4")]
    pub(super) kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchObjectsReply {
    #[prost(message, repeated, tag = "2")]
    pub(super) errors: Vec<BatchError>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchError {
    #[prost(int32, tag = "1")]
    pub(super) index: i32,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Filters {
    #[prost(int32, tag = "1")]
    pub(super) operator: i32,
    #[prost(message, repeated, tag = "3")]
    pub(super) filters: Vec<Filters>,
    #[prost(oneof = "Operand", tags = "4, 5, 6, 10")]
    pub(super) value: Option<Operand>,
    #[prost(message, optional, tag = "20")]
    pub(super) target: Option<FilterTarget>,
}

/// `Filters.Operator`.
pub(super) mod operator {
    pub(in super::super) const EQUAL: i32 = 1;
    pub(in super::super) const GREATER: i32 = 3;
    pub(in super::super) const AT_LEAST: i32 = 4;
    pub(in super::super) const AT_MOST: i32 = 6;
    pub(in super::super) const AND: i32 = 7;
    pub(in super::super) const OR: i32 = 8;
    pub(in super::super) const CONTAINS_ANY: i32 = 12;
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Operand {
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(int64, tag = "5")]
    Int(i64),
    #[prost(bool, tag = "6")]
    Bool(bool),
    #[prost(message, tag = "10")]
    Ints(IntArray),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IntArray {
    #[prost(int64, repeated, tag = "1")]
    pub(super) values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FilterTarget {
    #[prost(string, tag = "1")]
    pub(super) property: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SearchRequest {
    #[prost(string, tag = "1")]
    pub(super) collection: String,
    #[prost(string, tag = "10")]
    pub(super) tenant: String,
    #[prost(message, optional, tag = "20")]
    pub(super) properties: Option<PropertiesRequest>,
    #[prost(message, optional, tag = "21")]
    pub(super) metadata: Option<MetadataRequest>,
    #[prost(uint32, tag = "30")]
    pub(super) limit: u32,
    #[prost(message, repeated, tag = "34")]
    pub(super) sort_by: Vec<SortBy>,
    #[prost(message, optional, tag = "40")]
    pub(super) filters: Option<Filters>,
    #[prost(message, optional, tag = "42")]
    pub(super) bm25: Option<Bm25>,
    #[prost(message, optional, tag = "43")]
    pub(super) near_vector: Option<NearVector>,
    #[prost(bool, tag = "102")]
    pub(super) uses_127_api: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertiesRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) non_ref_properties: Vec<String>,
    #[prost(bool, tag = "11")]
    pub(super) return_all_nonref_properties: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataRequest {
    #[prost(bool, tag = "5")]
    pub(super) distance: bool,
    #[prost(bool, tag = "7")]
    pub(super) score: bool,
    #[prost(string, repeated, tag = "10")]
    pub(super) vectors: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SortBy {
    #[prost(bool, tag = "1")]
    pub(super) ascending: bool,
    #[prost(string, repeated, tag = "2")]
    pub(super) path: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bm25 {
    #[prost(string, tag = "1")]
    pub(super) query: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) properties: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NearVector {
    #[prost(message, optional, tag = "6")]
    pub(super) targets: Option<Targets>,
    #[prost(message, repeated, tag = "9")]
    pub(super) vectors: Vec<Vectors>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Targets {
    #[prost(string, repeated, tag = "1")]
    pub(super) target_vectors: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SearchReply {
    #[prost(message, repeated, tag = "2")]
    pub(super) results: Vec<SearchResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SearchResult {
    #[prost(message, optional, tag = "1")]
    pub(super) properties: Option<PropertiesResult>,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<MetadataResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataResult {
    #[prost(float, tag = "7")]
    pub(super) distance: f32,
    #[prost(float, tag = "11")]
    pub(super) score: f32,
    #[prost(message, repeated, tag = "23")]
    pub(super) vectors: Vec<Vectors>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertiesResult {
    #[prost(message, optional, tag = "11")]
    pub(super) non_ref_props: Option<Properties>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Properties {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) fields: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(oneof = "Kind", tags = "1, 3, 8, 13")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    #[prost(double, tag = "1")]
    Number(f64),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(int64, tag = "8")]
    Int(i64),
    #[prost(string, tag = "13")]
    Text(String),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AggregateRequest {
    #[prost(string, tag = "1")]
    pub(super) collection: String,
    #[prost(string, tag = "10")]
    pub(super) tenant: String,
    #[prost(bool, tag = "20")]
    pub(super) objects_count: bool,
    #[prost(message, repeated, tag = "21")]
    pub(super) aggregations: Vec<Aggregation>,
    #[prost(message, optional, tag = "40")]
    pub(super) filters: Option<Filters>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Aggregation {
    #[prost(string, tag = "1")]
    pub(super) property: String,
    #[prost(message, optional, tag = "2")]
    pub(super) int: Option<IntAggregation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IntAggregation {
    #[prost(bool, tag = "3")]
    pub(super) sum: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AggregateReply {
    #[prost(message, optional, tag = "2")]
    pub(super) single_result: Option<Single>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Single {
    #[prost(int64, optional, tag = "1")]
    pub(super) objects_count: Option<i64>,
    #[prost(message, optional, tag = "2")]
    pub(super) aggregations: Option<Aggregations>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Aggregations {
    #[prost(message, repeated, tag = "1")]
    pub(super) aggregations: Vec<Aggregated>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Aggregated {
    #[prost(string, tag = "1")]
    pub(super) property: String,
    #[prost(message, optional, tag = "2")]
    pub(super) int: Option<IntAggregated>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IntAggregated {
    #[prost(int64, optional, tag = "8")]
    pub(super) sum: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchDeleteRequest {
    #[prost(string, tag = "1")]
    pub(super) collection: String,
    #[prost(message, optional, tag = "2")]
    pub(super) filters: Option<Filters>,
    #[prost(int32, optional, tag = "5")]
    pub(super) consistency_level: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub(super) tenant: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchDeleteReply {
    #[prost(int64, tag = "2")]
    pub(super) failed: i64,
    #[prost(int64, tag = "4")]
    pub(super) successful: i64,
}
