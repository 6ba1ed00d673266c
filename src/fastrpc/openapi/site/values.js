// Values as JSON, with every digit of an integer that Number does not hold; places in them, and mistakes at these.

const LONGEST_PATH = 1000;
const MOST_MISTAKES = 100;
// A name, the key of a map in quotes, or a place in a list.
const STEP = /\.?[^.[\]]+|\["(?:[^"\\]|\\.)*"\]|\[[^\]"]*\]/y;

/** A text on the page is no value of its type; the message begins with the name of its field. */
export class WrongInput extends Error {
  constructor(path, words) {
    super(`${path}: ${words}`);
    Object.assign(this, { name: "WrongInput", path, words });
  }
}

/** Return the value of a text of JSON, or raise WrongInput that names the field. */
export function readJSON(path, text) {
  try {
    return JSON.parse(text, (_, value, context) => {
      const isLost = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
      return isLost && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;
    });
  } catch (error) {
    throw new WrongInput(path, `no JSON: ${error.message}`);
  }
}

/** Return a value as JSON. Digits are a text where the browser writes no others. */
export function writeJSON(value, indent) {
  return JSON.stringify(value, (_, one) => (typeof one === "bigint" ? JSON.rawJSON?.(one.toString()) ?? one.toString() : one), indent) ?? "null";
}

/** Return the integer that a text has, or undefined. */
export function readInteger(text) {
  if (!/^\s*[+-]?\d+\s*$/.test(text)) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text.trim().replace("+", ""));
}

/** Return bytes as base64. */
export function base64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** Return the bytes of a base64 text, or undefined for another text. */
export function bytesOf(text) {
  try {
    return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/** Return the path of a value, such as `order.lines[0].item`, and the paths of what holds it, from the inside to the outside. */
export function placesOf(path) {
  // A server may send any text.
  const known = path.slice(0, LONGEST_PATH);
  const found = [];
  STEP.lastIndex = 0;
  while (found.length < MOST_MISTAKES && STEP.test(known)) found.unshift(known.slice(0, STEP.lastIndex));
  return found;
}

/** Return the path and the words of each mistake that the details of a refused call tell. */
export function mistakesIn(details) {
  const isMistake = (one) => [one?.path, one?.expected, one?.got].every((part) => typeof part === "string" && part);
  return (Array.isArray(details) ? details : []).filter(isMistake).slice(0, MOST_MISTAKES).map(({ path, expected, got }) => [path, `expected ${expected}, got ${got}`]);
}
