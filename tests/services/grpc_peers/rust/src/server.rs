//! The server: its methods by hand, as `tonic-build` would write them.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::{Number, all, blanks, codec};

type Pending<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Numbers = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

#[derive(Clone)]
struct Sums;

impl NamedService for Sums {
    const NAME: &'static str = "shop.v1.Sums";
}

/// A method with one message each way, by its name.
struct Unary(&'static str);

impl UnaryService<Number> for Unary {
    type Response = Number;
    type Future = Pending<Number>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        let name = self.0;
        Box::pin(async move {
            let seen = request.metadata().get("key").cloned();
            match name {
                "Told" => Ok(blanks::told(&request)),
                "Blank" => Err(blanks::failed()),
                "Twice" => Ok(Response::new(2 * request.into_inner())),
                "Fail" => Err(Status::not_found("grün")),
                "Wait" => pending().await,
                _ => {
                    let mut answer = Response::new(request.into_inner());
                    answer.metadata_mut().insert("seen", seen.expect("the client tells it"));
                    Ok(answer)
                }
            }
        })
    }
}

struct UpTo;

impl ServerStreamingService<Number> for UpTo {
    type Response = Number;
    type ResponseStream = Numbers;
    type Future = Pending<Numbers>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        let numbers: Numbers = Box::pin(iter((1..=request.into_inner()).map(Ok)));
        Box::pin(ready(Ok(Response::new(numbers))))
    }
}

struct Total;

impl ClientStreamingService<Number> for Total {
    type Response = Number;
    type Future = Pending<Number>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(all(request.into_inner()).await?.iter().sum())) })
    }
}

struct Running;

impl StreamingService<Number> for Running {
    type Response = Number;
    type ResponseStream = Numbers;
    type Future = Pending<Numbers>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        let mut sum = 0;
        let numbers: Numbers = Box::pin(request.into_inner().map(move |value| {
            sum += value?;
            Ok(sum)
        }));
        Box::pin(ready(Ok(Response::new(numbers))))
    }
}

impl Service<http::Request<Body>> for Sums {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut served = Grpc::new(codec());
            Ok(match request.uri().path().rsplit('/').next() {
                Some("UpTo") => served.server_streaming(UpTo, request).await,
                Some("Total") => served.client_streaming(Total, request).await,
                Some("Running") => served.streaming(Running, request).await,
                Some("Twice") => served.unary(Unary("Twice"), request).await,
                Some("Fail") => served.unary(Unary("Fail"), request).await,
                Some("Wait") => served.unary(Unary("Wait"), request).await,
                Some("Told") => served.unary(Unary("Told"), request).await,
                Some("Blank") => served.unary(Unary("Blank"), request).await,
                _ => served.unary(Unary("Seen"), request).await,
            })
        })
    }
}

pub async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("serving at {}", listener.local_addr()?);
    Server::builder().add_service(Sums).serve_with_incoming(TcpListenerStream::new(listener)).await?;
    Ok(())
}
