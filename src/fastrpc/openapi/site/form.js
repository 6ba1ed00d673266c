// The form that calls one method: fields beside JSON, which stay in step, and what the call gives. Secret arguments have
// masked fields apart: the JSON, the last calls and copied calls are without them.

import { CallError, Client } from "../client.js";
import { keep } from "./calls.js";
import { commands } from "./commands.js";
import { Fields } from "./fields.js";
import { fill, make } from "./parts.js";
import { schemaOf } from "./schemas.js";
import { WrongInput, mistakesIn, readJSON, writeJSON } from "./values.js";

const MOST_SHOWN = 1000; // Messages of a stream that stay on the page.
const SETTINGS = {
  type: "object",
  properties: {
    timeout: { type: "number", format: "of seconds", examples: [5] },
    metadata: { type: "object", additionalProperties: { type: "string" } },
  },
};
const client = new Client();
const agreed = new Set(); // The methods that may be called without a question, until the page is loaded again.
let settings = {}; // They stay from one method to the next.
let running = null; // Cancels the call under way.

/** Cancel the call under way. */
export function cancel() {
  running?.abort();
}

/** Ask before the first call of a method that may change something; a question at each call would be read at none. */
async function agrees(method) {
  if (agreed.has(method)) return true;
  const dialog = make("dialog", { ariaLabel: "Question" },
    make("p", {}, make("code", { textContent: method }), " may change something: it is not declared safe. Call it?"),
    make("p", { className: "soft", textContent: "The page asks once for each method." }));
  const buttons = [["no", "Do not call"], ["yes", "Call"]].map(([value, textContent]) => {
    const button = make("button", { type: "button", value, textContent });
    button.addEventListener("click", () => dialog.close(value));
    return button;
  });
  dialog.append(make("div", { className: "row" }, ...buttons));
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed));
  dialog.remove();
  if (dialog.returnValue === "yes") agreed.add(method);
  return agreed.has(method);
}

/** The form of a method. */
export class Form {
  /**
   * @param {object} method its operation `about`, and whether it `isSafe`.
   * @param {Types} types the types of the document.
   * @param {object} page its `token()`, and `ended()`, called after each call.
   */
  constructor({ about, isSafe }, types, page) {
    Object.assign(this, { types, page, isSafe, method: about["x-fastrpc"].method, kind: about["x-fastrpc"].kind });
    this.givesStream = this.kind === "server_stream" || this.kind === "both_ways";
    this.takesStream = this.kind === "client_stream" || this.kind === "both_ways";
    const [media, body] = Object.entries(about.requestBody.content)[0];
    const lines = this.takesStream ? schemaOf(body).anyOf.map((one) => one.properties) : [];
    this.isJSON = media !== "application/msgpack";
    this.message = lines.find((one) => "value" in one)?.value ?? {};
    this.schema = (this.takesStream ? lines.find((one) => "arguments" in one)?.arguments : schemaOf(body)) ?? { type: "object", properties: {} };
    [this.open, this.secret] = types.parted(this.schema);
    this.build();
    this.secrets.show(types.example(this.secret));
    this.fill({ args: writeJSON(types.example(this.open), 2), input: "", settings });
  }

  build() {
    this.args = make("textarea", { id: "arguments", spellcheck: false, ariaLabel: "arguments as JSON" });
    this.input = make("textarea", { id: "input", spellcheck: false, ariaLabel: "messages", placeholder: `one message a line, as JSON: ${this.types.text(this.message)}` });
    this.button = make("button", { id: "call", type: "button", className: "main", textContent: this.givesStream ? "Stream" : "Call" });
    this.stop = make("button", { id: "cancel", type: "button", textContent: "Cancel", disabled: true });
    this.state = make("span", { id: "state", role: "status" });
    this.output = make("pre", { id: "output", hidden: true, tabIndex: 0 });
    this.copied = make("pre", { id: "copied", hidden: true, tabIndex: 0 });
    this.fields = new Fields(this.types, this.open, "arguments", () => this.told(() => this.write()));
    this.secrets = new Fields(this.types, this.secret, "secret arguments", () => this.told(() => marked(this.secrets, () => {})));
    this.settings = new Fields(this.types, SETTINGS, "settings", () => this.told(() => this.set()));
    this.args.addEventListener("input", () => this.told(() => this.show()));
    this.button.addEventListener("click", () => this.run());
    this.stop.addEventListener("click", cancel);
  }

