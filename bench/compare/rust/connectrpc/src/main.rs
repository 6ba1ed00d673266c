//! connectrpc as a peer, with generated code and its defaults: by Connect or gRPC on one connection of HTTP/2. The server has
//! both, and JSON over HTTP/1.1, on one port. Raw bytes have no codec there.

use std::process::ExitCode;

use connectrpc::client::{ClientConfig, Http2Connection, SharedHttp2Connection};
use connectrpc::server::Server;
use connectrpc::{ConnectRpcService, Protocol, RequestContext, Response, ServiceRequest, ServiceResult};
use http::Uri;
use load::{Caller, Failure, Measurement, Operation, Order, Peer, drive};
use tokio::net::TcpListener;

use typed::{Factors, Product, Record, Typed, TypedClient, TypedServer};

mod generated {
    connectrpc::include_generated!();
}

use generated::bench as typed;

/// Calls that wait for the connection: more than any workload has in flight.
const QUEUE_LENGTH: usize = 8192;

fn main() -> ExitCode {
    load::run::<ConnectRpc>()
}

struct ConnectRpc;

impl Peer for ConnectRpc {
    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        // Faster than a router, which looks methods up by name; as in connectrpc's benchmarks.
        Server::from_listener(listener).serve_with_service(ConnectRpcService::new(TypedServer::new(Echo))).await
    }

    async fn load(order: &Order) -> Result<Measurement, Failure> {
        let address: Uri = format!("http://{}", order.address).parse()?;
        let connection = Http2Connection::connect_plaintext(address.clone()).await?.shared(QUEUE_LENGTH);
        let client = TypedClient::new(connection, ClientConfig::new(address).with_protocol(protocol(order)?));
        match order.operation {
            Operation::Mul => drive(order, MulCaller(client)).await,
            Operation::Record => drive(order, RecordCaller(client, order.record.clone())).await,
            _ => Err("connectrpc has no such operation here".into()),
        }
    }
}

fn protocol(order: &Order) -> Result<Protocol, Failure> {
    match order.protocol.as_str() {
        "connect" => Ok(Protocol::Connect),
        "grpc" => Ok(Protocol::Grpc),
        other => Err(format!("no protocol {other:?}").into()),
    }
}

struct Echo;

impl Typed for Echo {
    async fn mul(&self, _: RequestContext, factors: ServiceRequest<'_, Factors>) -> ServiceResult<Product> {
        Response::ok(Product { value: factors.a * factors.b, ..Default::default() })
    }

    async fn echo(&self, _: RequestContext, record: ServiceRequest<'_, Record>) -> ServiceResult<Record> {
        Response::ok(record.to_owned_message())
    }
}

type Client = TypedClient<SharedHttp2Connection>;

#[derive(Clone)]
struct MulCaller(Client);

impl Caller for MulCaller {
    type Answer = i64;

    async fn call(&mut self) -> Result<i64, Failure> {
        let factors = Factors { a: 6, b: 7, ..Default::default() };
        Ok(self.0.mul(factors).await?.view().value)
    }

    fn is_right(&self, answer: i64) -> bool {
        answer == 42
    }
}

#[derive(Clone)]
struct RecordCaller(Client, load::Record);

impl Caller for RecordCaller {
    type Answer = Record;

    async fn call(&mut self) -> Result<Record, Failure> {
        let load::Record { id, name, score, tags } = &self.1;
        let record = Record { id: *id, name: name.clone(), score: *score, tags: tags.clone(), ..Default::default() };
        Ok(self.0.echo(record).await?.into_owned())
    }

    fn is_right(&self, answer: Record) -> bool {
        let Record { id, name, score, tags, .. } = answer;
        self.1 == load::Record { id, name, score, tags }
    }
}
