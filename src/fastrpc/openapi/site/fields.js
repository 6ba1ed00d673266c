// Fields for a value, by its JSON Schema. A value that does not fit its schema has a field of JSON, so none is lost.

import { fill, make } from "./parts.js";
import { WrongInput, base64, bytesOf, placesOf, readInteger, readJSON, writeJSON } from "./values.js";

const MOST_FIELDS = 300; // Values that are deeper, or behind them, are JSON.
const PROBLEM = "bad problem";
const SHOWN_AS = {
  date: { type: "date" },
  "date-time": { placeholder: "2026-01-31T12:00:00Z" },
  time: { placeholder: "12:00:00" },
  duration: { placeholder: "PT1H30M" },
  decimal: { inputMode: "decimal" },
  password: { type: "password", autocomplete: "new-password" }, // Browsers fill in no password of this site there.
};

/** The fields of one object. */
export class Fields {
  #root;
  #left;

  /**
   * @param {Types} types the types of the document.
   * @param {object} schema the schema of the object.
   * @param {string} name what the fields are together.
   * @param {Function} changed called after somebody changed a field.
   */
  constructor(types, schema, name, changed) {
    Object.assign(this, { types, schema, name, changed, element: make("div", { className: "fields" }) });
    this.element.addEventListener("input", () => this.#touched());
  }

  /** Show a value in the place of the last one. */
  show(value) {
    this.#left = MOST_FIELDS;
    this.#root = this.#field(this.schema, value);
    fill(this.element, [this.#root.element]);
    this.#settle();
  }

  /** Return the value; raises WrongInput, which names the field, for a text of another type. */
  read() {
    return this.#root.read();
  }

  /** Show what is wrong beside the field of a path, such as `order.lines[0].item`, or of what holds it. */
  mark(path, words) {
    for (const at of placesOf(path)) {
      const found = [...this.element.querySelectorAll("[data-path]")].filter((one) => one.dataset.path === at).pop();
      if (!found) continue;
      if (found.nextSibling?.className === PROBLEM) found.nextSibling.remove();
      found.setAttribute("aria-invalid", "true");
      found.after(make("span", { className: PROBLEM, textContent: at === path ? words : `${path}: ${words}` }));
      return;
    }
  }

  #touched() {
    for (const one of this.element.querySelectorAll(".problem")) {
      one.previousSibling.removeAttribute("aria-invalid");
      one.remove();
    }
    this.#settle();
    this.changed();
  }

  /** Tell each field its path, and show which values have another type. */
  #settle() {
    this.#root.place("");
    for (const one of this.element.querySelectorAll("[data-odd]")) this.mark(one.dataset.path, one.dataset.odd);
  }

  /** Return a field: its element, what reads it, and what tells it and the fields in it their paths. */
  #node(element, read, inner = () => []) {
    const place = (path) => {
      element.dataset.path = path.replace(/^\./, "");
      element.setAttribute("aria-label", element.dataset.path || this.name);
      for (const [step, one] of inner()) one.place(path + step);
    };
    return { element, read: () => read(element.dataset.path), place };
  }

  #field(schema, value) {
    const known = this.types.of(schema);
    const choices = known.anyOf ?? known.oneOf;
    if ((this.#left -= 1) < 0) return this.#json(value);
    if (choices) return this.#union(choices.map((one) => (known.format && this.types.isText(one) ? { format: known.format, ...one } : one)), value);
    if (!this.types.isOf(known, value)) return this.#json(value, `no ${this.types.text(schema)}`);
    if ("const" in known) return this.#node(make("output"), () => value);
    if (known.enum) return this.#choice(known, value);
    if (known.type === "object" && known.properties) return this.#object(known, value);
    if (known.type === "object" && known.additionalProperties) return this.#map(known, value);
    if (known.type === "array") return this.#list(known, value);
    if (known.type === "string") return known.contentEncoding === "base64" ? this.#bytes(value) : this.#text(known, value);
    if (known.type === "null") return this.#node(make("output"), () => null);
    if (known.type === "boolean") {
      const box = make("input", { type: "checkbox", checked: value });
      return this.#node(box, () => box.checked);
    }
    return known.type === "integer" || known.type === "number" ? this.#number(known, value) : this.#json(value);
  }

  #json(value, problem) {
    const control = make("textarea", { rows: 1, spellcheck: false, value: writeJSON(value), title: "JSON" });
    if (problem) control.dataset.odd = problem;
    control.addEventListener("input", () => delete control.dataset.odd);
    return this.#node(control, (path) => readJSON(path, control.value));
  }