  elements() {
    if (!this.isJSON) {
      const types = Object.entries(this.schema.properties).map(([name, one]) => make("p", {}, make("code", { textContent: `${name}: ${one.description ?? this.types.text(one)}` })));
      return [...types, make("p", { className: "soft", textContent: "Its values travel by msgpack alone, which this page does not speak." })];
    }
    const input = this.takesStream ? [make("h3", { textContent: "Messages" }), this.input] : [];
    const secrets = this.secretNames().length ? [this.secrets.element, make("p", { className: "soft", textContent: "Secret: not in the JSON, the last calls and copied calls." })] : [];
    const copies = ["fastrpc call", "curl", "Python"].map((name) => {
      const button = make("button", { type: "button", textContent: name });
      button.addEventListener("click", () => this.told(() => this.copy(name)));
      return button;
    });
    return [
      make("div", { className: "pair" }, this.fields.element, this.args), ...secrets, ...input,
      make("details", { open: Object.keys(settings).length > 0 }, make("summary", { textContent: "Timeout and metadata" }), this.settings.element),
      make("div", { className: "row" }, this.button, this.stop, this.state), this.output,
      make("div", { className: "row" }, make("span", { className: "soft", textContent: "Copy as" }), ...copies), this.copied,
    ];
  }

  /** Put in a call: arguments and messages as typed, and settings. */
  fill(call) {
    settings = call.settings;
    this.args.value = call.args;
    this.args.rows = Math.min(24, call.args.split("\n").length + 1);
    this.input.value = call.input;
    this.settings.show(settings);
    this.told(() => this.show());
  }

  /** Put the value of the text into the fields; while the text is no object of JSON, they rest. */
  show() {
    this.fields.element.inert = true;
    this.fields.show(this.given());
    this.fields.element.inert = false;
  }

  /** Put the value of the fields into the text. */
  write() {
    this.args.value = writeJSON(marked(this.fields, (found) => found), 2);
  }

  /** Take over the settings. */
  set() {
    settings = marked(this.settings, (found) => found);
  }

  secretNames() {
    return Object.keys(this.secret.properties);
  }

  /** Return the arguments in the text. */
  given() {
    const found = readJSON("arguments", this.args.value.trim() || "{}");
    if (!this.types.isOf({ type: "object" }, found)) throw new WrongInput("arguments", "no object of JSON");
    const secret = this.secretNames().find((name) => Object.hasOwn(found, name));
    if (secret) throw new WrongInput(secret, "is secret: it has a field below, and is not in the JSON");
    return found;
  }

  /** Return the call in the form without its secret arguments; raises WrongInput, which names a field. */
  call() {
    const args = this.given();
    marked(this.fields, () => {});
    const lines = this.input.value.split("\n").filter((line) => line.trim());
    const messages = this.takesStream ? lines.map((line, at) => readJSON(`message ${at + 1}`, line)) : null;
    const { timeout, metadata = {} } = marked(this.settings, checked);
    return { args, messages, timeout, metadata };
  }

  /** Return the call in the form with its secret arguments. */
  whole() {
    const call = this.call();
    return { ...call, args: { ...call.args, ...marked(this.secrets, (found) => found) } };
  }

