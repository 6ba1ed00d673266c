// The page of the console: it shows the view in its address and asks for it every two seconds while it is seen.
// Texts of the fleet reach the page as text only. The token stays in the tab.

import { Client } from "../client.js";
import { fill, make } from "../docs/parts.js";
import { ACT, openAct } from "./acts.js";
import { addressOf, isToken, keepToken, shownView, takeToken } from "./address.js";
import { blockElements, updateAges } from "./blocks.js";
import { save, tableText } from "./csv.js";
import { morphChildren } from "./morph.js";
import { forgetPlots, listenToPlots, paintPlots } from "./plots.js";
import { errorText, short, timeText } from "./shown.js";

const POLL = 2000; // Milliseconds between two answers.
const TYPING = 200; // Milliseconds after a letter of a search.
const VIEWS = { services: "Services", console: "Servers", store: "Stores" };

const VIEW_SECONDS = 20; // Seconds that a view may take.
const ACT_SECONDS = 60; // Seconds that an act may take: each of its servers has some.

const client = new Client({ timeout: VIEW_SECONDS });
const byId = (id) => document.getElementById(id);
let token = takeToken();
let hasShown = false; // Whether the page has shown a view.
let callable = null; // The full names of the methods that the token's owner may call; null: not known yet.
let shown = null; // The view on the page: name, given, title, blocks, revision, time.
let asked = shownView();
let running = null; // Cancels the request under way.
let timer = null;
let typing = null; // The timer of a search.
let lookedUp = ""; // The arguments of the view for which openapi.json was read again.

addEventListener("popstate", () => open(shownView(), { isNew: true }));
addEventListener("hashchange", () => {
  token = takeToken();
  callable = null;
  refresh();
});
document.addEventListener("visibilitychange", () => (document.hidden ? stop() : refresh()));
document.addEventListener("click", follow);
document.addEventListener("input", search);
document.addEventListener("keydown", press);
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("token").value.trim();
  if (!isToken(given)) {
    tell("a token has visible ASCII characters alone");
    return;
  }
  keepToken(given);
  token = given;
  byId("token").value = "";
  callable = null;
  refresh();
});
byId("act").addEventListener("close", refresh);
listenToPlots(byId("blocks"), render);
navigation();
refresh();

/** Show another view, or this one with other arguments. */
function open(view, { isNew }) {
  clearTimeout(typing);
  const isOther = view.name !== asked.name || view.given.service !== asked.given.service || view.given.server !== asked.given.server;
  asked = view;
  if (isNew && isOther) {
    forgetPlots();
    byId("shown").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  navigation();
  refresh();
}

function navigation() {
  const links = Object.entries(VIEWS).map(([name, text]) => {
    const link = make("a", { href: addressOf(name), textContent: text });
    if (asked.name === name && !asked.given.server) link.setAttribute("aria-current", "page");
    return link;
  });
  morphChildren(byId("views"), make("div", {}, ...links));
}

function stop() {
  clearTimeout(timer);
  running?.abort();
  running = null;
}

/** Ask for the view, and again in a while. */
async function refresh() {
  stop();
  const abort = new AbortController();
  running = abort;
  let isRefused = false;
  const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(1000 * VIEW_SECONDS)]);
  const { name, given } = asked;
  try {
    if (callable === null) await lookUp(signal);
    const after = shown !== null && shown.name === name && shown.key === JSON.stringify(given) ? shown.revision : "";
    const args = { name, arguments: given, after };
    const view = await client.call(`${serviceOf()}.view`, args, { token: token || undefined, signal });
    if (running === abort) await take(view, name, given, signal);
  } catch (error) {
    if (!abort.signal.aborted) isRefused = fail(error, name, given);
  }
  if (running !== abort) return;
  running = null;
  if (!document.hidden && !isRefused) timer = setTimeout(refresh, POLL);
}

/** Look up the names of the methods that the owner of the token may call, as openapi.json tells. */
async function lookUp(signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(new URL("../openapi.json", import.meta.url), { headers, signal, credentials: "omit", cache: "no-store" });
  if (response.status === 401) throw Object.assign(new Error("the token is not valid"), { code: "UNAUTHENTICATED" });
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const { paths } = await response.json();
  // The token may have changed by now.
  signal.throwIfAborted();
  callable = new Set(Object.values(paths).flatMap((item) => Object.values(item)).map((about) => about["x-fastrpc"]?.method).filter(Boolean));
}

function serviceOf() {
  if (callable.has("fastrpc.console.detail.view")) return "fastrpc.console.detail";
  if (callable.has("fastrpc.console.view")) return "fastrpc.console";
  throw Object.assign(new Error(token ? "the owner of this token may see no view" : "a token is needed"), { code: "UNAUTHENTICATED" });
}

