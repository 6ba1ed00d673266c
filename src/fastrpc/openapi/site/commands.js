// One call as commands to copy: for a shell with fastrpc or curl, and for Python without any package. They are run with
// the token in the variable FASTRPC_TOKEN, so that no copied text holds it.

import { WrongInput, writeJSON } from "./values.js";

// A terminal acts on control characters, and others hide what a text says.
const HIDDEN = /[\u007f-\u009f\u2028\u2029\u2800\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;

const units = (text) => Array.from({ length: text.length }, (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`);
const json = (value) => writeJSON(value).replace(HIDDEN, (one) => units(one).join(""));
const octal = (text) => Array.from(new TextEncoder().encode(text), (byte) => `\\${byte.toString(8)}`).join("");
// Every shell has printf, and few another way to write a character by its number.
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''").replace(HIDDEN, (one) => `'"$(printf '${octal(one)}')"'`)}'`);
const fieldText = (text) => String(text).replace(/[^\x21-\x7e]|%/gu, encodeURIComponent);

/**
 * Return the forms of a call by their names, each a function that returns the text or raises WrongInput.
 * @param {object} call its `base` (the server's URL), `method`, `args`, `messages` (null without a stream), `timeout`,
 *   `metadata`, `hasToken`, `givesStream`; the names of the arguments that are `texts`, and `messageIsText`.
 */
export function commands(call) {
  return { "fastrpc call": () => commandLine(call), curl: () => curl(call), Python: () => python(call) };
}

function commandLine({ base, method, args, messages, timeout, metadata, texts, messageIsText }) {
  const { origin, pathname } = new URL(base);
  if (pathname !== "/") throw new WrongInput("fastrpc call", `takes host and port, and this server is at ${pathname}`);
  const told = (path, value, isText) => {
    const text = isText && typeof value === "string" ? value : json(value);
    if (CONTROL.test(text)) throw new WrongInput(path, "fastrpc call takes no control characters");
    return text;
  };
  const named = Object.entries(args).map(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new WrongInput(name, "fastrpc call takes names of a-z, A-Z, 0-9 and _");
    return `${name}=${told(name, value, texts.has(name))}`;
  });
  const options = timeout === undefined ? [] : [`--timeout=${timeout}`];
  for (const [key, value] of Object.entries(metadata)) {
    if (key.endsWith("-bin")) throw new WrongInput(`metadata[${json(key)}]`, "fastrpc call takes texts");
    options.push(`--metadata=${key}=${told(`metadata[${json(key)}]`, value, true)}`);
  }
  const words = ["fastrpc", "call", ...options, origin, method, ...named, ...(messages ? ["-"] : [])].map(quoted).join(" ");
  if (!messages) return words;
  const lines = messages.map((one, at) => told(`message ${at + 1}`, one, messageIsText));
  const broken = lines.findIndex((one) => one.includes("\n"));
  if (broken >= 0) throw new WrongInput(`message ${broken + 1}`, "fastrpc call takes one message a line");
  return lines.length ? `printf '%s\\n' ${lines.map(quoted).join(" ")} | ${words}` : `${words} < /dev/null`;
}

function curl(call) {
  const fields = Object.entries(headers(call)).map(([name, value]) => ` \\\n  -H ${quoted(value ? `${name}: ${value}` : `${name};`)}`);
  if (call.hasToken) fields.push(' \\\n  -H "Authorization: Bearer $FASTRPC_TOKEN"');
  return `curl -sS${call.givesStream ? "N" : ""} --fail-with-body ${quoted(address(call))}${fields.join("")} \\\n  --data-raw ${quoted(body(call))}`;
}

function python(call) {
  const { args, messages, timeout, hasToken, givesStream } = call;
  const fields = Object.entries(headers(call)).map(([name, value]) => `${json(name)}: ${json(value)}`);
  if (hasToken) fields.push("\"Authorization\": f\"Bearer {os.environ['FASTRPC_TOKEN']}\"");
  const lines = ["import json", ...(hasToken ? ["import os"] : []), "import urllib.request", ""];
  if (messages) {
    lines.push(`messages = ${literal(envelopes(args, messages))}`, 'body = "".join(json.dumps(one) + "\\n" for one in messages)');
  } else lines.push(`body = json.dumps(${literal(args)})`);
  lines.push(`headers = {${fields.join(", ")}}`, `request = urllib.request.Request(${json(address(call))}, body.encode(), headers)`);
  lines.push(`with urllib.request.urlopen(request${timeout === undefined ? "" : `, timeout=${timeout}`}) as answer:`);
  if (!givesStream) return [...lines, '    print(json.loads(answer.read() or "null"))', ""].join("\n");
  const loop = ["    for line in answer:", "        found = json.loads(line)", '        if "error" in found:', '            raise RuntimeError(found["error"])'];
  return [...lines, ...loop, '        if "value" in found:', '            print(found["value"])', ""].join("\n");
}

function headers({ messages, givesStream, timeout, metadata }) {
  const found = { "Content-Type": messages ? "application/x-ndjson" : "application/json" };
  found.Accept = givesStream ? "application/x-ndjson" : "application/json";
  if (timeout !== undefined) found["Timeout-Ms"] = String(Math.max(1, Math.round(timeout * 1000)));
  for (const [key, value] of Object.entries(metadata)) found[`Meta-${key}`] = fieldText(value);
  return found;
}

function address({ base, method }) {
  const dot = method.lastIndexOf(".");
  return new URL([method.slice(0, dot), method.slice(dot + 1)].map(encodeURIComponent).join("/"), base).href;
}

function envelopes(args, messages) {
  return [...(Object.keys(args).length ? [{ arguments: args }] : []), ...messages.map((value) => ({ value }))];
}

function body({ args, messages }) {
  return messages ? envelopes(args, messages).map((one) => `${json(one)}\n`).join("") : json(args);
}

/** Return a value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${json(name)}: ${literal(one)}`).join(", ")}}`;
  return typeof value === "string" ? json(value) : String(value);
}
