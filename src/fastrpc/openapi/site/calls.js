// The last calls of this page. They stay in its memory: a browser may write what a tab stores to disk, and arguments may be secret.

import { fill, make } from "./parts.js";

const MOST_KEPT = 50;
const MOST_CHARACTERS = 120; // Of the arguments that are shown.
const kept = [];

/** Show the last calls in an element; a click on one gives it to `again`. */
export function showCalls(element, again) {
  const rows = kept.map((call) => {
    const words = call.args.replace(/\s+/g, " ").slice(0, MOST_CHARACTERS);
    const button = make("button", { type: "button", title: "Fill the form with this call" }, make("code", { textContent: call.method }), ` ${words}`);
    button.addEventListener("click", () => again(call));
    return make("li", {}, button, make("small", { className: call.kind, textContent: ` ${call.state}` }));
  });
  fill(element, rows.length ? [make("details", { open: element.firstChild?.open }, make("summary", { textContent: `Last calls (${rows.length})` }), make("ol", {}, ...rows))] : []);
}

/** Keep a call: its method, arguments and messages as typed, settings, and how it ended. */
export function keep(call) {
  kept.unshift(call);
  kept.splice(MOST_KEPT);
}
