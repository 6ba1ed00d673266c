// Values as JSON, with every digit of an integer that Number does not hold.

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
