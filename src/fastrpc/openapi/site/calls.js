// The last calls of this page. They stay in its memory: a browser may write what a tab stores to disk, and arguments may be secret.

import { fill, make } from "./parts.js";
import { writeJSON } from "./values.js";

const MOST_KEPT = 50;
const MOST_CHARACTERS = 1_000_000; // Of all calls that are kept: arguments may hold files.
const MOST_SHOWN = 120; // Characters of the arguments that are shown.
let kept = [];

/** Show the last calls in an element; a click on one gives it to `again`. */
export function showCalls(element, again) {
  const rows = kept.map((call) => {
    const words = call.args.replace(/\s+/g, " ").slice(0, MOST_SHOWN);
    const button = make("button", { type: "button", title: "Fill the form with this call" }, make("code", { textContent: call.method }), ` ${words}`);
    button.addEventListener("click", () => again(call));
    return make("li", {}, button, make("small", { className: call.kind, textContent: ` ${call.state}` }));
  });
  fill(element, rows.length ? [make("details", { open: element.firstChild?.open }, make("summary", { textContent: `Last calls (${rows.length})` }), make("ol", {}, ...rows))] : []);
}

/** Keep a call, if it is not too long: its method, arguments and messages as typed, settings, and how it ended. */
export function keep(call) {
  kept = bounded([call, ...kept]);
}

/** Return the calls that are kept of these, the newest first: a call for which there is no room is left out. */
export function bounded(calls) {
  let left = MOST_CHARACTERS;
  const fits = ({ args, input, settings }) => {
    const size = args.length + input.length + writeJSON(settings).length;
    if (size > left) return false;
    left -= size;
    return true;
  };
  return calls.slice(0, MOST_KEPT).filter(fits);
}