  copy(name) {
    const texts = new Set(Object.entries(this.schema.properties).filter(([, schema]) => this.types.isText(schema)).map(([one]) => one));
    const { base } = client;
    const facts = { base, method: this.method, givesStream: this.givesStream, hasToken: Boolean(this.page.token()), texts, messageIsText: this.types.isText(this.message) };
    this.copied.hidden = true;
    fill(this.copied, [commands({ ...this.call(), ...facts })[name]()]).hidden = false;
    const missing = this.secretNames().length ? `, without ${this.secretNames().join(", ")}` : "";
    getSelection().selectAllChildren(this.copied);
    // Browsers have it for pages that come by TLS, or from this machine.
    navigator.clipboard?.writeText(this.copied.textContent).then(() => this.tell("good", `copied${missing}`), () => {});
  }

  async run() {
    let call;
    if (!this.told(() => { call = this.whole(); }) || !(this.isSafe || (await agrees(this.method)))) return;
    const began = performance.now();
    const abort = new AbortController();
    const typed = { method: this.method, args: this.args.value, input: this.input.value, settings };
    running = abort;
    this.button.disabled = true;
    this.stop.disabled = false;
    fill(this.output, []).hidden = true;
    this.tell("", "calling …");
    try {
      await this.send(call, abort.signal);
      this.tell("good", `OK in ${Math.round(performance.now() - began)} ms`);
    } catch (error) {
      if (abort.signal.aborted) this.tell("soft", "cancelled");
      else this.fail(error);
    } finally {
      if (running === abort) running = null;
      this.button.disabled = false;
      this.stop.disabled = true;
      keep({ ...typed, kind: this.state.className, state: this.state.textContent });
      this.page.ended();
    }
  }

  async send({ args, messages, timeout, metadata }, signal) {
    const options = { token: this.page.token() || undefined, timeout, metadata, signal, input: messages ?? undefined };
    if (!this.givesStream) {
      this.print(writeJSON(await client.call(this.method, args, options), 2));
      return;
    }
    let count = 0;
    for await (const message of client.stream(this.method, args, options)) {
      count += 1;
      if (count <= MOST_SHOWN) this.print(`${writeJSON(message)}\n`);
      this.tell("", `${count} messages`);
    }
  }

  /** Run something and return whether it met no wrong input, which is told. */
  told(act) {
    try {
      act();
      this.tell("", "");
      return true;
    } catch (error) {
      if (!(error instanceof WrongInput)) throw error;
      this.tell("bad", error.message);
      return false;
    }
  }

  fail(error) {
    this.tell("bad", error instanceof CallError ? error.code : "the call was not sent");
    const facts = error instanceof CallError ? { status: error.status, processed: error.processed, retry_after: error.retryAfter, details: error.details } : {};
    const told = Object.entries(facts).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${writeJSON(value)}`);
    this.print([error.message, ...told].join("\n"));
    if (error.code !== "INVALID_ARGUMENT") return;
    for (const [path, words] of mistakesIn(error.details)) {
      this.fields.mark(path, words);
      this.secrets.mark(path, words);
    }
  }

  tell(kind, words) {
    this.state.className = kind;
    this.state.textContent = words;
  }

  print(words) {
    this.output.hidden = false;
    this.output.append(words);
  }
}

/** Return what `use` makes of the value of fields; a field with a wrong input is marked. */
function marked(fields, use) {
  try {
    return use(fields.read());
  } catch (error) {
    if (error instanceof WrongInput) fields.mark(error.path, error.words);
    throw error;
  }
}

/** Return settings that a call can have. */
function checked(found) {
  if (found.timeout !== undefined && !(found.timeout > 0)) throw new WrongInput("timeout", "not above 0 seconds");
  for (const key of Object.keys(found.metadata ?? {})) {
    const path = `metadata[${JSON.stringify(key)}]`;
    if (!/^[a-z0-9._-]{1,255}$/.test(key)) throw new WrongInput(path, "keys are 1 to 255 of a-z 0-9 . _ -");
    if (key === "authorization") throw new WrongInput(path, "the token has a field at the top of the page");
  }
  return found;
}
