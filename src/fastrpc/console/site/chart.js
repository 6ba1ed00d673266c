// Paints a chart on a canvas: lines or a stack over time, a time cursor, and the part that is being chosen.

import { valueText } from "./shown.js";

const MARGIN = { left: 64, right: 10, top: 10, bottom: 22 };
const GRID = 4; // Lines across.

/** The dashes of lines, beside their colours. */
export const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [14, 4], [4, 2, 1, 2], [1, 2], [10, 2, 2, 2, 2, 2]];

/** Where the values of a chart lie on its canvas, in pixels of the page. */
export class Area {
  /**
   * @param {object} chart `lines` with `values`, `colour`, `dash`; `first` and `last`: the numbers of the values at its
   *   ends; `top`: the largest value that it has room for.
   */
  constructor(canvas, { first, last, top }) {
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    this.left = MARGIN.left;
    this.right = this.width - MARGIN.right;
    this.top = MARGIN.top;
    this.bottom = this.height - MARGIN.bottom;
    Object.assign(this, { first, last, most: top });
  }

  x(number) {
    return this.left + ((number - this.first) / Math.max(1, this.last - this.first)) * (this.right - this.left);
  }

  y(value) {
    return this.bottom - (value / this.most) * (this.bottom - this.top);
  }

  /** Return the number of the value that is nearest to a place. */
  number(x) {
    const share = (x - this.left) / Math.max(1, this.right - this.left);
    return Math.max(this.first, Math.min(this.last, Math.round(this.first + share * (this.last - this.first))));
  }
}

/** Paint a chart; `cursor` is the number of a value, `chosen` two of them, each null without one. */
export function paint(canvas, chart, { cursor, chosen, soft, mark }) {
  const scale = globalThis.devicePixelRatio || 1;
  const area = new Area(canvas, chart);
  canvas.width = Math.round(area.width * scale);
  canvas.height = Math.round(area.height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  paintGrid(pen, area, chart, soft);
  const sums = chart.isStack ? sumsOf(chart.lines) : chart.lines.map((line) => line.values);
  if (chart.isStack) sums.forEach((values, at) => paintBand(pen, area, values, sums[at - 1], chart.lines[at].colour));
  sums.forEach((values, at) => stroke(pen, chart.lines[at].colour, 2, chart.lines[at].dash, points(area, values)));
  if (chosen !== null) {
    pen.fillStyle = mark;
    pen.globalAlpha = 0.18;
    pen.fillRect(area.x(chosen[0]), area.top, area.x(chosen[1]) - area.x(chosen[0]), area.bottom - area.top);
    pen.globalAlpha = 1;
  }
  if (cursor !== null && cursor >= chart.first && cursor <= chart.last) {
    stroke(pen, mark, 1, [], [[area.x(cursor), area.top], [area.x(cursor), area.bottom]]);
  }
}

function paintGrid(pen, area, chart, soft) {
  pen.fillStyle = soft;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (let row = 0; row <= GRID; row += 1) {
    const value = (chart.top * row) / GRID;
    const y = Math.round(area.y(value)) + 0.5;
    pen.globalAlpha = row ? 0.35 : 1;
    stroke(pen, soft, 1, [], [[area.left, y], [area.right, y]]);
    pen.globalAlpha = 1;
    pen.fillText(valueText(value, chart.unit), area.left - 8, y);
  }
  pen.textBaseline = "top";
  const texts = Math.max(2, Math.min(6, Math.floor((area.right - area.left) / 90)));
  for (let at = 0; at < texts; at += 1) {
    const number = area.first + ((area.last - area.first) * at) / (texts - 1);
    pen.textAlign = at === 0 ? "left" : at === texts - 1 ? "right" : "center";
    pen.fillText(chart.timeOf(number), area.x(number), area.bottom + 6);
  }
}

/** Return the places of values; null where a value is missing. */
function points(area, values) {
  const found = [];
  for (let number = area.first; number <= area.last; number += 1) {
    const value = values[number] ?? null;
    found.push(value === null ? null : [area.x(number), area.y(value)]);
  }
  return found;
}

/** Return the values of each line on top of the lines before it. */
function sumsOf(lines) {
  const sums = [];
  for (const { values } of lines) sums.push(values.map((value, at) => (value ?? 0) + (sums.at(-1)?.[at] ?? 0)));
  return sums;
}

function paintBand(pen, area, values, below, colour) {
  const lower = below === undefined ? [[area.x(area.last), area.bottom], [area.x(area.first), area.bottom]] : points(area, below).reverse();
  pen.beginPath();
  for (const [x, y] of [...points(area, values), ...lower]) pen.lineTo(x, y);
  pen.closePath();
  pen.fillStyle = colour;
  pen.globalAlpha = 0.22;
  pen.fill();
  pen.globalAlpha = 1;
}

function stroke(pen, colour, width, dash, places) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.setLineDash(dash);
  pen.beginPath();
  let last = null;
  for (const place of places) {
    // A value between two gaps is a dot.
    if (place !== null && last === null) pen.moveTo(place[0] - 1, place[1]);
    if (place !== null) pen.lineTo(...place);
    last = place;
  }
  pen.stroke();
  pen.setLineDash([]);
}

/** Return the first of 1, 2 and 5 with zeros that is not below a value. */
export function roundTop(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * size).find((one) => one >= value * 0.999999) ?? 10 * size;
}
