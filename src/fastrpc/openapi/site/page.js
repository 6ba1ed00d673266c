// The page at /docs: it lists the methods of openapi.json, shows one, and calls it by client.js.
// Texts of the server reach the page as text only. The token stays in the field it is typed into.

import { CallError, Client } from "../client.js";
import { fill, make } from "./parts.js";

const MOST_SHOWN = 1000; // Messages of a stream that stay on the page.
const client = new Client();
const byId = (id) => document.getElementById(id);
let running = null; // What cancels the call under way.
let api = { info: { title: "Services" }, tags: [], paths: {}, components: { schemas: {} } };
let methods = [];

byId("find").addEventListener("input", list);
byId("token").addEventListener("change", load);
addEventListener("hashchange", open);
load();

/** Fetch the description of what the owner of the token may call. */
async function load() {
  const token = byId("token").value;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(new URL("../openapi.json", import.meta.url), { headers, credentials: "omit", cache: "no-store" });
    if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
    api = await response.json();
  } catch (error) {
    // With a wrong token the page stays as it is: a call tells more.
    if (byId("notice")) fill(byId("notice"), [`The description of the services cannot be had: ${error.message}`]).className = "bad";
    return;
  }
  byId("title").textContent = document.title = api.info.title;
  const own = Object.entries(api.paths).filter(([path, item]) => path === pathOf(item.post));
  methods = own.map(([path, item]) => ({ path, about: item.post, isSafe: "get" in item }));
  list();
  // A method that is shown already may be in use.
  if (!wanted() || byId("shown").dataset.method !== wanted()) open();
}

/** Return the path of an operation's method, beside which it may have a route. */
function pathOf(about) {
  return about && `/${about["x-fastrpc"].method.replace(/\.(?=[^.]*$)/, "/")}`;
}

function list() {
  fill(byId("list"), services(byId("find").value.toLowerCase()));
  mark();
}

/** Return the method that the address names. */
function wanted() {
  return decodeURIComponent(location.hash.slice(1));
}

