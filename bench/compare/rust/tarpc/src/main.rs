//! tarpc with bincode as a peer.
//!
//! Set are TCP_NODELAY, which tarpc leaves to the system, the largest message, and the lengths of its queues: with
//! the defaults of 100, callers beyond that many would wait before their call is even sent. Deadlines are on, as they always are in tarpc.
//! Each call is served by a task of its own, as tarpc's documentation has it, so that no handler holds up another.

use std::io;
use std::process::ExitCode;

use bytes::Bytes;
use futures::StreamExt;
use load::{Caller, Failure, Measurement, Operation, Order, Peer, Record, drive};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::{client, context, serde_transport};
use tokio::net::{TcpListener, TcpStream};

/// More than any workload has in flight.
const QUEUE_LENGTH: usize = 8192;
/// More than any workload sends.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

#[tarpc::service]
trait Bench {
    /// Bytes, not `Vec<u8>`: serde would take that one element by element.
    async fn echo(payload: Bytes) -> Bytes;
    async fn mul(a: i64, b: i64) -> i64;
    async fn record(record: Record) -> Record;
}

fn main() -> ExitCode {
    load::run::<Tarpc>()
}

struct Tarpc;

impl Peer for Tarpc {
    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        loop {
            let (stream, _) = listener.accept().await?;
            let config = server::Config { pending_response_buffer: QUEUE_LENGTH };
            let channel = BaseChannel::new(config, transport(stream)?);
            tokio::spawn(channel.execute(Server.serve()).for_each(async |answer| {
                tokio::spawn(answer);
            }));
        }
    }

    async fn load(order: &Order) -> Result<Measurement, Failure> {
        let stream = TcpStream::connect(&order.address).await?;
        let mut config = client::Config::default();
        config.pending_request_buffer = QUEUE_LENGTH;
        config.max_in_flight_requests = QUEUE_LENGTH;
        let client = BenchClient::new(config, transport(stream)?).spawn();
        match order.operation {
            Operation::Echo => drive(order, EchoCaller(client, vec![b'x'; order.payload_bytes].into())).await,
            Operation::Mul => drive(order, MulCaller(client)).await,
            Operation::Record => drive(order, RecordCaller(client, order.record.clone())).await,
            _ => Err("tarpc has no streams".into()),
        }
    }
}

type Transport<Item, SinkItem> = serde_transport::Transport<TcpStream, Item, SinkItem, Bincode<Item, SinkItem>>;

fn transport<Item, SinkItem>(stream: TcpStream) -> io::Result<Transport<Item, SinkItem>>
where
    Item: DeserializeOwned,
    SinkItem: Serialize,
{
    stream.set_nodelay(true)?;
    let framed = LengthDelimitedCodec::builder().max_frame_length(MESSAGE_BYTES).new_framed(stream);
    Ok(serde_transport::new(framed, Bincode::default()))
}

#[derive(Clone)]
struct Server;

impl Bench for Server {
    async fn echo(self, _: context::Context, payload: Bytes) -> Bytes {
        payload
    }

    async fn mul(self, _: context::Context, a: i64, b: i64) -> i64 {
        a * b
    }

    async fn record(self, _: context::Context, record: Record) -> Record {
        record
    }
}

#[derive(Clone)]
struct EchoCaller(BenchClient, Bytes);

impl Caller for EchoCaller {
    type Answer = Bytes;

    async fn call(&mut self) -> Result<Bytes, Failure> {
        Ok(self.0.echo(context::current(), self.1.clone()).await?)
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
        Ok(self.0.mul(context::current(), 6, 7).await?)
    }

    fn is_right(&self, answer: i64) -> bool {
        answer == 42
    }
}

#[derive(Clone)]
struct RecordCaller(BenchClient, Record);

impl Caller for RecordCaller {
    type Answer = Record;

    async fn call(&mut self) -> Result<Record, Failure> {
        Ok(self.0.record(context::current(), self.1.clone()).await?)
    }

    fn is_right(&self, answer: Record) -> bool {
        answer == self.1
    }
}