async function take(view, name, given, signal) {
  const key = JSON.stringify(given);
  byId("access").hidden = true;
  tell("");
  if (view.blocks === null) {
    shown.time = view.time;
    updateAges(byId("blocks"), view.time);
  } else render({ name, given, key, title: view.title, blocks: view.blocks, revision: view.revision, time: view.time });
  hasShown = true;
  byId("age").textContent = `as of ${timeText(view.time)}`;
  // A catalogue may have learned of the method since the page was opened.
  if (name === "method" && !callable.has(methodName(given)) && lookedUp !== key) {
    await lookUp(signal);
    lookedUp = key;
    render();
  }
}

function methodName({ service, method }) {
  return `${service}.${method}`;
}

/** Show the blocks of a view, which is then the one on the page; what is equal stays. */
function render(next = shown) {
  const view = { ...next, mayAct: callable?.has(ACT) ?? false };
  const blocks = blockElements(next.blocks, view);
  const name = methodName(next.given);
  if (next.name === "method" && callable?.has(name)) {
    const link = make("a", { className: "button", href: `docs#${encodeURIComponent(name)}`, textContent: "Try it" });
    const told = make("span", { className: "soft", textContent: "The page of methods asks for the token again." });
    blocks.unshift(make("p", { className: "row" }, link, token ? told : ""));
  }
  morphChildren(byId("blocks"), make("div", {}, ...blocks));
  byId("title").textContent = short(next.title);
  document.title = `${short(next.title)} · console`;
  shown = next;
  paintPlots();
}

/** Tell of a problem; a text that is read aloud is not set again. */
function tell(text) {
  byId("problem").hidden = !text;
  if (byId("problem").textContent !== text) byId("problem").textContent = text;
}

/** Tell why a view did not come; return whether its reader is refused. */
function fail(error, name, given) {
  const isRefused = error.code === "UNAUTHENTICATED" || error.code === "PERMISSION_DENIED";
  if (isRefused) callable = null;
  // The form stays until there is a view: the token in it may be the reason.
  if (isRefused || hasShown) byId("access").hidden = !isRefused;
  const isShown = shown !== null && shown.name === name && shown.key === JSON.stringify(given);
  const text = isShown ? `The view is not up to date, the last answer is of ${timeText(shown.time)}. ${errorText(error)}` : errorText(error);
  tell(isRefused && !token ? "" : text);
  if (!isShown) {
    shown = null;
    byId("title").textContent = document.title = isRefused ? "Console" : short(name);
    fill(byId("blocks"), []);
  }
  return isRefused;
}

/** Change arguments of the view; its page begins anew. */
function change(given, { isTyped = false } = {}) {
  const { page: _, ...rest } = { ...asked.given, ...given };
  if (!rest.search) delete rest.search;
  const address = addressOf(asked.name, rest);
  if (isTyped) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  open({ name: asked.name, given: rest }, { isNew: false });
}

function follow(event) {
  const { target } = event;
  const link = target.closest("a[href]");
  const href = link?.getAttribute("href") ?? "";
  if (href.startsWith("?") && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey)) {
    event.preventDefault();
    history.pushState(null, "", href);
    open(shownView(), { isNew: true });
  }
  const { sort, csv, act } = target.closest("button")?.dataset ?? {};
  if (sort !== undefined) change({ sort });
  if (csv !== undefined) save(`${shown.name} ${shown.blocks[csv].title}`, tableText(shown.blocks[csv]));
  if (act !== undefined) {
    const [block, number] = act.split(" ");
    const { title, act: found } = shown.blocks[block].buttons[number];
    // The console's own word that the time is over comes first.
    openAct(byId("act"), title, found, (args) => client.call(ACT, args, {
      token: token || undefined, timeout: ACT_SECONDS, signal: AbortSignal.timeout(1000 * (ACT_SECONDS + 5)),
    }));
  }
}

function search({ target }) {
  if (target.dataset.search === undefined) return;
  clearTimeout(typing);
  typing = setTimeout(() => change({ search: target.value }, { isTyped: true }), TYPING);
}

function press(event) {
  const { target, key } = event;
  const field = byId("blocks").querySelector("[data-search]");
  if (key === "/" && field && !target.closest("input, textarea, select, dialog")) {
    event.preventDefault();
    field.focus();
    field.select();
  } else if (key === "Escape" && target === field) {
    field.value = "";
    field.blur();
    change({ search: "" }, { isTyped: true });
  }
}
