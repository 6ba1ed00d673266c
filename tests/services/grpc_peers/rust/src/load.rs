//! Calls that go on while servers come and go, and one without a deadline.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Channel;

use crate::{Number, ask, channel};

const CHANNELS: usize = 16;
/// A line says that so many more calls were answered.
const REPORTED: u64 = 300;
const PAUSE: Duration = Duration::from_millis(5);

struct Load {
    is_over: AtomicBool,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn note_answer(&self) {
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if answered % REPORTED == 0 {
            println!("{answered}");
            stdout().flush().expect("the test reads the output");
        }
    }

    async fn keep_calling(&self, mut client: Grpc<Channel>) {
        let mut number: Number = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            number += 1;
            match ask(&mut client, "Twice", Request::new(number)).await {
                Ok(answer) if answer.get_ref() == &(2 * number) => self.note_answer(),
                other => self.failures.lock().expect("no task panics").push(format!("{other:?}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Calls until the input ends, over as many channels, and prints the failures, a line each.
pub async fn run(address: &str) -> Result<(), Box<dyn Error>> {
    let load = Arc::new(Load { is_over: AtomicBool::new(false), answered: AtomicU64::new(0), failures: Mutex::default() });
    let told = load.clone();
    std::thread::spawn(move || {
        let _ = stdin().read_line(&mut String::new());
        told.is_over.store(true, Ordering::Relaxed);
    });
    let mut tasks = Vec::new();
    for _ in 0..CHANNELS {
        let client = Grpc::new(channel(address).await?);
        let load = load.clone();
        tasks.push(tokio::spawn(async move { load.keep_calling(client).await }));
    }
    for task in tasks {
        task.await?;
    }
    println!("over");
    for failure in load.failures.lock().expect("no task panics").iter() {
        println!("{failure}");
    }
    Ok(())
}

/// Calls a method without a deadline, and prints the code that it ends with.
pub async fn wait(address: &str) -> Result<(), Box<dyn Error>> {
    let mut client = Grpc::new(channel(address).await?);
    let late = ask(&mut client, "Wait", Request::new(1)).await.expect_err("it takes too long");
    println!("{}", late.code() as i32);
    Ok(())
}
