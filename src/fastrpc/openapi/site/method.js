// The two pages: a method with its form, and the first page with all methods.

import { make } from "./parts.js";
import { schemaOf } from "./schemas.js";

const KINDS = { unary: "", server_stream: "streams its answers", client_stream: "takes a stream", both_ways: "streams both ways" };

/** Return the full name of the method of an operation. */
export function nameOf(about) {
  return about["x-fastrpc"].method;
}

/** Return the method that the part of an address from `#` on names. */
export function methodAt(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return hash.slice(1); // People type any text.
  }
}

/** Return the first line of what a method or service says about itself. */
export function firstLine(text = "") {
  return text.trim().split("\n", 1)[0];
}

/** Return what describes a method, and its form. */
export function described({ about, places, isSafe }, types, form) {
  const classes = types.classes([form.schema, about.responses["200"]]);
  return [
    make("h2", { textContent: nameOf(about) }),
    make("div", { className: "soft", textContent: [...places, kindText(about, isSafe)].filter(Boolean).join(" · ") }),
    make("p", { className: "text", textContent: about.description ?? about.summary ?? "" }),
    make("h3", { textContent: "Answer" }),
    make("code", { textContent: answerText(about, types) }),
    ...(classes.length ? [make("h3", { textContent: "Types" }), make("pre", { tabIndex: 0, textContent: classes.join("\n\n") })] : []),
    make("h3", { textContent: "Call" }),
    ...form.elements(),
  ];
}

/** Return the first page: the services with what they say, and a table of the methods of each. */
export function overview(api, methods, hasToken) {
  const tables = api.tags.map((tag) => {
    const rows = methods.filter(({ about }) => about.tags[0] === tag.name).map(({ about, places, isSafe }) => make("tr", {},
      make("td", {}, make("a", { href: `#${encodeURIComponent(nameOf(about))}`, textContent: nameOf(about).slice(tag.name.length + 1) })),
      make("td", {}, ...places.map((place) => make("code", { className: "line", textContent: place }))),
      make("td", { className: "soft", textContent: kindText(about, isSafe) }),
      make("td", { textContent: about.summary ?? "" })));
    return make("section", {},
      make("h3", { textContent: [tag.name, tag["x-version"]].filter(Boolean).join(" ") }),
      make("p", { className: "text", textContent: tag.description ?? "" }),
      make("table", {}, make("thead", {}, make("tr", {}, ...["Method", "Path", "Kind", "Summary"].map((textContent) => make("th", { textContent })))), make("tbody", {}, ...rows)));
  });
  return [
    make("h2", { textContent: api.info.title }),
    make("p", { className: "text soft", textContent: api.info.description ?? "" }),
    ...(methods.length ? tables : [make("p", { className: "soft", textContent: withoutMethods(api, hasToken) })]),
  ];
}

/** Return why a page has no methods, and what the reader can do. */
function withoutMethods(api, hasToken) {
  if (!Object.keys(api.components?.securitySchemes ?? {}).length) return "This server shows no methods.";
  if (hasToken) return "The owner of this token may call no method here.";
  return "This server shows methods to callers with a token only: type yours into the field Token at the top of this page.";
}

function kindText(about, isSafe) {
  return [KINDS[about["x-fastrpc"].kind], isSafe ? "safe" : about["x-fastrpc"].idempotent ? "idempotent" : ""].filter(Boolean).join(" · ");
}

function answerText(about, types) {
  const schema = schemaOf(Object.values(about.responses["200"].content)[0]);
  const message = schema.anyOf?.[0].properties?.value;
  return about["x-fastrpc"].kind.match(/server_stream|both_ways/) && message ? `stream of ${types.text(message)}` : types.text(schema);
}
