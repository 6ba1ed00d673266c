//! Blanks at the ends of values, told by the methods of `tests/services/test_grpc_blanks.py` and told back.

use std::error::Error;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::{Number, channel, codec};

/// A text of an error, and a value of metadata.
pub const TEXT: &str = "no such order: ";
pub const SAID: &str = " v ";

async fn ask(client: &mut Grpc<Channel>, name: &str) -> Result<Response<Number>, Status> {
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let mut request = Request::new(0);
    request.metadata_mut().insert("x-said", SAID.parse().expect("blanks are allowed"));
    let path: PathAndQuery = format!("/test.v1.Fail/{name}").parse().expect("the name is part of a path");
    client.unary(request, path, codec()).await
}

fn text_of<'a>(metadata: &'a MetadataMap, key: &str) -> &'a str {
    metadata.get(key).map_or("", |value| value.to_str().expect("the test tells ASCII"))
}

/// Calls a server of ours, and prints as JSON what it has seen and what it tells.
pub async fn call(address: &str) -> Result<(), Box<dyn Error>> {
    let mut client = Grpc::new(channel(address).await?);
    let told = ask(&mut client, "told").await?;
    let failed = ask(&mut client, "fail").await.expect_err("it fails");
    println!(
        "{{\"seen\": {:?}, \"code\": {}, \"message\": {:?}, \"said\": {:?}}}",
        text_of(told.metadata(), "x-seen"),
        failed.code() as i32,
        failed.message(),
        text_of(failed.metadata(), "x-said"),
    );
    Ok(())
}

/// Answers with metadata that has a blank at each end, and with what came in brackets.
pub fn told(request: &Request<Number>) -> Response<Number> {
    let mut answer = Response::new(0);
    let seen = format!("[{}]", text_of(request.metadata(), "x-said"));
    answer.metadata_mut().insert("x-seen", seen.parse().expect("it came as metadata"));
    answer.metadata_mut().insert("x-said", SAID.parse().expect("blanks are allowed"));
    answer
}

/// Returns a failure whose text and metadata end with a blank.
pub fn failed() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-said", SAID.parse().expect("blanks are allowed"));
    Status::with_metadata(Code::NotFound, TEXT, metadata)
}
