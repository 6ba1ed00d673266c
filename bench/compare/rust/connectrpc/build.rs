fn main() {
    connectrpc_build::Config::new()
        .files(&["../../bench.proto"])
        .includes(&["../.."])
        .include_file("_connectrpc.rs")
        .compile()
        .expect("bench.proto is well formed");
}
