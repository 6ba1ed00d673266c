//! tonic as a peer: generated code for typed calls and streams, and for raw payloads a codec that passes them through.
//!
//! Set are the largest message, 4 MiB by default, and TCP_NODELAY where the listener is ours. Larger or adaptive
//! windows made large messages sometimes faster and sometimes slower, so these stay as they are.

mod raw;
mod streams;

use std::process::ExitCode;

use bytes::Bytes;
use load::{Caller, Failure, Measurement, Operation, Order, Peer, drive, drive_stream};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use raw::raw_client::RawClient;
use raw::raw_server::{Raw, RawServer};
use streams::StreamsCaller;
use typed::streams_client::StreamsClient;
use typed::streams_server::StreamsServer;
use typed::typed_client::TypedClient;
use typed::typed_server::{Typed, TypedServer};
use typed::{Factors, Product, Record};

mod typed {
    tonic::include_proto!("bench");
}

fn main() -> ExitCode {
    load::run::<Tonic>()
}

/// More than any workload sends.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

struct Tonic;

impl Peer for Tonic {
    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        let raw = RawServer::new(Echo).max_decoding_message_size(MESSAGE_BYTES);
        let server = Server::builder()
            .add_service(raw)
            .add_service(TypedServer::new(Echo))
            .add_service(StreamsServer::new(streams::Server));
        Ok(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await?)
    }

    async fn load(order: &Order) -> Result<Measurement, Failure> {
        let channel = Endpoint::from_shared(format!("http://{}", order.address))?.connect().await?;
        match order.operation {
            Operation::Echo => drive(order, EchoCaller::new(channel, order.payload_bytes)).await,
            Operation::Mul => drive(order, MulCaller(TypedClient::new(channel))).await,
            Operation::Record => drive(order, RecordCaller(TypedClient::new(channel), order.record.clone())).await,
            Operation::ServerStream | Operation::ClientStream | Operation::BothWays => {
                let client = StreamsClient::new(channel);
                drive_stream(order, StreamsCaller { client, payload_bytes: order.payload_bytes }).await
            }
        }
    }
}

struct Echo;

#[tonic::async_trait]
impl Raw for Echo {
    async fn echo(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

#[tonic::async_trait]
impl Typed for Echo {
    async fn mul(&self, request: Request<Factors>) -> Result<Response<Product>, Status> {
        let factors = request.into_inner();
        Ok(Response::new(Product { value: factors.a * factors.b }))
    }

    async fn echo(&self, request: Request<Record>) -> Result<Response<Record>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

#[derive(Clone)]
struct EchoCaller {
    client: RawClient<Channel>,
    payload: Bytes,
}

impl EchoCaller {
    fn new(channel: Channel, size: usize) -> Self {
        let client = RawClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
        Self { client, payload: vec![b'x'; size].into() }
    }
}

impl Caller for EchoCaller {
    type Answer = Bytes;

    async fn call(&mut self) -> Result<Bytes, Failure> {
        Ok(self.client.echo(self.payload.clone()).await?.into_inner())
    }

    fn is_right(&self, answer: Bytes) -> bool {
        answer == self.payload
    }
}

#[derive(Clone)]
struct MulCaller(TypedClient<Channel>);

impl Caller for MulCaller {
    type Answer = Product;

    async fn call(&mut self) -> Result<Product, Failure> {
        Ok(self.0.mul(Factors { a: 6, b: 7 }).await?.into_inner())
    }

    fn is_right(&self, answer: Product) -> bool {
        answer.value == 42
    }
}

#[derive(Clone)]
struct RecordCaller(TypedClient<Channel>, load::Record);

impl Caller for RecordCaller {
    type Answer = Record;

    async fn call(&mut self) -> Result<Record, Failure> {
        let load::Record { id, name, score, tags } = &self.1;
        let record = Record { id: *id, name: name.clone(), score: *score, tags: tags.clone() };
        Ok(self.0.echo(record).await?.into_inner())
    }

    fn is_right(&self, answer: Record) -> bool {
        let Record { id, name, score, tags } = answer;
        self.1 == load::Record { id, name, score, tags }
    }
}
