// The JSON Schemas of a document: types as text, values to begin with, and whether a value fits.

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const CHECKS = {
  integer: (value) => Number.isInteger(value) || typeof value === "bigint",
  number: (value) => typeof value === "number" || typeof value === "bigint",
  boolean: (value) => typeof value === "boolean",
  string: (value) => typeof value === "string",
  null: (value) => value === null,
  array: Array.isArray,
  object: isObject,
};

/** Return the schema of a body; of a stream, from OpenAPI 3.2 on, the schema of each item. */
export function schemaOf(described) {
  return described.schema ?? described.itemSchema;
}

/** The types of one document. */
export class Types {
  /** @param {object} schemas the components that references name. */
  constructor(schemas) {
    this.schemas = schemas;
  }

  /** Return a schema without a reference at its top. */
  of(schema) {
    if (schema.allOf?.length === 1) return this.of({ ...schema.allOf[0], ...schema, allOf: undefined });
    if (!schema.$ref) return schema;
    return this.of({ ...this.schemas[schema.$ref.split("/").pop()], ...schema, $ref: undefined });
  }

  /** Return the type that a schema describes, in a line. */
  text(schema) {
    if (schema.$ref) return schema.$ref.split("/").pop();
    if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
    if ("const" in schema) return JSON.stringify(schema.const);
    const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
    if (choices) return choices.map((one) => this.text(one)).join(" | ");
    if (schema.prefixItems) return `[${schema.prefixItems.map((one) => this.text(one)).join(", ")}]`;
    if (schema.type === "array") return `${this.text(schema.items ?? {})}[]`;
    if (schema.type === "object" && schema.additionalProperties) return `{text: ${this.text(schema.additionalProperties)}}`;
    return [schema.type ?? schema.title ?? "any", schema.format ?? schema.contentEncoding].filter(Boolean).join(" ");
  }

  /** Return the classes in schemas, each as text. */
  classes(schemas) {
    const found = new Map();
    const look = (value) => {
      if (value === null || typeof value !== "object") return;
      const name = typeof value.$ref === "string" ? value.$ref.split("/").pop() : null;
      if (name && name !== "Problem" && !found.has(name)) {
        found.set(name, this.schemas[name]);
        look(found.get(name));
      }
      Object.values(value).forEach(look);
    };
    look(schemas);
    return [...found].map(([name, schema]) => this.#classText(name, schema));
  }

  #classText(name, schema) {
    if (!schema.properties) return `${name} = ${this.text(schema)}`;
    const fields = Object.entries(schema.properties).map(([field, one]) => {
      const mark = (schema.required ?? []).includes(field) ? "" : "?";
      return `  ${field}${mark}: ${this.text(one)}`;
    });
    return `${name} {\n${fields.join("\n")}\n}`;
  }

  /** Return a value that fits a schema, to begin with: required fields only. */
  example(schema, depth = 0) {
    if (depth > 8) return null;
    const known = this.of(schema);
    if ("default" in known) return known.default;
    if ("const" in known) return known.const;
    if (known.examples?.length) return known.examples[0];
    if (known.enum) return known.enum[0];
    const choices = known.anyOf ?? known.oneOf;
    if (choices) return this.example(choices[0], depth + 1);
    if (known.type === "object") {
      return Object.fromEntries((known.required ?? []).map((name) => [name, this.example(known.properties?.[name] ?? {}, depth + 1)]));
    }
    if (known.type === "array") return (known.prefixItems ?? []).slice(0, known.minItems).map((one) => this.example(one, depth + 1));
    return { integer: known.minimum ?? 0, number: known.minimum ?? 0, boolean: false, string: "", null: null }[known.type] ?? null;
  }

  /** Whether every value of a schema is a text; a class by its name is not seen as one. */
  isText(schema) {
    return schema.anyOf ? schema.anyOf.every((one) => this.isText(one)) : schema.type === "string";
  }

  /** Whether a value is a text that people must not see, by `"format": "password"`. */
  isSecret(schema) {
    const known = this.of(schema);
    return known.format === "password" || (known.anyOf ?? known.oneOf ?? []).some((one) => this.isSecret(one));
  }

  /** Return the schema of an object without its secret members, and another with these alone. */
  parted(schema) {
    const part = (isWanted) => {
      const properties = Object.fromEntries(Object.entries(schema.properties ?? {}).filter(([, one]) => isWanted(one)));
      return { ...schema, properties, required: (schema.required ?? []).filter((name) => Object.hasOwn(properties, name)) };
    };
    return [part((one) => !this.isSecret(one)), part((one) => this.isSecret(one))];
  }

  /** Whether a value has the type at the top of a schema; its parts may have others. */
  isOf(schema, value) {
    const known = this.of(schema);
    if ("const" in known) return known.const === value;
    if (known.enum) return known.enum.includes(value);
    return CHECKS[known.type]?.(value) ?? true;
  }

  /** Whether a value fits a schema, with all its parts. */
  fits(schema, value) {
    const known = this.of(schema);
    const choices = known.anyOf ?? known.oneOf;
    if (choices) return choices.some((one) => this.fits(one, value));
    if (!this.isOf(known, value)) return false;
    if (Array.isArray(value)) {
      const { prefixItems = [], items = {}, minItems = 0, maxItems = Infinity } = known;
      return value.length >= minItems && value.length <= maxItems && value.every((one, at) => this.fits(prefixItems[at] ?? items, one));
    }
    if (!isObject(value)) return true;
    const { properties = {}, required = [], additionalProperties: others = {} } = known;
    const has = Object.entries(value);
    return required.every((name) => Object.hasOwn(value, name))
      && has.every(([name, one]) => (Object.hasOwn(properties, name) ? this.fits(properties[name], one) : others === true || (others && this.fits(others, one))));
  }
}
