//! What a client is told and what it answers, as JSON; `bench/compare/compiled.py` writes and reads them.

use serde::{Deserialize, Serialize};

/// What is called, or the kind of the stream.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Echo,
    Mul,
    Record,
    ServerStream,
    ClientStream,
    BothWays,
}

/// What one client process is to do.
#[derive(Deserialize)]
pub struct Order {
    pub address: String,
    pub operation: Operation,
    pub payload_bytes: usize,
    pub in_flight: usize,
    /// How many calls are due in a second, in an open loop; 0: a closed loop.
    pub rate: u32,
    pub sample_every: usize,
    pub warm_seconds: f64,
    pub seconds: f64,
    /// Those whose processor time is read at both ends of the window.
    pub server_processes: Vec<i32>,
    pub record: Record,
    /// How to call, for peers that know several ways.
    #[serde(default)]
    pub protocol: String,
}

/// The values of the typed record that is built for each call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: i64,
    pub name: String,
    pub score: f64,
    pub tags: Vec<String>,
}

/// What a client saw between the start and the end of its window.
#[derive(Serialize)]
pub struct Measurement {
    pub calls: u64,
    pub seconds: f64,
    pub client_cpu_seconds: f64,
    pub server_cpu_seconds: f64,
    pub p50_seconds: f64,
    pub p99_seconds: f64,
    pub p999_seconds: f64,
    pub samples: usize,
}
