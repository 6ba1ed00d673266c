// Draws a graph whose nodes have their places.

import { addressOf } from "./address.js";
import { draw, short, valueText } from "./shown.js";

const WIDTH = 170; // Of the box of a node, as in graph_layout.py.
const HEIGHT = 28;
const LETTERS = 22; // Of a name in its box.

/** Return the drawing of a block. */
export function graphOf({ title, nodes, edges, width, height }) {
  const places = new Map(nodes.map((node) => [node.name, node]));
  const most = Math.max(...edges.map((edge) => edge.calls_per_second), 0.001);
  // Rates stand at the end that has fewer links, where they do not cover each other.
  const isBusy = (edge) => edges.filter((one) => one.begin === edge.begin).length > edges.filter((one) => one.end === edge.end).length;
  const lines = edges.filter(({ begin, end }) => places.has(begin) && places.has(end))
    .map((edge) => lineOf(edge, places.get(edge.begin), places.get(edge.end), { most, isBusy: isBusy(edge) }));
  const about = `${short(title)}: ${nodes.length} nodes, ${edges.length} links`;
  // Lines lie below rates, and these below boxes.
  return draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": about },
    ...lines.map(({ line }) => line), ...lines.map(({ label }) => label), ...nodes.map(boxOf));
}

function boxOf({ name, link, x, y }) {
  const title = draw("title", {}, short(name));
  const box = draw("rect", { x: x - WIDTH / 2, y: y - HEIGHT / 2, width: WIDTH, height: HEIGHT, rx: 5 });
  const label = draw("text", { x, y: y + 4.5, "text-anchor": "middle" }, short(name, LETTERS));
  if (!link) return draw("g", { class: "node" }, title, box, label);
  return draw("a", { class: "node", href: addressOf(link.view, link.arguments), "aria-label": short(name) }, title, box, label);
}

function lineOf({ begin, end, calls_per_second: rate }, from, to, { most, isBusy }) {
  // Calls against the direction of the layers run below the others.
  const way = to.x > from.x ? 1 : -1;
  const shift = way > 0 ? -3 : 7;
  const [x1, y1] = [from.x + (way * WIDTH) / 2, from.y + shift];
  const [x2, y2] = [to.x - (way * WIDTH) / 2 - way * 7, to.y + shift];
  const bend = Math.max(40, Math.abs(x2 - x1) / 2) * way;
  const path = draw("path", {
    d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`, "stroke-width": (1 + (2.5 * rate) / most).toFixed(2),
  });
  const head = draw("path", { class: "head", d: `M${x2 + 7 * way},${y2} l${-8 * way},-4 v8 z` });
  const place = isBusy ? { x: x2 - 6 * way, y: y2 } : { x: x1 + 6 * way, y: y1 };
  place.y += way > 0 ? -5 : 13;
  const label = draw("text", { class: "rate", ...place, "text-anchor": isBusy === way > 0 ? "end" : "start" }, `${valueText(rate, "per second")}/s`);
  return { line: draw("g", { class: "edge" }, draw("title", {}, `${short(begin)} calls ${short(end)}`), path, head), label };
}
