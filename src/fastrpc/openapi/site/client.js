// Calls the methods of a fastrpc server by HTTP, from browsers and from Node. It has no dependencies.
//
//   import { Client } from "/client.js";
//
//   const client = new Client({ token });
//   await client.call("arith.mul", { a: 6, b: 7 });
//   for await (const n of client.stream("arith.count", { limit: 3 })) console.log(n);
//
// Arguments are an object by parameter name. In them a Uint8Array is sent as base64, as the server takes bytes, and a
// BigInt with all its digits; an integer in an answer that Number cannot hold is a BigInt where JSON.parse tells them.

const CUT_OFF = "the connection ended before the stream did";

/** A call failed or was refused; `code` is the name of its status, such as "NOT_FOUND". */
export class CallError extends Error {
  constructor(problem, options) {
    super(problem.detail || problem.title || problem.code, options);
    this.name = "CallError";
    this.code = problem.code || "UNKNOWN";
    this.status = problem.status ?? null;
    this.processed = problem.processed ?? "unknown";
    this.retryAfter = problem.retry_after ?? null;
    this.details = problem.details ?? null;
  }
}

/** Calls methods of one server. Every option of a call may be given here as well, for all calls. */
export class Client {
  /**
   * @param {object} [options]
   * @param {string} [options.base] the server's URL; by default the one that this module came from.
   * @param {string} [options.token] a bearer token.
   * @param {number} [options.timeout] seconds that a call may take.
   * @param {object} [options.metadata] entries that go with the call, texts by key.
   */
  constructor({ base = new URL(".", import.meta.url).href, ...options } = {}) {
    this.base = base.endsWith("/") ? base : `${base}/`;
    this.options = options;
  }

  /**
   * Call a method that gives one answer, and return the answer.
   * @param {string} method the full name, "service.method".
   * @param {object} [args] the arguments by name.
   * @param {object} [options] the options of the constructor, and `signal`, which cancels, and `input`: the messages for a
   *   method that takes a stream.
   */
  async call(method, args = {}, options = {}) {
    const response = await this.#send(method, args, options, "application/json");
    const content = await read(response, this.#signal(options));
    return response.status === 204 || response.status === 205 ? null : parsed(content);
  }

  /**
   * Call a method that streams, and yield each message; it returns the metadata at the end. Leaving the loop early
   * cancels the call.
   */
  async *stream(method, args = {}, options = {}) {
    const response = await this.#send(method, args, options, "application/x-ndjson");
    for await (const line of lines(response.body, this.#signal(options))) {
      const message = parsed(line);
      if ("error" in message) throw new CallError(message.error);
      if ("end" in message) return message.end.metadata ?? {};
      yield message.value;
    }
    throw new CallError({ code: "UNAVAILABLE", detail: CUT_OFF });
  }

  async #send(method, args, options, accept) {
    const { token, timeout, metadata = {}, signal, input } = { ...this.options, ...options };
    const headers = { Accept: accept, "Content-Type": input ? "application/x-ndjson" : "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (timeout != null) headers["Timeout-Ms"] = String(Math.max(1, Math.round(timeout * 1000)));
    for (const [key, value] of Object.entries({ ...this.options.metadata, ...metadata })) {
      headers[`Meta-${key}`] = headerText(value);
    }
    const url = this.#url(method);
    const body = input ? await joined(args, input) : written(args);
    let response;
    try {
      response = await fetch(url, {
        method: "POST", headers, body, signal, credentials: "omit", cache: "no-store", redirect: "error",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new CallError({ code: "UNAVAILABLE", detail: `the server cannot be reached: ${error.message}` }, { cause: error });
    }
    if (!response.ok) throw await failure(response, signal);
    return response;
  }

  #signal(options) {
    return { ...this.options, ...options }.signal;
  }

  #url(method) {
    const dot = method.lastIndexOf(".");
    if (dot < 1) throw new TypeError(`${method} is no method: write service.method`);
    const path = [method.slice(0, dot), method.slice(dot + 1)].map(encodeURIComponent).join("/");
    return new URL(path, new URL(this.base, globalThis.location?.href)).href;
  }
}

async function failure(response, signal) {
  const text = await read(response, signal);
  try {
    return new CallError({ status: response.status, ...JSON.parse(text) });
  } catch {
    return new CallError({ status: response.status, detail: text || response.statusText });
  }
}

async function read(response, signal) {
  return response.text().catch((error) => cutOff(error, signal));
}

function cutOff(error, signal) {
  // Its reason, whatever that is, was given by the caller.
  if (signal?.aborted) throw error;
  throw new CallError({ code: "UNAVAILABLE", detail: CUT_OFF }, { cause: error });
}

async function* lines(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => cutOff(error, signal));
      if (done) return; // What is left is no whole line: it was cut off.
      const found = (rest + value).split("\n");
      rest = found.pop();
      for (const line of found) if (line) yield line;
    }
  } finally {
    // Ends the call where the loop was left early.
    await reader.cancel().catch(() => {});
  }
}

async function joined(args, input) {
  const found = Object.keys(args).length ? [written({ arguments: args })] : [];
  for await (const value of input) found.push(written({ value }));
  return `${found.join("\n")}\n`;
}

function written(value) {
  return JSON.stringify(value, (_, one) => {
    // As text only what is beyond 2⁵³: the server takes no other.
    if (typeof one === "bigint") return one >= -(2n ** 53n) && one <= 2n ** 53n ? Number(one) : one.toString();
    if (one instanceof Uint8Array) return btoa(Array.from(one, (byte) => String.fromCharCode(byte)).join(""));
    return one;
  });
}

function parsed(text) {
  return JSON.parse(text, (_, value, context) => {
    const isLost = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isLost && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;
  });
}

function headerText(value) {
  return String(value).replace(/[^\x21-\x7e]|%/gu, encodeURIComponent);
}
