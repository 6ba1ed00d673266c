// The seven kinds of blocks of a view as elements.

import { make } from "../docs/parts.js";
import { addressOf } from "./address.js";
import { graphOf } from "./graph.js";
import { plotOf } from "./plots.js";
import { ageText, draw, plain, short, valueText } from "./shown.js";

const PAGE_ROWS = 200;
const LEVELS = new Map([["error", "Error"], ["warning", "Warning"]]);
const LONGEST_TEXT = 400;
const NUMBERS = ["number", "bigint"];
const IDS = /(^|_)(id|pid|port|process)$/; // Columns whose numbers count nothing.

/**
 * Return the elements of a view's blocks.
 * @param {object[]} blocks of the view.
 * @param {object} view `name` and `given`: its name and arguments; `time`: of the answer; `mayAct`: whether the reader may.
 */
export function blockElements(blocks, view) {
  const seen = new Map();
  return blocks.map((block, number) => {
    const name = `${block.kind} ${block.title ?? ""}`;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    const section = (KINDS.get(block.kind) ?? unknown)(block, view, number);
    section.dataset.key = `${name} ${seen.get(name)}`;
    return section;
  });
}

const KINDS = new Map(Object.entries({
  Facts: factsOf, Table: tableOf, Chart: chartOf, Tree: treeOf, Graph: graphSection, Text: textOf, Buttons: buttonsOf,
}));

function unknown({ kind }) {
  return make("p", { className: "soft", textContent: `This page is older than the console: it does not know the block ${short(kind)}.` });
}

function section(title, kind, ...children) {
  return make("section", { className: kind }, heading(title), ...children);
}

function heading(title) {
  return make("h2", { textContent: short(title) });
}

function factsOf({ title, facts, units = {} }, view) {
  return section(title, "facts", factList(facts, units, view));
}

function factList(facts, units, view) {
  const pairs = Object.entries(facts).map(([name, value]) =>
    make("div", {}, make("dt", { textContent: short(name) }), make("dd", {}, ...valueParts(value, units[name], view))));
  return make("dl", {}, ...pairs);
}

/** Return a value as text; an instant has its age, which `updateAges` keeps. */
function valueParts(value, unit, { time }) {
  if (unit !== "time" || typeof value !== "number") return [valueText(value, unit)];
  const age = make("span", { className: "soft", textContent: ` ${ageText(time - value)}` });
  age.dataset.since = value;
  return [valueText(value, unit), age];
}

/** Tell the ages of all instants again. */
export function updateAges(root, time) {
  for (const age of root.querySelectorAll("[data-since]")) age.textContent = ` ${ageText(time - Number(age.dataset.since))}`;
}

function tableOf(block, view, number) {
  const { title, columns, rows, total, links = [], order = "" } = block;
  const head = make("tr", {}, ...columns.map((column, at) => headOf(column, order, rows, at)));
  const body = rows.map((row, at) => rowOf(row, columns, links[at], view));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  // A wide table scrolls by itself, for the keyboard as well.
  const frame = make("div", { className: "wide", tabIndex: 0 }, table);
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", short(title));
  const csv = make("button", { type: "button", textContent: "CSV", title: "Save the rows of this page" });
  csv.dataset.csv = number;
  csv.setAttribute("aria-label", `Save ${short(title)} as CSV`);
  const tools = [heading(title), ...(order ? [searchOf(title, view)] : []), make("span", { className: "soft", textContent: rowsText(block) }), ...pagesOf(block, view), ...(rows.length ? [csv] : [])];
  return make("section", { className: "table" }, make("div", { className: "row" }, ...tools), ...(rows.length ? [frame] : []));
}

function searchOf(title, { given }) {
  const field = make("input", { type: "search", autocomplete: "off", spellcheck: false, placeholder: "Search ( / )" });
  // A property would be lost where the page is compared.
  field.setAttribute("value", given.search ?? "");
  field.setAttribute("aria-label", `Search in ${short(title)}`);
  field.dataset.search = "";
  return field;
}

function rowsText({ rows, total, page = 1 }) {
  const count = total.toLocaleString("en-US");
  if (rows.length === total) return total === 1 ? "1 row" : total ? `${count} rows` : "no rows";
  const begin = (page - 1) * PAGE_ROWS;
  return rows.length ? `rows ${(begin + 1).toLocaleString("en-US")} to ${(begin + rows.length).toLocaleString("en-US")} of ${count}` : `no rows on page ${page}, of ${count}`;
}

function pagesOf({ title, total, page = 1, order }, { name, given }) {
  const last = Math.max(1, Math.ceil(total / PAGE_ROWS));
  if (!order || (last === 1 && page === 1)) return [];
  const link = (number, text) => make("a", { href: addressOf(name, { ...given, page: String(number) }), textContent: text });
  const links = [page > 1 ? link(Math.min(page - 1, last), "Previous") : null, page < last ? link(page + 1, "Next") : null].filter(Boolean);
  const found = make("nav", { className: "pages" }, ...links);
  found.setAttribute("aria-label", `Pages of ${short(title)}`);
  return [found];
}

