// What the thrift peers exchange.

struct Record {
  1: i64 id,
  2: string name,
  3: double score,
  4: list<string> tags,
}

service Bench {
  binary echo(1: binary payload),
  i64 mul(1: i64 a, 2: i64 b),
  Record record(1: Record record),
}
