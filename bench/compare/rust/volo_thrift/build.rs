fn main() {
    volo_build::Builder::thrift().add_service("../../bench.thrift").write().expect("bench.thrift is well formed");
}