/** Mark it in the list. */
function mark() {
  for (const button of byId("list").querySelectorAll("button")) {
    if (button.dataset.method === wanted()) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function services(part) {
  return api.tags.flatMap((tag) => {
    const found = methods.filter(({ about }) => about.tags[0] === tag.name && nameOf(about).toLowerCase().includes(part));
    if (!found.length) return [];
    const buttons = found.map(({ about }) => {
      const button = make("button", { type: "button", textContent: nameOf(about).slice(tag.name.length + 1), title: about.summary ?? "" });
      button.dataset.method = nameOf(about);
      button.addEventListener("click", () => { location.hash = nameOf(about); });
      return button;
    });
    const version = make("span", { className: "soft", textContent: tag["x-version"] ? ` ${tag["x-version"]}` : "" });
    return [make("section", {}, make("strong", { textContent: tag.name }, version), ...buttons)];
  });
}

function open() {
  const method = methods.find(({ about }) => nameOf(about) === wanted());
  mark();
  running?.abort();
  byId("shown").dataset.method = method ? wanted() : "";
  if (method) fill(byId("shown"), described(method));
  else fill(byId("shown"), [make("p", { className: "soft", textContent: methods.length ? "Choose a method." : "This server shows no methods." })]);
  if (method) byId("shown").focus({ preventScroll: true });
}

function described({ path, about, isSafe }) {
  const form = new Form(about);
  const parameters = Object.entries(form.schema.properties ?? {});
  const rows = parameters.map(([name, schema]) => make("tr", {},
    make("td", {}, make("code", { textContent: name })),
    make("td", {}, make("code", { textContent: typeText(schema) })),
    make("td", { className: "soft", textContent: (form.schema.required ?? []).includes(name) ? "" : `default ${JSON.stringify(schema.default) ?? "…"}` })));
  const kinds = { unary: "", server_stream: "streams its answers", client_stream: "takes a stream", both_ways: "streams both ways" };
  const notes = [`POST ${path}`, isSafe ? `GET ${path}` : "", kinds[about["x-fastrpc"].kind], about["x-fastrpc"].idempotent ? "idempotent" : ""];
  return [
    make("h2", { textContent: nameOf(about) }),
    make("div", { className: "soft", textContent: notes.filter(Boolean).join(" · ") }),
    make("p", { className: "text", textContent: about.description ?? about.summary ?? "" }),
    make("h3", { textContent: "Arguments" }),
    rows.length ? make("table", {}, ...rows) : make("p", { className: "soft", textContent: "none" }),
    make("h3", { textContent: "Answer" }),
    make("code", { textContent: answerText(about) }),
    ...typesOf([form.schema, about.responses["200"]]),
    make("h3", { textContent: "Call" }),
    ...form.elements(),
  ];
}

/** Return what the classes in schemas look like. */
function typesOf(schemas) {
  const found = new Map();
  const look = (value) => {
    if (value === null || typeof value !== "object") return;
    const name = typeof value.$ref === "string" ? value.$ref.split("/").pop() : null;
    if (name && name !== "Problem" && !found.has(name)) {
      found.set(name, api.components.schemas[name]);
      look(found.get(name));
    }
    Object.values(value).forEach(look);
  };
  look(schemas);
  if (!found.size) return [];
  return [make("h3", { textContent: "Types" }), make("pre", { textContent: [...found].map(([name, schema]) => classText(name, schema)).join("\n\n") })];
}

function classText(name, schema) {
  if (!schema.properties) return `${name} = ${typeText(schema)}`;
  const fields = Object.entries(schema.properties).map(([field, one]) => {
    const mark = (schema.required ?? []).includes(field) ? "" : "?";
    return `  ${field}${mark}: ${typeText(one)}`;
  });
  return `${name} {\n${fields.join("\n")}\n}`;
}

/** The form that calls one method. */
class Form {
  constructor(about) {
    this.method = nameOf(about);
    this.kind = about["x-fastrpc"].kind;
    this.givesStream = this.kind === "server_stream" || this.kind === "both_ways";
    this.takesStream = this.kind === "client_stream" || this.kind === "both_ways";
    const [media, body] = Object.entries(about.requestBody.content)[0];
    const content = schemaOf(body);
    this.isJSON = media !== "application/msgpack";
    const first = this.takesStream ? content.anyOf[0].properties.arguments : content;
    this.schema = first ?? { type: "object", properties: {} };
    const value = JSON.stringify(example(this.schema), null, 2);
    this.args = make("textarea", { id: "arguments", spellcheck: false, value, rows: Math.min(24, value.split("\n").length + 1) });
    this.input = make("textarea", { id: "input", spellcheck: false, placeholder: "one message a line, as JSON" });
    this.button = make("button", { id: "call", type: "button", className: "main", textContent: this.givesStream ? "Stream" : "Call" });
    this.stop = make("button", { id: "cancel", type: "button", textContent: "Cancel", disabled: true });
    this.state = make("span", { id: "state", className: "soft" });
    this.state.setAttribute("role", "status");
    this.output = make("pre", { id: "output", hidden: true });
    this.button.addEventListener("click", () => this.run());
    this.stop.addEventListener("click", () => running?.abort());
  }

  elements() {
    if (!this.isJSON) return [make("p", { className: "soft", textContent: "Its values travel by msgpack alone, which this page does not speak." })];
    const input = this.takesStream ? [make("h3", { textContent: "Messages" }), this.input] : [];
    return [this.args, ...input, make("div", { className: "row" }, this.button, this.stop, this.state), this.output];
  }

  async run() {
    const began = performance.now();
    const abort = new AbortController();
    running = abort;
    this.button.disabled = true;
    this.stop.disabled = false;
    this.output.textContent = "";
    this.output.hidden = true;
    this.tell("", "calling …");
    try {
      await this.send(abort.signal);
      this.tell("good", `OK in ${Math.round(performance.now() - began)} ms`);
    } catch (error) {
      if (abort.signal.aborted) this.tell("soft", "cancelled");
      else this.fail(error);
    } finally {
      if (running === abort) running = null;
      this.button.disabled = false;
      this.stop.disabled = true;
    }
  }

  async send(signal) {
    const args = JSON.parse(this.args.value.trim() || "{}");
    const options = { token: byId("token").value || undefined, signal };
    if (this.takesStream) options.input = this.input.value.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
    if (!this.givesStream) {
      this.write(text(await client.call(this.method, args, options), 2));
      return;
    }
    let count = 0;
    for await (const message of client.stream(this.method, args, options)) {
      count += 1;
      if (count <= MOST_SHOWN) this.write(`${text(message)}\n`);
      this.tell("", `${count} messages`);
    }
  }

  fail(error) {
    this.tell("bad", error instanceof CallError ? error.code : "the call was not sent");
    const facts = error instanceof CallError ? { status: error.status, processed: error.processed, retry_after: error.retryAfter, details: error.details } : {};
    const told = Object.entries(facts).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${text(value)}`);
    this.write([error.message, ...told].join("\n"));
  }

  tell(kind, words) {
    this.state.className = kind;
    this.state.textContent = words;
  }

  write(words) {
    this.output.hidden = false;
    this.output.append(words);
  }
}

function nameOf(about) {
  return about["x-fastrpc"].method;
}

function answerText(about) {
  const schema = schemaOf(Object.values(about.responses["200"].content)[0]);
  const message = schema.anyOf?.[0].properties?.value;
  return about["x-fastrpc"].kind.match(/server_stream|both_ways/) && message ? `stream of ${typeText(message)}` : typeText(schema);
}

/** Return the schema of a body; of a stream, from OpenAPI 3.2 on, the schema of each item. */
function schemaOf(described) {
  return described.schema ?? described.itemSchema;
}

function typeText(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeText).join(" | ");
  if (schema.prefixItems) return `[${schema.prefixItems.map(typeText).join(", ")}]`;
  if (schema.type === "array") return `${typeText(schema.items ?? {})}[]`;
  if (schema.type === "object" && schema.additionalProperties) return `{text: ${typeText(schema.additionalProperties)}}`;
  return [schema.type ?? schema.title ?? "any", schema.format ?? schema.contentEncoding].filter(Boolean).join(" ");
}

/** Return a value that fits a schema, to begin with: required fields only. */
function example(schema, depth = 0) {
  if (schema.$ref) return depth > 4 ? null : example(api.components.schemas[schema.$ref.split("/").pop()], depth + 1);
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return example(schema.anyOf[0], depth + 1);
  if (schema.type === "object") {
    return Object.fromEntries((schema.required ?? []).map((name) => [name, example(schema.properties?.[name] ?? {}, depth + 1)]));
  }
  if (schema.type === "array") return (schema.prefixItems ?? []).slice(0, schema.minItems).map((one) => example(one, depth + 1));
  return { integer: schema.minimum ?? 0, number: schema.minimum ?? 0, boolean: false, string: "", null: null }[schema.type] ?? null;
}

function text(value, indent) {
  return JSON.stringify(value, (_, one) => (typeof one === "bigint" ? JSON.rawJSON?.(one.toString()) ?? one.toString() : one), indent) ?? "null";
}