  #number(known, value) {
    const control = make("input", { inputMode: "decimal", value: String(value), autocomplete: "off" });
    return this.#node(control, (path) => {
      const found = readInteger(control.value) ?? (known.type === "integer" || !control.value.trim() ? NaN : Number(control.value));
      if (Number.isNaN(found) || Math.abs(Number(found)) === Infinity) throw new WrongInput(path, `${JSON.stringify(control.value)} is no ${known.type}`);
      return found;
    });
  }

  #text(known, value) {
    const control = known.format
      ? make("input", { autocomplete: "off", spellcheck: false, ...SHOWN_AS[known.format], value })
      : make("textarea", { rows: 1, value });
    // A control drops characters that it cannot hold.
    return control.value === value ? this.#node(control, () => control.value) : this.#json(value);
  }

  /** Three ways to give bytes: base64, text, or a file. */
  #bytes(value) {
    const control = make("textarea", { rows: 1, spellcheck: false, value });
    const text = make("textarea", { rows: 1, ariaLabel: "as text" });
    const file = make("input", { type: "file", ariaLabel: "from a file" });
    const shown = () => { text.value = new TextDecoder().decode(bytesOf(control.value) ?? new Uint8Array()); };
    control.addEventListener("input", shown);
    text.addEventListener("input", () => { control.value = base64(new TextEncoder().encode(text.value)); });
    file.addEventListener("change", async () => {
      // A chooser that is cancelled leaves no file.
      if (!file.files.length) return;
      control.value = base64(new Uint8Array(await file.files[0].arrayBuffer()));
      shown();
      this.#touched();
    });
    shown();
    const parts = [["base64", control], ["text", text], ["file", file]].map(([name, one]) => make("label", {}, make("small", { textContent: name }), one));
    return this.#node(make("fieldset", {}, ...parts), (path) => {
      if (bytesOf(control.value) === undefined) throw new WrongInput(path, "no base64");
      return control.value;
    });
  }

  #choice(known, value) {
    const names = known["x-enum-varnames"] ?? [];
    const options = known.enum.map((one, at) => make("option", { textContent: names[at] ? `${one} = ${names[at]}` : JSON.stringify(one) }));
    const control = make("select", {}, ...options);
    control.selectedIndex = known.enum.indexOf(value);
    return this.#node(control, () => known.enum[control.selectedIndex]);
  }

  #union(choices, value) {
    const at = choices.findIndex((one) => this.types.fits(one, value));
    const kinds = make("select", { ariaLabel: "type" }, ...choices.map((one) => make("option", { textContent: this.types.text(one) })));
    kinds.selectedIndex = at;
    const place = make("div");
    let inner;
    const show = (one) => fill(place, [(inner = one).element]);
    kinds.addEventListener("input", () => show(this.#field(choices[kinds.selectedIndex], this.types.example(choices[kinds.selectedIndex]))));
    show(at < 0 ? this.#json(value, `no ${this.types.text({ anyOf: choices })}`) : this.#field(choices[at], value));
    return this.#node(make("fieldset", {}, kinds, place), () => inner.read(), () => [["", inner]]);
  }

  #object(known, value) {
    const required = known.required ?? [];
    const more = Object.keys(value).filter((name) => !Object.hasOwn(known.properties, name));
    const rows = [...Object.keys(known.properties), ...more].map((name) => {
      const schema = Object.hasOwn(known.properties, name) ? known.properties[name] : {};
      const given = Object.hasOwn(value, name) ? value[name] : undefined;
      return [name, this.#named(name, schema, given, required.includes(name))];
    });
    const read = () => Object.fromEntries(rows.map(([name, one]) => [name, one.read()]).filter(([, one]) => one !== undefined));
    return this.#node(make("fieldset", {}, ...rows.map(([, one]) => one.element)), read, () => rows.map(([name, one]) => [`.${name}`, one]));
  }

  /** Return the row of a named field; with a box where it may be left out, or is. */
  #named(name, schema, value, isRequired) {
    const told = isRequired || !("default" in schema) ? "" : `, default ${JSON.stringify(schema.default)}`;
    const head = [make("code", { textContent: name }), make("small", { className: "soft", textContent: ` ${this.types.text(schema)}${told}` })];
    const place = make("div");
    const box = make("input", { type: "checkbox", checked: value !== undefined, ariaLabel: `give ${name}` });
    let inner;
    const show = (one) => {
      inner = box.checked ? this.#field(schema, one) : undefined;
      fill(place, inner ? [inner.element] : []);
    };
    box.addEventListener("input", () => show(this.types.example(schema)));
    show(value);
    const title = this.types.of(schema).description ?? "";
    const label = isRequired && value !== undefined ? make("div", { title }, ...head) : make("label", { title }, box, ...head);
    return { element: make("div", { className: "field" }, label, place), read: () => inner?.read(), place: (path) => inner?.place(path) };
  }

  #list(known, value) {
    const { prefixItems, items = {}, minItems = 0, maxItems = Infinity } = known;
    const schemaAt = (at) => prefixItems?.[at] ?? items;
    const found = value.map((one, at) => this.#field(schemaAt(at), one));
    const mayRemove = (at) => !prefixItems || (at === found.length - 1 && at >= minItems);
    return this.#grown(found, {
      added: () => this.#field(schemaAt(found.length), this.types.example(schemaAt(found.length))),
      isFull: () => found.length >= maxItems,
      mayRemove,
      read: () => found.map((one) => one.read()),
      steps: () => found.map((one, at) => [`[${at}]`, one]),
    });
  }

  #map(known, value) {
    const schema = known.additionalProperties === true ? {} : known.additionalProperties;
    const entry = (name, one) => {
      const key = make("input", { value: name, ariaLabel: "key", autocomplete: "off" });
      const inner = this.#field(schema, one);
      return { ...inner, key, element: make("div", { className: "entry" }, key, inner.element) };
    };
    const found = Object.entries(value).map(([name, one]) => entry(name, one));
    // As below, for keys.
    if (Object.keys(value).some((name, at) => found[at].key.value !== name)) return this.#json(value);
    const read = (path) => {
      const names = found.map((one) => one.key.value);
      const twice = names.find((name, at) => names.indexOf(name) !== at);
      if (twice !== undefined) throw new WrongInput(path, `the key ${JSON.stringify(twice)} is there twice`);
      return Object.fromEntries(found.map((one, at) => [names[at], one.read()]));
    };
    return this.#grown(found, {
      added: () => entry("", this.types.example(schema)),
      isFull: () => false,
      mayRemove: () => true,
      read,
      steps: () => found.map((one) => [`[${JSON.stringify(one.key.value)}]`, one]),
    });
  }

  /** Return a field whose parts are added and removed. */
  #grown(found, { added, isFull, mayRemove, read, steps }) {
    const element = make("fieldset");
    const more = make("button", { type: "button", textContent: "Add" });
    const redraw = () => {
      const rows = found.map((one, at) => {
        const button = make("button", { type: "button", textContent: "×", title: "Remove", hidden: !mayRemove(at) });
        button.addEventListener("click", () => {
          found.splice(at, 1);
          redraw();
          more.focus();
          this.#touched();
        });
        return make("div", { className: "item" }, one.element, button);
      });
      more.hidden = isFull();
      fill(element, [...rows, more]);
    };
    more.addEventListener("click", () => {
      found.push(added());
      redraw();
      element.querySelector(":scope > .item:last-of-type :is(input, textarea, select, button)")?.focus();
      this.#touched();
    });
    redraw();
    return this.#node(element, read, steps);
  }
}
