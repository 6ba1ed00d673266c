//! volo-thrift as a peer, with generated code and its defaults, multiplexed: all calls on one connection.

use std::net::SocketAddr;
use std::process::ExitCode;

use load::{Caller, Failure, Measurement, Operation, Order, Peer, drive};
use pilota::{Bytes, FastStr};
use tokio::net::TcpListener;
use volo::net::incoming::DefaultIncoming;
use volo_thrift::ServerError;

use generated::bench::{Bench, BenchClient, BenchClientBuilder, BenchServer, Record};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/volo_gen.rs"));
    pub use volo_gen::bench;
}

fn main() -> ExitCode {
    load::run::<VoloThrift>()
}

struct VoloThrift;

impl Peer for VoloThrift {
    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        BenchServer::new(Server).multiplex(true).run(DefaultIncoming::from(listener)).await
    }

    async fn load(order: &Order) -> Result<Measurement, Failure> {
        let address: SocketAddr = order.address.parse()?;
        let client = BenchClientBuilder::new("bench").address(address).multiplex(true).build();
        match order.operation {
            Operation::Echo => drive(order, EchoCaller(client, vec![b'x'; order.payload_bytes].into())).await,
            Operation::Mul => drive(order, MulCaller(client)).await,
            Operation::Record => drive(order, RecordCaller(client, order.record.clone())).await,
            _ => Err("volo-thrift has no streams".into()),
        }
    }
}

struct Server;

impl Bench for Server {
    async fn echo(&self, payload: Bytes) -> Result<Bytes, ServerError> {
        Ok(payload)
    }

    async fn mul(&self, a: i64, b: i64) -> Result<i64, ServerError> {
        Ok(a * b)
    }

    async fn record(&self, record: Record) -> Result<Record, ServerError> {
        Ok(record)
    }
}

#[derive(Clone)]
struct EchoCaller(BenchClient, Bytes);

impl Caller for EchoCaller {
    type Answer = Bytes;

    async fn call(&mut self) -> Result<Bytes, Failure> {
        Ok(self.0.echo(self.1.clone()).await?)
    }

    fn is_right(&self, answer: Bytes) -> bool {
        answer == self.1
    }
}

#[derive(Clone)]
struct MulCaller(BenchClient);

impl Caller for MulCaller {
    type Answer = i64;

    async fn call(&mut self) -> Result<i64, Failure> {
        Ok(self.0.mul(6, 7).await?)
    }

    fn is_right(&self, answer: i64) -> bool {
        answer == 42
    }
}

#[derive(Clone)]
struct RecordCaller(BenchClient, load::Record);

impl Caller for RecordCaller {
    type Answer = Record;

    async fn call(&mut self) -> Result<Record, Failure> {
        Ok(self.0.record(built(&self.1)).await?)
    }

    fn is_right(&self, answer: Record) -> bool {
        answer == built(&self.1)
    }
}

/// Fields without `required` are optional there.
fn built(record: &load::Record) -> Record {
    Record {
        id: Some(record.id),
        name: Some(FastStr::new(&record.name)),
        score: Some(record.score),
        tags: Some(record.tags.iter().map(FastStr::new).collect()),
    }
}
