// Tables as files for spreadsheets.

import { plain } from "./shown.js";

/** Return a table of a view as CSV (RFC 4180): the rows of its page, and numbers without units. */
export function tableText({ columns, rows }) {
  const lines = [columns.map((column) => cellText(column.title)), ...rows.map((row) => row.map(cellText))];
  return lines.map((line) => `${line.join(",")}\r\n`).join("");
}

function cellText(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return quoted(Array.isArray(value) ? value.join(" ") : String(value));
  // Spreadsheets take these for formulas, after blanks as well; in many countries a semicolon begins a cell.
  return quoted(plain(value.replace(/(^|;)(?=\s*[=+\-@＝＋－＠])/g, "$1'")));
}

function quoted(text) {
  return /[",'\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Let the reader save a text as a file. */
export function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = `${name.replace(/[^\w.-]+/g, "-").slice(0, 80)}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
