# What the Cap'n Proto peer exchanges.
@0xbf5147cbbecf40c1;

struct Record {
  id @0 :Int64;
  name @1 :Text;
  score @2 :Float64;
  tags @3 :List(Text);
}

interface Bench {
  echo @0 (payload :Data) -> (payload :Data);
  mul @1 (a :Int64, b :Int64) -> (value :Int64);
  record @2 (record :Record) -> (record :Record);
}
