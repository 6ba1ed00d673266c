//! What the peers written in Rust share: the command line of a peer, and the load generator of
//! `bench/compare/load.py`, rule for rule: a closed loop, one task for each call in flight, tasks that time every
//! so many of their operations, and a window whose ends are readings of a shared counter, so that calls that
//! straddle an end are neither lost nor waited for.

mod clocks;
mod generator;
mod open_loop;
mod order;
mod stream;

use std::error::Error;
use std::future::Future;
use std::io::{self, Read};
use std::process::{self, ExitCode};
use std::{env, thread};

use tokio::net::TcpListener;
use tokio::runtime;

pub use generator::{Caller, drive};
pub use order::{Measurement, Operation, Order, Record};
pub use stream::{Messages, Received, Streams, drive_stream};

pub type Failure = Box<dyn Error + Send + Sync>;

/// One stack: how it serves and how it calls.
pub trait Peer {
    /// Answer connections of the listener until that fails.
    fn serve(listener: TcpListener) -> impl Future<Output = Result<(), Failure>>;

    /// Connect, then `drive` the ordered operation.
    fn load(order: &Order) -> impl Future<Output = Result<Measurement, Failure>>;
}

/// Run the side that the command line names:
///
/// ```text
/// serve          prints {"address": …, "processes": [id]} and ends with its standard input
/// load ORDER     prints the measurement as JSON
/// ```
pub fn run<P: Peer>() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve::<P>(),
        ["load", order] => load::<P>(order),
        _ => Err("usage: serve | load ORDER".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve<P: Peer>() -> Result<(), Failure> {
    end_with_input();
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        println!("{}", serde_json::json!({"address": address, "processes": [process::id()]}));
        P::serve(listener).await
    })
}

fn load<P: Peer>(order: &str) -> Result<(), Failure> {
    let order: Order = serde_json::from_str(order)?;
    let measurement = runtime()?.block_on(P::load(&order))?;
    println!("{}", serde_json::to_string(&measurement)?);
    Ok(())
}

/// Everything on one thread: each side has one core, and nothing need be handed over to another thread. A runtime
/// with one worker answers, at 64 in flight, 0.3 times as many calls with tarpc and 0.75 times as many with tonic.
fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn end_with_input() {
    thread::spawn(|| {
        let mut block = [0; 4096];
        while io::stdin().read(&mut block).is_ok_and(|size| size > 0) {}
        process::exit(0);
    });
}
