// The dialog of an act: it says what will happen, asks for values and for the operator's token, and shows each answer.

import { make, fill } from "../docs/parts.js";
import { errorText, plain, short, valueText } from "./shown.js";

export const ACT = "fastrpc.console.act.act";

const TOLD = new Map(Object.entries({
  out: "Takes the server out: each of its records gets weight 0 and the label state=inactive, and clients send it no new calls. Calls under way go on. A restart of the server puts it in again.",
  in: "Puts the server in: each of its records gets its configured weight and labels, and clients call it again.",
  weight: "Sets the weight of every record of the server, until it restarts.",
  serving: "Sets whether a service of the server reports that it serves.",
  log_level: "Sets the level from which on a logger of the server takes records, until it restarts.",
  drain: "Ends the server once its calls are done, as SIGTERM does. Its supervisor or the system starts another one, or none.",
  roll: "Replaces the server's workers one after the other, as SIGHUP does. No call fails.",
}));
const CHOICES = new Map([["level", ["debug", "info", "warning", "error", "critical"]], ["serving", ["true", "false"]]]);

const TOLD_VALUES = ["before", "after", "now"]; // Of a server's answer.
const SIGNS = new Map([[200, "done"], [0, "not sent"], [504, "no whole answer"]]);

// The operator's token stays in this variable, and is gone with the tab.
let operator = "";

/**
 * Show the dialog of an act.
 * @param {HTMLDialogElement} dialog the element.
 * @param {string} title of its button.
 * @param {object} act `name`, `servers`, `values` and `asks`, as in the view.
 * @param {(args: object) => Promise<object[]>} call carries it out, and gives the servers' answers.
 */
export function openAct(dialog, title, { name, servers, values = {}, asks = [] }, call) {
  const fields = asks.map((one) => fieldOf(one, values.was));
  const token = make("input", { type: "password", autocomplete: "off", spellcheck: false, required: true, value: operator });
  const answers = make("div", {});
  answers.setAttribute("role", "status");
  const send = make("button", { className: "main", textContent: short(title) });
  const close = closer(dialog);
  const form = make("form", {},
    make("h2", { id: "act-title", textContent: short(title) }),
    make("p", { textContent: TOLD.get(name) ?? `Carries out the act ${short(name)}.` }),
    make("ul", {}, ...servers.map((one) => make("li", { textContent: short(one) }))),
    ...conditions(values).map((text) => make("p", { className: "soft", textContent: text })),
    ...fields.map(({ label }) => label),
    make("label", {}, "Token of an operator ", token),
    make("div", { className: "row" }, send, close), answers);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    operator = token.value;
    send.disabled = close.disabled = true;
    const stayed = keepOpen(dialog);
    fill(answers, [make("p", { textContent: "Under way …" })]);
    const given = Object.fromEntries(fields.map(({ key, value }) => [key, value()]));
    fill(answers, await answersOf(call({ name, servers, values: { ...values, ...given }, token: operator })));
    stayed.abort();
    send.disabled = close.disabled = false;
  });
  fill(dialog, [form]);
  dialog.showModal();
}

/** Keep a dialog open until what this returns is aborted: closed, it would lose the answer. */
function keepOpen(dialog) {
  const stayed = new AbortController();
  const { signal } = stayed;
  dialog.addEventListener("cancel", (event) => event.preventDefault(), { signal });
  // Browsers let a page refuse one `cancel` only; the key that asks for it may be refused each time.
  addEventListener("keydown", (event) => event.key === "Escape" && event.preventDefault(), { signal });
  return stayed;
}

/** Return the values of an act in words; `was` is what the view saw. */
function conditions({ was, ...values }) {
  const told = Object.entries(values).map(([name, value]) => `${short(name)}: ${valueText(value) || "all"}.`);
  if (was === undefined) return told;
  if (was?.server) return [...told, "It is carried out only if the server has not started again since."];
  return [...told, `It is carried out only while the value is still ${valueText(was)}.`];
}

function closer(dialog) {
  const button = make("button", { type: "button", textContent: "Close" });
  button.addEventListener("click", () => dialog.close());
  return button;
}

function fieldOf(key, was) {
  const choices = CHOICES.get(key);
  const field = choices ? make("select", {}, ...choices.map((one) => make("option", { textContent: one })))
    : make("input", key === "weight" ? { type: "number", min: 0, step: 1, required: true } : { type: "text", autocomplete: "off" });
  if (choices?.includes(was)) field.value = was;
  const value = () => (key === "weight" ? Number(field.value) : key === "serving" ? field.value === "true" : field.value);
  return { key, value, label: make("label", {}, `${short(key)} `, field) };
}

/** Return the answers as elements. */
async function answersOf(answering) {
  try {
    const found = await answering;
    return found.map(({ server, status, text, values = {} }) => {
      const missing = missingText(values);
      const told = [plain(text), ...TOLD_VALUES.filter((one) => one in values).map((one) => `${one}: ${valueText(values[one])}`), missing];
      const className = status !== 200 ? "bad" : text || missing ? "warn" : "good";
      const sign = SIGNS.get(status) ?? `refused (${status})`;
      return make("p", { className, textContent: `${short(server)}: ${[sign, ...told].filter(Boolean).join(", ")}` });
    });
  } catch (error) {
    const isOpen = error.name === "TimeoutError" || error.code === "DEADLINE_EXCEEDED";
    return [make("p", { className: "bad", textContent: `${errorText(error)}${isOpen ? ", it may have been carried out" : ""}` })];
  }
}

/** Return the processes of a server that did not answer, in words; "" if all did. */
function missingText({ without = [] }) {
  if (!Array.isArray(without)) return `without: ${valueText(without)}`;
  return without.length ? `without an answer of process ${short(without.join(", "))}` : "";
}
