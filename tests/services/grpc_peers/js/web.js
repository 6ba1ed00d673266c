// Sums in a browser: `@connectrpc/connect-web` and `grpc-web`, by the protocols that pages can speak.
import { fromBinary, createFileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import wrappers from "google-protobuf/google/protobuf/wrappers_pb.js";
import { GrpcWebClientBase, MethodDescriptor, MethodType } from "grpc-web";

const { Int64Value } = wrappers;

const TRANSPORTS = {
  connect: (baseUrl) => createConnectTransport({ baseUrl }),
  connect_binary: (baseUrl) => createConnectTransport({ baseUrl, useBinaryFormat: true }),
  connect_get: (baseUrl) => createConnectTransport({ baseUrl, useHttpGet: true }),
  grpc_web: (baseUrl) => createGrpcWebTransport({ baseUrl }),
};

const METHODS = { twice: "Twice", upTo: "UpTo", fail: "Fail", wait: "Wait", seen: "Seen" };

/** A client of connect-web as functions that give plain numbers. */
function byConnect(transport, schema) {
  const files = createFileRegistry(fromBinary(FileDescriptorSetSchema, schema));
  const client = createClient(files.getService("shop.v1.Sums"), transport);
  const number = (value) => ({ value: BigInt(value) });
  return {
    unary: async (name, value, options = {}) => {
      let seen = null;
      const note = (fields) => { seen = fields.get("seen") ?? seen; };
      const { timeout, key } = options;
      const headers = key ? { key } : {};
      const answer = await client[name](number(value), { headers, timeoutMs: timeout, onHeader: note, onTrailer: note });
      return { value: Number(answer.value), seen };
    },
    stream: async (name, value) => {
      const found = [];
      for await (const answer of client[name](number(value))) {
        found.push(Number(answer.value));
      }
      return found;
    },
    failure: (error) => [error.code, error.rawMessage],
  };
}

/** The same of grpc-web's own library. */
function byGrpcWeb(origin, format) {
  const client = new GrpcWebClientBase({ format });
  const path = (name) => `${origin}/shop.v1.Sums/${METHODS[name]}`;
  const method = (name, type) => new MethodDescriptor(
    `/shop.v1.Sums/${METHODS[name]}`, type, Int64Value, Int64Value,
    (message) => message.serializeBinary(), Int64Value.deserializeBinary,
  );
  const number = (value) => { const message = new Int64Value(); message.setValue(value); return message; };
  return {
    unary: (name, value, { timeout, key } = {}) => new Promise((resolve, reject) => {
      const metadata = { ...(timeout && { deadline: String(Date.now() + timeout) }), ...(key && { key }) };
      let seen = null;
      const call = client.rpcCall(path(name), number(value), metadata, method(name, MethodType.UNARY), (error, found) => {
        if (error) {
          reject(error);
        } else {
          // Trailers may be told of behind the answer.
          setTimeout(() => resolve({ value: found.getValue(), seen }), 0);
        }
      });
      call.on("metadata", (fields) => { seen = fields.seen ?? seen; });
      call.on("status", (status) => { seen = (status.metadata && status.metadata.seen) ?? seen; });
    }),
    stream: (name, value) => new Promise((resolve, reject) => {
      const found = [];
      const call = client.serverStreaming(path(name), number(value), {}, method(name, MethodType.SERVER_STREAMING));
      call.on("data", (answer) => found.push(answer.getValue()));
      call.on("error", reject);
      call.on("end", () => resolve(found));
    }),
    failure: (error) => [error.code, error.message],
  };
}

/** Call the methods of a server that a page can call; return what came. */
window.run = async (origin, way, schema) => {
  const client = way.startsWith("library_")
    ? byGrpcWeb(origin, way === "library_text" ? "text" : "binary")
    : byConnect(TRANSPORTS[way](origin), Uint8Array.from(schema));
  const failed = async (name, options) => {
    try {
      return await client.unary(name, 1, options);
    } catch (error) {
      return client.failure(error);
    }
  };
  const found = {};
  const late = new Promise((resolve) => { setTimeout(() => resolve({ ...found, late: true }), 10_000); });
  const calls = async () => {
    try {
      found.twice = (await client.unary("twice", 7)).value;
      found.up_to = await client.stream("upTo", 3);
      found.fail = await failed("fail");
      [found.wait] = await failed("wait", { timeout: 500 });
      found.seen = (await client.unary("seen", 1, { key: "value" })).seen;
      return found;
    } catch (error) {
      return { error: client.failure(error) };
    }
  };
  return Promise.race([calls(), late]);
};
