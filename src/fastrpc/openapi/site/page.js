// The page at /docs: it lists the methods of openapi.json, shows one, and calls it by client.js.
// Texts of the server reach the page as text only. The token stays in the field it is typed into.

import { showCalls } from "./calls.js";
import { Form, cancel } from "./form.js";
import { described, firstLine, methodAt, nameOf, overview } from "./method.js";
import { fill, make } from "./parts.js";
import { Types } from "./schemas.js";

const byId = (id) => document.getElementById(id);
let api = { info: { title: "Services" }, tags: [], paths: {}, components: { schemas: {} } };
let methods = [];
let again = null; // The call that fills the form of the method that opens next.
let loading = null; // Ends the load under way.

byId("find").addEventListener("input", list);
byId("token").addEventListener("change", load);
addEventListener("hashchange", open);
load();

/** Fetch the description of what the owner of the token may call. */
async function load() {
  const token = byId("token").value;
  loading?.abort();
  const { signal } = (loading = new AbortController());
  let found;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(new URL("../openapi.json", import.meta.url), { headers, signal, credentials: "omit", cache: "no-store" });
    if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
    found = await response.json();
  } catch (error) {
    if (signal.aborted) return;
    // With a wrong token the page stays as it is: a call tells more.
    if (byId("notice")) fill(byId("notice"), [`The description of the services cannot be had: ${error.message}`]).className = "bad";
    return;
  }
  if (signal.aborted) return;
  api = found;
  byId("title").textContent = document.title = api.info.title;
  const operations = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([verb, about]) => ({ path, verb, about })));
  const own = operations.filter(({ path, verb, about }) => verb === "post" && path === pathOf(about));
  methods = own.map(({ path, about }) => {
    const same = operations.filter((one) => nameOf(one.about) === nameOf(about));
    return { about, isSafe: "get" in api.paths[path], places: same.map((one) => `${one.verb.toUpperCase()} ${one.path}`) };
  });
  list();
  // A method that is shown already may be in use.
  if (!wanted() || byId("shown").dataset.method !== wanted()) open();
}

/** Return the path of an operation's method, beside which it may have a route. */
function pathOf(about) {
  return `/${nameOf(about).replace(/\.(?=[^.]*$)/, "/")}`;
}

function list() {
  fill(byId("list"), services(byId("find").value.toLowerCase()));
  mark();
}

/** Return the method that the address names. */
function wanted() {
  return methodAt(location.hash);
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
      const said = make("small", { className: "soft", textContent: about.summary ?? "" });
      const button = make("button", { type: "button" }, nameOf(about).slice(tag.name.length + 1), said);
      button.dataset.method = nameOf(about);
      button.addEventListener("click", () => { location.hash = nameOf(about); });
      return button;
    });
    const version = make("span", { className: "soft", textContent: tag["x-version"] ? ` ${tag["x-version"]}` : "" });
    const said = make("small", { className: "soft", textContent: firstLine(tag.description) });
    return [make("section", {}, make("strong", { textContent: tag.name }, version), said, ...buttons)];
  });
}

function open() {
  const method = methods.find(({ about }) => nameOf(about) === wanted());
  const types = new Types(api.components.schemas);
  mark();
  cancel();
  byId("shown").dataset.method = method ? wanted() : "";
  const form = method && new Form(method, types, { token: () => byId("token").value, ended: calls });
  if (form && again) form.fill(again);
  again = null;
  fill(byId("shown"), form ? described(method, types, form) : overview(api, methods, Boolean(byId("token").value)));
  if (form) byId("shown").focus({ preventScroll: true });
}

function calls() {
  showCalls(byId("calls"), (call) => {
    again = call;
    if (call.method === wanted()) open();
    else location.hash = call.method;
  });
}
