//! The load itself.

use std::future::Future;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clocks::{own_processor_time, processor_time};
use crate::open_loop::drive_at_rate;
use crate::{Failure, Measurement, Order};

/// One call from nothing; each task has a clone of its own.
pub trait Caller: Clone + Send + 'static {
    type Answer: Send;

    /// Build the arguments and wait for the answer.
    fn call(&mut self) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Tell whether the answer is what the workload asks for; asked once.
    fn is_right(&self, answer: Self::Answer) -> bool;
}

/// Load the peer as ordered and return what was seen.
pub async fn drive<C: Caller>(order: &Order, mut caller: C) -> Result<Measurement, Failure> {
    let answer = caller.call().await?;
    if !caller.is_right(answer) {
        return Err("wrong answer".into());
    }
    if order.rate > 0 {
        return drive_at_rate(order, caller).await;
    }
    let shared = Arc::new(Shared::default());
    let mut callers = JoinSet::new();
    for index in 0..order.in_flight {
        callers.spawn(call_until_stopped(caller.clone(), shared.clone(), index, order.sample_every));
    }
    work_for(&mut callers, order.warm_seconds).await?;
    shared.take_latencies();
    let first = Reading::take(shared.completed.load(Relaxed), order)?;
    work_for(&mut callers, order.seconds).await?;
    let last = Reading::take(shared.completed.load(Relaxed), order)?;
    let latencies = shared.take_latencies();
    shared.stopped.store(true, Relaxed);
    while let Some(outcome) = callers.join_next().await {
        outcome??;
    }
    Ok(measured(first, last, latencies))
}

#[derive(Default)]
struct Shared {
    completed: AtomicU64,
    stopped: AtomicBool,
    /// Those sampled since the window began.
    latencies: Mutex<Vec<Duration>>,
}

impl Shared {
    fn sample(&self, latency: Duration) {
        self.latencies.lock().expect("no holder fails").push(latency);
    }

    fn take_latencies(&self) -> Vec<Duration> {
        mem::take(&mut self.latencies.lock().expect("no holder fails"))
    }
}

async fn call_until_stopped<C: Caller>(
    mut caller: C,
    shared: Arc<Shared>,
    index: usize,
    every: usize,
) -> Result<(), Failure> {
    // Tasks time different ones of their operations, so that samples spread over the window.
    let mut untimed = index % every;
    while !shared.stopped.load(Relaxed) {
        for _ in 0..untimed {
            caller.call().await?;
            shared.completed.fetch_add(1, Relaxed);
        }
        let started = Instant::now();
        caller.call().await?;
        shared.sample(started.elapsed());
        shared.completed.fetch_add(1, Relaxed);
        untimed = every - 1;
    }
    Ok(())
}

/// Let the callers work for so long, or until one of them fails: before they are stopped none ends otherwise.
async fn work_for(callers: &mut JoinSet<Result<(), Failure>>, seconds: f64) -> Result<(), Failure> {
    match timeout(Duration::from_secs_f64(seconds), callers.join_next()).await {
        Ok(Some(outcome)) => outcome?,
        Ok(None) => Err("no callers".into()),
        Err(_elapsed) => Ok(()),
    }
}

/// Clocks and counters at one end of a window.
pub(crate) struct Reading {
    now: Instant,
    completed: u64,
    client_cpu: Duration,
    server_cpu: Duration,
}

impl Reading {
    pub(crate) fn take(completed: u64, order: &Order) -> io::Result<Self> {
        Ok(Self {
            now: Instant::now(),
            completed,
            client_cpu: own_processor_time()?,
            server_cpu: order
                .server_processes
                .iter()
                .map(|&process| processor_time(process))
                .sum::<io::Result<_>>()?,
        })
    }
}

pub(crate) fn measured(first: Reading, last: Reading, mut latencies: Vec<Duration>) -> Measurement {
    latencies.sort_unstable();
    Measurement {
        calls: last.completed - first.completed,
        seconds: (last.now - first.now).as_secs_f64(),
        client_cpu_seconds: (last.client_cpu - first.client_cpu).as_secs_f64(),
        server_cpu_seconds: (last.server_cpu - first.server_cpu).as_secs_f64(),
        p50_seconds: percentile(&latencies, 0.5),
        p99_seconds: percentile(&latencies, 0.99),
        p999_seconds: percentile(&latencies, 0.999),
        samples: latencies.len(),
    }
}

/// Return the value in seconds that `share` of the ordered values do not exceed; 0 for none.
fn percentile(ordered: &[Duration], share: f64) -> f64 {
    match ordered.len() {
        0 => 0.0,
        count => ordered[((count - 1) as f64 * share + 0.5) as usize].as_secs_f64(),
    }
}
