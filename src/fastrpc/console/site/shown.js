// Values as texts for people. Whatever a text holds, it stays a text: what is hidden in it is shown escaped.

// Blank braille is no format character, and shows nothing.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu;
const LONGEST = 120;
const SVG = "http://www.w3.org/2000/svg";

/** Return a text in which every invisible character is escaped; line feeds and tabs stay where `hasLines`. */
export function plain(text, hasLines = false) {
  return String(text).replace(HIDDEN, (one) => (hasLines && (one === "\n" || one === "\t") ? one : escaped(one)));
}

function escaped(character) {
  const letter = { "\n": "n", "\r": "r", "\t": "t" }[character];
  if (letter) return `\\${letter}`;
  const number = character.codePointAt(0);
  if (number < 256) return `\\x${number.toString(16).padStart(2, "0")}`;
  return number < 65536 ? `\\u${number.toString(16).padStart(4, "0")}` : `\\U${number.toString(16).padStart(8, "0")}`;
}

/** Return a text as `plain` does, cut to `most` characters; one more is the mark of a text that the server has cut. */
export function short(text, most = LONGEST) {
  const begin = [...String(text).slice(0, 4 * most)].slice(0, most + 2).join("");
  const found = [...plain(begin)];
  return found.length <= most + 1 ? found.join("") : `${found.slice(0, most).join("")}…`;
}

/** Return a value as a text; `unit` as in a column of a view, or "id": a number that counts nothing. */
export function valueText(value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return short(value);
  if (typeof value === "bigint") return value.toLocaleString("en-US");
  if (typeof value !== "number") return short(JSON.stringify(value));
  if (unit === "seconds") return secondsText(value);
  if (unit === "bytes") return bytesText(value);
  if (unit === "share") return `${(value * 100).toFixed(value && value < 0.01 ? 2 : 1)} %`;
  if (unit === "per second") return numberText(value, value < 10 ? 2 : value < 1000 ? 1 : 0);
  if (unit === "time") return timeText(value);
  if (unit === "id") return String(value);
  return numberText(value, 3);
}

/** Return an error in words, with the name of its status. */
export function errorText({ name, code, message }) {
  if (name === "TimeoutError") return "there was no answer in time";
  return plain(code ? `${code}: ${message}` : message);
}

/** Return a number of a chart with its unit in words. */
export function withUnit(value, unit) {
  const text = valueText(value, unit);
  return unit === "per second" ? `${text} per second` : text;
}

function numberText(value, digits) {
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

function secondsText(value) {
  if (value === 0) return "0 s";
  // The limits are where the text of the smaller unit would be rounded to 1,000.
  if (value < 0.0009995) return `${numberText(value * 1e6, value < 1e-5 ? 1 : 0)} µs`;
  if (value < 0.9995) return `${numberText(value * 1000, value < 0.1 ? 1 : 0)} ms`;
  return `${numberText(value, value < 100 ? 2 : 0)} s`;
}

function bytesText(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; Math.round(value) >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${numberText(value, unit && value < 100 ? 1 : 0)} ${units[unit]}`;
}

/** Return an instant as the clock of the reader shows it. */
export function clockText(seconds) {
  const date = new Date(seconds * 1000);
  return digits(":", date.getHours(), date.getMinutes(), date.getSeconds());
}

/** Return an instant; with its day unless that is today. */
export function timeText(seconds) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  const day = digits("-", date.getFullYear(), date.getMonth() + 1, date.getDate());
  return date.toDateString() === new Date().toDateString() ? clockText(seconds) : `${day} ${clockText(seconds)}`;
}

function digits(between, ...numbers) {
  return numbers.map((one) => String(one).padStart(2, "0")).join(between);
}

/** Return how long ago an instant was, in seconds. */
export function ageText(seconds) {
  if (seconds < 1) return "now";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

/** Return a new element of SVG with these attributes and children; a child may be a text. */
export function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
