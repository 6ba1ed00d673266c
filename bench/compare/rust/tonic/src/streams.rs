//! Streams through generated code.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use load::{Failure, Messages, Received};
use tokio_stream::{Stream, StreamExt, iter};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::typed::streams_client::StreamsClient;
use crate::typed::streams_server::Streams;
use crate::typed::{Chunk, Order, Total};

/// What a client opens streams with.
#[derive(Clone)]
pub struct StreamsCaller {
    pub client: StreamsClient<Channel>,
    pub payload_bytes: usize,
}

impl load::Streams for StreamsCaller {
    type Received = Chunks;

    async fn receive(&mut self, count: u64) -> Result<Chunks, Failure> {
        let order = Order { count: count as i64, size: self.payload_bytes as i64 };
        Ok(Chunks(self.client.receive(order).await?.into_inner()))
    }

    async fn send(&mut self, messages: Messages) -> Result<u64, Failure> {
        let total = self.client.send(Sent::new(messages)).await?.into_inner();
        Ok(total.size as u64)
    }

    async fn exchange(&mut self, messages: Messages) -> Result<Chunks, Failure> {
        Ok(Chunks(self.client.exchange(Sent::new(messages)).await?.into_inner()))
    }
}

/// What a client sends. A type of its own, since the compiler loses the lifetime of a bare `dyn Stream` across awaits.
struct Sent(Pin<Box<dyn Stream<Item = Chunk> + Send>>);

impl Sent {
    fn new(messages: Messages) -> Self {
        Self(Box::pin(iter(messages.map(|data| Chunk { data }))))
    }
}

impl Stream for Sent {
    type Item = Chunk;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        self.0.as_mut().poll_next(context)
    }
}

/// The receiving half of a stream.
pub struct Chunks(Streaming<Chunk>);

impl Received for Chunks {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.message().await?.map(|chunk| chunk.data))
    }
}

/// What a server yields.
type Outgoing = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

pub struct Server;

#[tonic::async_trait]
impl Streams for Server {
    type ReceiveStream = Outgoing;
    type ExchangeStream = Outgoing;

    async fn receive(&self, order: Request<Order>) -> Result<Response<Outgoing>, Status> {
        let Order { count, size } = order.into_inner();
        let payload = Bytes::from(vec![b'x'; size as usize]);
        let chunks = (0..count).map(move |_| Ok(Chunk { data: payload.clone() }));
        Ok(Response::new(Box::pin(iter(chunks))))
    }

    async fn send(&self, chunks: Request<Streaming<Chunk>>) -> Result<Response<Total>, Status> {
        let mut chunks = chunks.into_inner();
        let mut size = 0;
        while let Some(chunk) = chunks.next().await {
            size += chunk?.data.len() as i64;
        }
        Ok(Response::new(Total { size }))
    }

    async fn exchange(&self, chunks: Request<Streaming<Chunk>>) -> Result<Response<Outgoing>, Status> {
        Ok(Response::new(Box::pin(chunks.into_inner())))
    }
}
