// Elements of pages. Texts reach a page as text only.

/** Return a new element with these properties and children; a child may be a text. */
export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Replace the children of an element, and return it. */
export function fill(element, children) {
  element.replaceChildren(...children);
  return element;
}
