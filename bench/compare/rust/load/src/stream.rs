//! The load of one stream: `bench/compare/stream_load.py`, rule for rule.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn};
use tokio::time::timeout;

use crate::generator::{Reading, measured};
use crate::{Failure, Measurement, Operation, Order};

/// More messages than any window takes.
const ENDLESS: u64 = 1 << 40;

/// Messages of the stream that is checked.
const CHECKED_MESSAGES: u64 = 100;

/// What a client sends: the next payload each time, then nothing.
pub type Messages = Box<dyn Iterator<Item = Bytes> + Send>;

/// What a client receives; dropping it ends the stream.
pub trait Received: Send {
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;
}

/// Opens streams over one connection; clones share it.
pub trait Streams: Clone + Send + 'static {
    type Received: Received;

    /// Open a server stream of so many messages.
    fn receive(&mut self, count: u64) -> impl Future<Output = Result<Self::Received, Failure>> + Send;

    /// Send a client stream to its end; return how many bytes the server took.
    fn send(&mut self, messages: Messages) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Open a stream both ways that gives back each message.
    fn exchange(&mut self, messages: Messages) -> impl Future<Output = Result<Self::Received, Failure>> + Send;
}

/// Load the peer with one stream as ordered and return what was seen.
pub async fn drive_stream<S: Streams>(order: &Order, mut streams: S) -> Result<Measurement, Failure> {
    let payload = Bytes::from(vec![b'x'; order.payload_bytes]);
    check(order.operation, &mut streams, &payload).await?;
    let tally = Arc::new(Tally::default());
    let counts_sent = order.operation == Operation::ClientStream;
    let count = || if counts_sent { &tally.sent } else { &tally.received }.load(Relaxed);
    let mut stream = spawn(load(order.operation, streams, tally.clone(), payload));
    work_for(&mut stream, order.warm_seconds).await?;
    let first = Reading::take(count(), order)?;
    work_for(&mut stream, order.seconds).await?;
    let mut last = Reading::take(count(), order)?;
    tally.is_over.store(true, Relaxed);
    stream.await??;
    if counts_sent {
        // Messages that wait in buffers count with the time they take.
        last = Reading::take(count(), order)?;
    }
    Ok(measured(first, last, Vec::new()))
}

#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    received: AtomicU64,
    is_over: AtomicBool,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// Let the stream work for so long, or until it fails: before the window is over it does not end otherwise.
async fn work_for(stream: &mut JoinHandle<Result<(), Failure>>, seconds: f64) -> Result<(), Failure> {
    match timeout(Duration::from_secs_f64(seconds), stream).await {
        Ok(outcome) => {
            outcome??;
            Err("the stream ended before the window was over".into())
        }
        Err(_elapsed) => Ok(()),
    }
}

async fn check<S: Streams>(operation: Operation, streams: &mut S, payload: &Bytes) -> Result<(), Failure> {
    match operation {
        Operation::ServerStream => {
            let received = streams.receive(CHECKED_MESSAGES).await?;
            expect((0..CHECKED_MESSAGES).map(|_| payload.clone()), received).await
        }
        Operation::ClientStream => {
            let taken = streams.send(Box::new(numbered(payload.clone()))).await?;
            right(taken == CHECKED_MESSAGES * payload.len() as u64)
        }
        Operation::BothWays => {
            let received = streams.exchange(Box::new(numbered(payload.clone()))).await?;
            expect(numbered(payload.clone()), received).await
        }
        _ => Err("not a stream".into()),
    }
}

async fn load<S: Streams>(
    operation: Operation,
    mut streams: S,
    tally: Arc<Tally>,
    payload: Bytes,
) -> Result<(), Failure> {
    let size = payload.len() as u64;
    match operation {
        Operation::ServerStream => {
            let mut received = streams.receive(ENDLESS).await?;
            while !tally.is_over() && received.next().await?.is_some() {
                tally.received.fetch_add(1, Relaxed);
            }
            Ok(())
        }
        Operation::ClientStream => {
            let taken = streams.send(Box::new(until_over(tally.clone(), payload))).await?;
            right(taken == tally.sent.load(Relaxed) * size)
        }
        _ => {
            let mut received = streams.exchange(Box::new(until_over(tally.clone(), payload))).await?;
            while received.next().await?.is_some() {
                tally.received.fetch_add(1, Relaxed);
            }
            right(tally.received.load(Relaxed) == tally.sent.load(Relaxed))
        }
    }
}

fn right(is_right: bool) -> Result<(), Failure> {
    if is_right { Ok(()) } else { Err("wrong answer".into()) }
}

/// Return whether these messages come, and then the end.
async fn expect(messages: impl Iterator<Item = Bytes>, mut received: impl Received) -> Result<(), Failure> {
    for message in messages {
        right(received.next().await?.as_ref() == Some(&message))?;
    }
    right(received.next().await?.is_none())
}

/// The messages of the stream that is checked, no two of them alike.
fn numbered(payload: Bytes) -> impl Iterator<Item = Bytes> + Send {
    (0..CHECKED_MESSAGES as u32).map(move |number| {
        let mut message = payload.to_vec();
        message[..4].copy_from_slice(&number.to_be_bytes());
        message.into()
    })
}

/// Messages without a pause until the window is over.
fn until_over(tally: Arc<Tally>, payload: Bytes) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || {
        if tally.is_over() {
            return None;
        }
        tally.sent.fetch_add(1, Relaxed);
        Some(payload.clone())
    })
}
