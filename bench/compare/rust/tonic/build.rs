//! Generates the typed service from `bench.proto` and the raw one from a description, into the build directory.

use tonic_build::manual::{Builder, Method, Service};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../bench.proto");
    // Fields of bytes share the memory that they came in.
    tonic_prost_build::configure().bytes(".bench").compile_protos(&["../../bench.proto"], &["../.."])?;
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("bytes::Bytes")
        .output_type("bytes::Bytes")
        .codec_path("crate::raw::RawCodec")
        .build();
    Builder::new().compile(&[Service::builder().package("bench").name("Raw").method(echo).build()]);
    Ok(())
}
