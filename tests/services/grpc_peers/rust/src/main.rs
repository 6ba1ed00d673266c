//! Sums by tonic: `client ADDRESS` calls them and prints what it got, `server` serves them at a port that it prints.
//! `load ADDRESS` keeps calling until its input ends, `wait ADDRESS` calls without a deadline, `blanks ADDRESS` tells values
//! with blanks at their ends.

mod blanks;
mod load;
mod server;

use std::time::Duration;

use http::uri::PathAndQuery;
use tokio_stream::{StreamExt, iter};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// A message with one number: `prost` has it as the number itself.
type Number = i64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    match words[1].as_str() {
        "server" => return server::serve().await,
        "load" => return load::run(&words[2]).await,
        "wait" => return load::wait(&words[2]).await,
        "blanks" => return blanks::call(&words[2]).await,
        _ => println!("{}", call(Grpc::new(channel(&words[2]).await?)).await?),
    }
    Ok(())
}

async fn channel(address: &str) -> Result<Channel, Box<dyn std::error::Error>> {
    Ok(Channel::from_shared(format!("http://{address}"))?.connect().await?)
}

fn path(name: &str) -> PathAndQuery {
    format!("/shop.v1.Sums/{name}").parse().expect("the name of a method is part of a path")
}

fn codec() -> ProstCodec<Number, Number> {
    ProstCodec::default()
}

async fn ask(client: &mut Grpc<Channel>, name: &str, request: Request<Number>) -> Result<tonic::Response<Number>, Status> {
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    client.unary(request, path(name), codec()).await
}

async fn all(mut messages: Streaming<Number>) -> Result<Vec<Number>, Status> {
    let mut found = Vec::new();
    while let Some(number) = messages.message().await? {
        found.push(number);
    }
    Ok(found)
}

async fn call(mut client: Grpc<Channel>) -> Result<String, Box<dyn std::error::Error>> {
    let twice = ask(&mut client, "Twice", Request::new(1 << 40)).await?.into_inner();
    client.ready().await?;
    let up_to = all(client.server_streaming(Request::new(3), path("UpTo"), codec()).await?.into_inner()).await?;
    client.ready().await?;
    let total = client.client_streaming(Request::new(iter([1, 2, 3])), path("Total"), codec()).await?.into_inner();
    client.ready().await?;
    let talk = client.streaming(Request::new(iter([1, 2, 3])), path("Running"), codec()).await?;
    let running = talk.into_inner().collect::<Result<Vec<Number>, Status>>().await?;
    let failed = ask(&mut client, "Fail", Request::new(1)).await.expect_err("it fails");
    let mut short = Request::new(1);
    short.set_timeout(Duration::from_millis(300));
    let late = ask(&mut client, "Wait", short).await.expect_err("it takes too long");
    // The time that tonic itself watches ends a call as cancelled.
    let late = if late.code() == tonic::Code::Cancelled { 4 } else { late.code() as i32 };
    let mut asked = Request::new(1);
    asked.metadata_mut().insert("key", "value".parse()?);
    let seen = ask(&mut client, "Seen", asked).await?;
    let seen = seen.metadata().get("seen").expect("the server tells it").to_str()?.to_owned();
    Ok(format!(
        "{{\"twice\": {twice}, \"up_to\": {up_to:?}, \"total\": {total}, \"running\": {running:?}, \
         \"fail\": [{}, {:?}], \"wait\": {late}, \"seen\": {seen:?}}}",
        failed.code() as i32,
        failed.message(),
    ))
}
