// Sums by @grpc/grpc-js: `client ADDRESS` calls them and prints what it got, `server` serves them at a port that it prints.
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const proto = process.argv[2];
const { Sums } = grpc.loadPackageDefinition(loader.loadSync(path.resolve(proto), { longs: Number })).shop.v1;

/** Call a method with one message; return its answer, its error and its trailers. */
function ask(client, name, value, metadata = new grpc.Metadata(), options = {}) {
  return new Promise((resolve) => {
    let answer = { trailers: null };
    const call = client[name]({ value }, metadata, options, (error, found) => {
      answer = { ...answer, error, value: found && found.value };
    });
    call.on("status", (status) => resolve({ ...answer, seen: status.metadata.get("seen")[0] }));
  });
}

/** Return the values of all messages of a stream. */
async function all(stream) {
  const found = [];
  for await (const message of stream) {
    found.push(message.value);
  }
  return found;
}

async function call(address) {
  const client = new Sums(address, grpc.credentials.createInsecure());
  const found = { twice: (await ask(client, "Twice", 2 ** 40)).value };
  found.up_to = await all(client.UpTo({ value: 3 }));
  found.total = await new Promise((resolve, reject) => {
    const adding = client.Total((error, answer) => (error ? reject(error) : resolve(answer.value)));
    [1, 2, 3].forEach((value) => adding.write({ value }));
    adding.end();
  });
  const talk = client.Running();
  found.running = [];
  for (const value of [1, 2, 3]) {
    const answer = new Promise((resolve) => talk.once("data", resolve));
    talk.write({ value });
    found.running.push((await answer).value);
  }
  talk.end();
  const { error } = await ask(client, "Fail", 1);
  found.fail = [error.code, error.details];
  found.wait = (await ask(client, "Wait", 1, new grpc.Metadata(), { deadline: Date.now() + 300 })).error.code;
  const metadata = new grpc.Metadata();
  metadata.set("key", "value");
  found.seen = (await ask(client, "Seen", 1, metadata)).seen;
  console.log(JSON.stringify(found));
  client.close();
}

const handlers = {
  Twice: (call, done) => done(null, { value: 2 * call.request.value }),
  Fail: (call, done) => done({ code: grpc.status.NOT_FOUND, details: "grün" }),
  Wait: () => {},
  Seen: (call, done) => {
    const trailers = new grpc.Metadata();
    trailers.set("seen", call.metadata.get("key")[0]);
    done(null, call.request, trailers);
  },
  UpTo: (call) => {
    for (let value = 1; value <= call.request.value; value += 1) {
      call.write({ value });
    }
    call.end();
  },
  Total: async (call, done) => done(null, { value: (await all(call)).reduce((sum, value) => sum + value, 0) }),
  // An async loop would end both directions of the stream.
  Running: (call) => {
    let sum = 0;
    call.on("data", ({ value }) => {
      sum += value;
      call.write({ value: sum });
    });
    call.on("end", () => call.end());
  },
};

if (process.argv[3] === "client") {
  call(process.argv[4]);
} else {
  const server = new grpc.Server();
  server.addService(Sums.service, handlers);
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) {
      throw error;
    }
    console.log(`serving at 127.0.0.1:${port}`);
  });
}
