// The charts of a view: what is chosen in them, their words for readers without a canvas, and their events.

import { make } from "../docs/parts.js";
import { Area, DASHES, paint, roundTop } from "./chart.js";
import { clockText, draw, short, valueText, withUnit } from "./shown.js";

const COLOURS = 8; // Classes line-0 to line-7 of the style sheet.
const MOST_ROWS = 30; // Of the table of a chart.
const MOST_TOLD = 3; // Lines in its sentence.
const LEAST_CHOSEN = 6; // Pixels that a drag has at least.

// Of all charts of the view: the instants that are shown, the instant under the cursor, and lines that are off.
const chosen = { from: null, to: null, cursor: null, off: new Set() };
let charts = [];
let drag = null;
let changed = () => {};

/** Forget what was chosen in the charts of the last view. */
export function forgetPlots() {
  Object.assign(chosen, { from: null, to: null, cursor: null });
  chosen.off.clear();
}

/** Return the parts of a chart. */
export function plotOf(block, number) {
  const chart = chartOf(block);
  charts[number] = chart;
  if (chart.count < 2) return [make("p", { className: "soft", textContent: "There are no values yet." })];
  const told = sentence(chart);
  const canvas = make("canvas", { tabIndex: 0 });
  canvas.dataset.chart = number;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${short(block.title)}. ${told}`);
  const spoken = make("p", { className: "spoken" });
  spoken.setAttribute("aria-live", "polite");
  return [make("p", { className: "soft", textContent: told }), canvas, legend(chart, number), ...zoomed(chart), spoken, table(chart)];
}

/** Return what is drawn of a block: the largest average first, where lines are not on top of each other. */
function chartOf({ title, unit, step_seconds: step, lines, end, is_stack: isStack = false }) {
  const count = Math.max(0, ...lines.map((line) => line.values.length));
  const numberOf = (instant) => Math.max(0, Math.min(count - 1, Math.round(count - 1 + (instant - end) / step)));
  let [first, last] = chosen.from === null ? [0, count - 1] : [numberOf(chosen.from), numberOf(chosen.to)];
  if (last <= first) [first, last] = [0, count - 1];
  const all = lines.map(({ name, values }, at) => {
    const seen = values.slice(first, last + 1);
    const known = seen.filter((one) => one !== null);
    return {
      name, at, values, dash: DASHES[at % DASHES.length], isOff: chosen.off.has(name), last: seen.at(-1),
      average: averageOf(known), most: known.length ? Math.max(...known) : null,
    };
  }).sort((one, other) => other.average - one.average);
  const shown = all.filter((line) => !line.isOff);
  // A stack keeps the order of the view, so that it does not jump where averages change.
  if (isStack) shown.sort((one, other) => one.at - other.at);
  const sums = isStack ? Array.from({ length: last - first + 1 }, (_, at) => shown.reduce((sum, line) => sum + (line.values[first + at] ?? 0), 0)) : [];
  const top = roundTop(Math.max(0, ...(isStack ? sums : shown.map((line) => line.most))));
  const instantOf = (number) => end + (number - count + 1) * step;
  return { title, unit, step, count, first, last, top, isStack, all, lines: shown, instantOf, numberOf, timeOf: (number) => clockText(instantOf(number)) };
}

/** Return the average of numbers; null without any. */
function averageOf(values) {
  return values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null;
}

function sentence({ all, unit, isStack }) {
  const lines = all.filter((line) => !line.isOff);
  const told = lines.slice(0, MOST_TOLD).map(({ name, average, most, last }) =>
    `${short(name)}: on average ${withUnit(average, unit)}, at most ${valueText(most, unit)}, last ${valueText(last, unit)}`);
  if (lines.length > MOST_TOLD) told.push(`and ${lines.length - MOST_TOLD} more lines`);
  return told.length ? `${isStack ? "Stacked. " : ""}${told.join("; ")}.` : "All lines are off.";
}

function legend({ all, unit }, number) {
  const buttons = all.map((line) => {
    const sign = draw("svg", { width: 26, height: 8, "aria-hidden": "true", class: `line-${line.at % COLOURS}` },
      draw("line", { x1: 0, y1: 4, x2: 26, y2: 4, stroke: "currentColor", "stroke-width": 2.5, "stroke-dasharray": line.dash.join(" ") }));
    const value = make("span", { className: "value", textContent: cursorText(number, line, unit) });
    value.dataset.at = `${number} ${line.at}`;
    const button = make("button", { type: "button" }, sign, ` ${short(line.name)} `, value);
    button.dataset.line = line.name;
    button.setAttribute("aria-pressed", String(!line.isOff));
    return button;
  });
  return make("div", { className: "legend" }, ...buttons);
}

/** Return the value of a line under the cursor; its average without a cursor. */
function cursorText(number, line, unit) {
  const chart = charts[number];
  if (chosen.cursor === null) return `⌀ ${valueText(line.average, unit)}`;
  return valueText(line.values[chart.numberOf(chosen.cursor)] ?? null, unit);
}

function zoomed({ first, last, timeOf }) {
  if (chosen.from === null) return [];
  const button = make("button", { type: "button", textContent: "Show all" });
  button.dataset.zoom = "all";
  return [make("p", { className: "row" }, `From ${timeOf(first)} to ${timeOf(last)}. `, button)];
}

function table({ all, unit, step, first, last, timeOf }) {
  const size = Math.ceil((last - first + 1) / MOST_ROWS);
  const head = make("tr", {}, ...["until", ...all.map((line) => short(line.name))].map((text) => make("th", { scope: "col", textContent: text })));
  const rows = [];
  for (let end = last; end >= first; end -= size) {
    const begin = Math.max(first, end - size + 1);
    const cells = all.map(({ values }) => averageOf(values.slice(begin, end + 1).filter((one) => one !== null)));
    rows.push(make("tr", {}, make("th", { scope: "row", textContent: timeOf(end) }), ...cells.map((one) => make("td", { className: "number", textContent: valueText(one, unit) }))));
  }
  const title = size === 1 ? `Values, one for ${step} s` : `Values, averages of ${step * size} s`;
  return make("details", {}, make("summary", { textContent: title }), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

/** Paint all charts that the page has. */
export function paintPlots() {
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    const chart = charts[canvas.dataset.chart];
    // The legend has the colours, by the reader's scheme.
    const colourOf = (element) => getComputedStyle(element).color;
    const signs = canvas.parentElement.querySelectorAll(".legend svg");
    chart.all.forEach((line, at) => { line.colour = colourOf(signs[at]); });
    const range = drag?.canvas === canvas && drag.isWide ? [drag.begin, drag.end].sort((one, other) => one - other) : null;
    const cursor = chosen.cursor === null ? null : chart.numberOf(chosen.cursor);
    paint(canvas, chart, { cursor, chosen: range, soft: colourOf(canvas.previousElementSibling), mark: colourOf(canvas) });
  }
}

/** Listen to events of all charts below an element; `onChange` shows the view again. */
export function listenToPlots(root, onChange) {
  changed = onChange;
  root.addEventListener("pointerdown", (event) => begin(event));
  root.addEventListener("pointermove", (event) => move(event));
  root.addEventListener("pointerup", () => end());
  root.addEventListener("pointercancel", () => { drag = null; });
  root.addEventListener("pointerleave", () => point(null));
  root.addEventListener("keydown", (event) => press(event));
  root.addEventListener("click", ({ target }) => {
    const name = target.closest("[data-line]")?.dataset.line;
    if (name !== undefined && !chosen.off.delete(name)) chosen.off.add(name);
    if (target.closest("[data-zoom]")) zoom(null, null);
    else if (name !== undefined) changed();
  });
  addEventListener("resize", paintPlots);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintPlots);
}

function at(event) {
  const canvas = event.target.closest("canvas[data-chart]");
  if (canvas === null) return null;
  const chart = charts[canvas.dataset.chart];
  return { canvas, chart, number: new Area(canvas, chart).number(event.offsetX) };
}

function begin(event) {
  const found = at(event);
  if (found === null || event.button !== 0) return;
  drag = { canvas: found.canvas, chart: found.chart, begin: found.number, end: found.number, x: event.offsetX, isWide: false };
  found.canvas.setPointerCapture(event.pointerId);
}

function move(event) {
  const found = at(event);
  if (drag !== null && found?.canvas === drag.canvas) {
    drag.end = found.number;
    drag.isWide ||= Math.abs(event.offsetX - drag.x) >= LEAST_CHOSEN;
  }
  point(found === null ? null : found.chart.instantOf(found.number));
}

function end() {
  const last = drag;
  drag = null;
  if (last?.isWide && last.begin !== last.end) {
    const [from, to] = [last.begin, last.end].sort((one, other) => one - other).map(last.chart.instantOf);
    zoom(from, to);
  } else if (last !== null) paintPlots();
}

function zoom(from, to) {
  Object.assign(chosen, { from, to });
  changed();
}

/** Put the cursor of all charts at an instant. */
function point(instant) {
  if (chosen.cursor === instant && drag === null) return;
  chosen.cursor = instant;
  for (const value of document.querySelectorAll("[data-at]")) {
    const [number, place] = value.dataset.at.split(" ").map(Number);
    value.textContent = cursorText(number, charts[number].all.find((line) => line.at === place), charts[number].unit);
  }
  paintPlots();
}

function press(event) {
  const found = at(event);
  if (found === null) return;
  const { canvas, chart } = found;
  const { first, last, numberOf, instantOf } = chart;
  const now = chosen.cursor === null ? last : numberOf(chosen.cursor);
  const next = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: first, End: last }[event.key];
  const size = Math.round((last - first) / 4);
  if (next !== undefined) {
    const number = Math.max(first, Math.min(last, next));
    point(instantOf(number));
    const values = chart.lines.map((line) => `${short(line.name)} ${valueText(line.values[number], chart.unit)}`);
    canvas.parentElement.querySelector(".spoken").textContent = `${chart.timeOf(number)}: ${values.join(", ")}`;
  } else if (event.key === "+" && size > 0) zoom(instantOf(Math.max(first, now - size)), instantOf(Math.min(last, now + size)));
  else if (event.key === "-" || event.key === "Escape") {
    chosen.cursor = null;
    zoom(null, null);
  } else return;
  event.preventDefault();
}
