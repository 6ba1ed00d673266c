//! The load at a fixed rate: `bench/compare/open_loop.py`, rule for rule, with a task for each call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::{spawn, yield_now};
use tokio::time::timeout;

use crate::generator::{Caller, Reading, measured};
use crate::{Failure, Measurement, Order};

/// As in `open_loop.py`.
const MOST_UNANSWERED_SECONDS: f64 = 1.0;

/// What the calls of a window may take after its end.
const STALL: Duration = Duration::from_secs(15);

/// Load with calls that are started when they are due; every call of the window is waited for.
pub(crate) async fn drive_at_rate<C: Caller>(order: &Order, caller: C) -> Result<Measurement, Failure> {
    let mut schedule =
        Schedule { caller, rate: f64::from(order.rate), began: Instant::now(), started: 0, seen: Arc::default() };
    schedule.run_for(order.warm_seconds, false).await?;
    let first = Reading::take(schedule.seen.completed.load(Relaxed), order)?;
    schedule.run_for(order.seconds, true).await?;
    let last = Reading::take(schedule.seen.completed.load(Relaxed), order)?;
    timeout(STALL, schedule.all_answered()).await??;
    let latencies = std::mem::take(&mut *schedule.seen.latencies.lock().expect("no holder fails"));
    Ok(measured(first, last, latencies))
}

/// What became of the calls.
#[derive(Default)]
struct Seen {
    completed: AtomicU64,
    /// Of the calls that were due since the window began.
    latencies: Mutex<Vec<Duration>>,
    failure: Mutex<Option<Failure>>,
}

/// Calls and when each of them is due.
struct Schedule<C> {
    caller: C,
    rate: f64,
    began: Instant,
    started: u64,
    seen: Arc<Seen>,
}

impl<C: Caller> Schedule<C> {
    /// Start the calls that become due within so many seconds.
    async fn run_for(&mut self, seconds: f64, is_timed: bool) -> Result<(), Failure> {
        let window_began = Instant::now();
        let until = window_began + Duration::from_secs_f64(seconds);
        loop {
            // What became due before the end starts, however late the generator is.
            let now = Instant::now().min(until);
            let mut due = self.due();
            while due <= now {
                spawn(call(self.caller.clone(), self.seen.clone(), due, is_timed && due >= window_began));
                self.started += 1;
                due = self.due();
            }
            self.check()?;
            if now == until {
                return Ok(());
            }
            yield_now().await;
        }
    }

    fn due(&self) -> Instant {
        self.began + Duration::from_secs_f64(self.started as f64 / self.rate)
    }

    fn unanswered(&self) -> u64 {
        self.started - self.seen.completed.load(Relaxed)
    }

    /// Tell the first failure of a call, or that the peer does not keep up.
    fn check(&self) -> Result<(), Failure> {
        if let Some(failure) = self.seen.failure.lock().expect("no holder fails").take() {
            return Err(failure);
        }
        if self.unanswered() as f64 > MOST_UNANSWERED_SECONDS * self.rate {
            return Err(format!("{} calls are unanswered at {} calls/s", self.unanswered(), self.rate).into());
        }
        Ok(())
    }

    async fn all_answered(&self) -> Result<(), Failure> {
        while self.unanswered() > 0 {
            self.check()?;
            yield_now().await;
        }
        Ok(())
    }
}

async fn call<C: Caller>(mut caller: C, seen: Arc<Seen>, due: Instant, is_timed: bool) {
    match caller.call().await {
        Ok(_) => {
            if is_timed {
                seen.latencies.lock().expect("no holder fails").push(due.elapsed());
            }
            seen.completed.fetch_add(1, Relaxed);
        }
        Err(failure) => *seen.failure.lock().expect("no holder fails") = Some(failure),
    }
}
