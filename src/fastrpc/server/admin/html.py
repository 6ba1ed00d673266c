"""The admin pages in HTML: an index that refreshes itself, and tables. They load nothing from other servers."""

import base64
import hashlib
from html import escape
from typing import Any

__all__ = ["POLICY", "index_page", "table_page"]

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #1b1f24; }
nav a { margin-right: 1.2em; }
table { border-collapse: collapse; margin: 1em 0; width: 100%; }
th, td { border-bottom: 1px solid #d8dee4; padding: .3em .8em .3em 0; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number:has(+ :not(.number)), th.number:has(+ :not(.number)) { padding-right: 2em; }
table.values { width: auto; }
table.values th { font-weight: normal; color: #57606a; padding-right: 2em; }
.bad { color: #b31d28; }
dl { display: grid; grid-template-columns: max-content auto; gap: .2em 1.5em; }
dt { color: #57606a; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
"""

# Texts are inserted only by textContent, because a method may have any name.
_SCRIPT = """
"use strict";
const byId = name => document.getElementById(name);
let before = null;

function cell(row, text, kind) {
  const one = document.createElement("td");
  one.textContent = text;
  if (kind) one.className = kind;
  row.append(one);
}
function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 0.001) return (seconds * 1e6).toFixed(0) + " µs";
  return seconds < 1 ? (seconds * 1000).toFixed(1) + " ms" : seconds.toFixed(2) + " s";
}
function age(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  let rest = Math.floor(seconds);
  return units.slice(first, first + 2).map(([unit, size]) => {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    return whole + " " + unit;
  }).join(" ");
}
const count = number => number.toLocaleString("en-US");
function nameOf(one) { return JSON.stringify([one.service, one.method, one.protocol]); }
function fullName(one) {
  if (one.service === "_other") return "unknown methods";
  return one.service ? one.service + "." + one.method : one.method;
}
function workers(now) { return now.workers ? " with " + now.workers.length + " workers" : ""; }
function rate(now, last, seconds) { return last === undefined ? "–" : ((now - last) / seconds).toFixed(1); }
function facts(now) {
  const refused = Object.entries(now.refused).map(([reason, number]) => reason + " " + count(number)).join(", ");
  return [
    ["process", now.process_id + workers(now) + ", fastrpc " + now.fastrpc + ", Python " + now.python],
    ["up", age(now.time - now.started)],
    ["state", now.draining ? "draining" : now.ready ? "ready" : "not ready"],
    ["connections", count(now.connections)],
    ["calls", count(now.calls) + " running, " + count(now.waiting) + " waiting"],
    ["refused", refused || "none"],
    ["loop", duration(now.loop_lag_seconds) + " late, blocked " + duration(now.loop_blocked_seconds) + " in all"],
  ];
}
function show(now) {
  const seconds = before ? now.time - before.time : 0;
  const last = new Map(before ? before.methods.map(one => [nameOf(one), one]) : []);
  byId("facts").replaceChildren(...facts(now).flatMap(([name, value]) => {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
  byId("methods").replaceChildren(...now.methods.map(one => {
    const row = document.createElement("tr"), earlier = last.get(nameOf(one));
    const errors = Object.entries(one.calls).filter(([status]) => status !== "OK");
    cell(row, fullName(one));
    cell(row, one.protocol);
    cell(row, before ? rate(one.ended, earlier ? earlier.ended : 0, seconds) : "–", "number");
    cell(row, count(one.ended), "number");
    cell(row, count(one.in_flight), "number");
    for (const share of ["p50", "p95", "p99"]) cell(row, duration(one[share]), "number");
    cell(row, errors.map(([status, number]) => status + " " + count(number)).join(", "), "bad");
    return row;
  }));
  byId("problem").textContent = "";
  before = now;
}
async function refresh() {
  try {
    const answer = await fetch("/", {headers: {Accept: "application/json"}, cache: "no-store"});
    if (!answer.ok) throw new Error("the server answers " + answer.status);
    show(await answer.json());
  } catch (problem) {
    byId("problem").textContent = "not up to date: " + problem.message;
  }
  setTimeout(refresh, 2000);
}
refresh();
"""

_LINKS = (
    "/",
    "/calls",
    "/connections",
    "/services",
    "/config",
    "/store",
    "/messages",
    "/endpoints",
    "/ended",
    "/logs",
    "/figures",
    "/stacks",
    "/metrics",
    "/livez",
    "/readyz",
)


#: Endings of the names of numbers that are identifiers, which are shown without thousands separators.
_NAMES = ("_id", "revision", "created", "token", "without")


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: The Content-Security-Policy: a page may only run our script, and send requests only to this server.
POLICY = (
    f"default-src 'none'; script-src {_hash_of(_SCRIPT)}; style-src {_hash_of(_STYLE)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _page(title: str, body: str) -> str:
    links = "".join(f'<a href="{path}">{path}</a>' for path in _LINKS)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        # An empty icon, so that browsers request none.
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>\n'
        f"<body><nav>{links}</nav>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def index_page() -> str:
    """Return the index page: the process, and the calls of each method, refreshed every two seconds."""
    numbers = "".join(
        f'<th class="number">{name}</th>' for name in ("calls/s", "calls", "in flight", "p50", "p95", "p99")
    )
    return _page(
        "fastrpc",
        '<p class="bad" id="problem"></p><dl id="facts"></dl>\n'
        f"<table><thead><tr><th>method</th><th>protocol</th>{numbers}<th>errors</th></tr></thead>"
        '<tbody id="methods"></tbody></table>\n'
        "<noscript>The figures need JavaScript; with Accept: application/json each page is JSON.</noscript>\n"
        f"<script>{_SCRIPT}</script>",
    )


def table_page(path: str, value: dict[str, Any]) -> str:
    """Return a page with a table for each list of rows and for each section of values."""
    # The title of a page with only one table is the title of the table.
    title = path.removeprefix("/")
    return _page(
        title, "".join(_section(name, part, has_title=name == title) for name, part in value.items())
    )


def _section(name: str, value: Any, *, has_title: bool) -> str:
    head = "" if has_title else f"<h2>{escape(name)}</h2>"
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th>{escape(key)}</th><td>{_text(one, key)}</td></tr>" for key, one in value.items()
        )
        return f'{head}<table class="values">{rows}</table>\n'
    if not isinstance(value, list):
        return f"<p>{escape(name)}: {_text(value, name)}</p>\n"
    if value and not isinstance(value[0], dict):
        return f"<p>{escape(name)}: {'<br>'.join(_text(one, name) for one in value)}</p>\n"
    if not value:
        return f"{head}<p>none</p>\n"
    heads = "".join(f"<th{_class(value[0][key])}>{escape(key.replace('_', ' '))}</th>" for key in value[0])
    rows = "".join(
        f"<tr>{''.join(f'<td{_class(one)}>{_text(one, key)}</td>' for key, one in row.items())}</tr>"
        for row in value
    )
    return f"{head}<table><tr>{heads}</tr>{rows}</table>\n"


def _class(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ' class="number"' if is_number else ""


def _text(value: Any, name: str = "") -> str:
    if value is None or value == () or value == []:
        return "–"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, int):
        return str(value) if name.endswith(_NAMES) else f"{value:,}"
    if isinstance(value, dict):
        return "<br>".join(f"{escape(name)}: {_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return "<br>".join(map(_text, value))
    return escape(str(value))