function headOf({ name, title, unit }, order, rows, at) {
  const cell = make("th", { scope: "col", className: isNumber(rows, at) && unit !== "time" ? "number" : "" });
  if (!order || unit === "line") {
    cell.append(short(title));
    return cell;
  }
  const isSorted = order.replace(/^-/, "") === name;
  const isFalling = order.startsWith("-");
  const button = make("button", { type: "button" }, short(title), make("span", { textContent: isSorted ? (isFalling ? " ↓" : " ↑") : "" }));
  button.lastChild.setAttribute("aria-hidden", "true");
  // A number begins with the largest, a text with the first letter; a second press turns it round.
  button.dataset.sort = isSorted ? (isFalling ? name : `-${name}`) : isNumber(rows, at) ? `-${name}` : name;
  if (isSorted) cell.setAttribute("aria-sort", isFalling ? "descending" : "ascending");
  cell.append(button);
  return cell;
}

function isNumber(rows, at) {
  return rows.some((row) => NUMBERS.includes(typeof row[at]));
}

/** Return the number of the cell that opens the view of a row: its column or its text is the link's last argument. */
function linkedCell(row, columns, link) {
  if (!link) return -1;
  const [name, value] = Object.entries(link.arguments ?? {}).at(-1) ?? [];
  const named = columns.findIndex((column, at) => column.name === name && row[at] === value);
  return named >= 0 ? named : Math.max(0, row.lastIndexOf(value));
}

function rowOf(row, columns, link, view) {
  const linked = linkedCell(row, columns, link);
  const cells = row.map((value, at) => {
    const unit = columns[at]?.unit || (IDS.test(columns[at]?.name) ? "id" : "");
    const cell = make("td", { className: unit === "time" ? "time" : NUMBERS.includes(typeof value) ? "number" : "" });
    if (unit === "line" && Array.isArray(value)) cell.append(sparkOf(value, columns[at]));
    else if (at === linked) cell.append(make("a", { href: addressOf(link.view, link.arguments), textContent: valueText(value, unit) }));
    else cell.append(...valueParts(value, unit, view));
    return cell;
  });
  const found = make("tr", {}, ...cells);
  if (link) found.dataset.key = JSON.stringify([link.view, link.arguments]);
  return found;
}

/** Return a small chart of numbers. */
function sparkOf(values, { title }) {
  const most = Math.max(...values, 0);
  const about = values.length ? `${short(title)}: last ${valueText(values.at(-1), "per second")}, at most ${valueText(most, "per second")}` : `${short(title)}: no values`;
  const places = values.map((value, at) => `${((at / Math.max(1, values.length - 1)) * 78 + 1).toFixed(1)},${(19 - (most ? value / most : 0) * 17).toFixed(1)}`);
  return draw("svg", { class: "spark", width: 80, height: 20, viewBox: "0 0 80 20", role: "img", "aria-label": about },
    draw("title", {}, about), draw("polyline", { points: places.join(" "), fill: "none", stroke: "currentColor", "stroke-width": 1.5 }));
}

function chartOf(block, _, number) {
  return section(block.title, "chart", ...plotOf(block, number));
}

function treeOf({ title, nodes, units = {} }, view) {
  return section(title, "tree", nodes.length ? nodeList(nodes, units, view) : make("p", { className: "soft", textContent: "empty" }));
}

function nodeList(nodes, units, view) {
  return make("ul", {}, ...nodes.map((node) => make("li", {}, ...nodeParts(node, units, view))));
}

function nodeParts({ name, facts = {}, children = [] }, units, view) {
  const names = Object.keys(facts);
  const title = make("strong", { textContent: short(name) });
  // A text of several lines, such as a stack, is shown whole.
  const parts = names.length === 1 && names[0] === "value"
    ? [make("span", { className: "text", textContent: nestedText(facts.value, units[name]) })]
    : names.length ? [factList(Object.fromEntries(names.map((one) => [one.replaceAll("_", " "), facts[one]])), spaced(units), view)] : [];
  if (!children.length) return [title, " ", ...parts];
  return [make("details", { open: true }, make("summary", {}, title), ...parts, nodeList(children, units, view))];
}

/** Return a value of an admin page as it is: whole numbers may be ports, or ids. */
function nestedText(value, unit) {
  if (typeof value === "string") return plain(value, true);
  return Number.isInteger(value) && !unit ? String(value) : valueText(value, unit);
}

function spaced(units) {
  return Object.fromEntries(Object.entries(units).map(([name, unit]) => [name.replaceAll("_", " "), unit]));
}

function graphSection(block) {
  if (!block.edges.length) return section(block.title, "graph", make("p", { className: "soft", textContent: "no links" }));
  const frame = make("div", { className: "wide", tabIndex: 0 }, graphOf(block));
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", short(block.title));
  return section(block.title, "graph", frame);
}

function textOf({ text, level = "note" }) {
  const name = LEVELS.get(level);
  const mark = name ? [make("strong", { textContent: `${name}: ` })] : [];
  return make("p", { className: `told ${name ? level : "note"}` }, ...mark, short(text, LONGEST_TEXT));
}

function buttonsOf({ buttons }, { mayAct }, number) {
  const found = buttons.map((button, at) => {
    if (button.act) {
      const { name, servers, values: { was, ...values } = {} } = button.act;
      const element = make("button", { type: "button", textContent: short(button.title) });
      // A button never becomes the one of another act, or of another server, under a person's finger.
      element.dataset.key = JSON.stringify([name, servers, values]);
      element.dataset.act = `${number} ${at}`;
      return mayAct ? element : null;
    }
    return button.link ? make("a", { className: "button", href: addressOf(button.link.view, button.link.arguments), textContent: short(button.title) }) : null;
  }).filter(Boolean);
  return make("p", { className: "row", hidden: !found.length }, ...found);
}
