// Changes a tree of elements into another one and keeps what is equal: focus, selection, scrolling and open parts stay.

/** Change the children of `old` into the children of `next`, which is used up. Children with `data-key` are found by it, equal keys by their order. */
export function morphChildren(old, next) {
  const focused = document.activeElement;
  change(old, next);
  // An element that moved has lost its focus.
  if (focused !== document.activeElement && focused?.isConnected && old.contains(focused)) focused.focus({ preventScroll: true });
}

function change(old, next) {
  const keyed = new Map();
  const before = new Map();
  for (const child of old.children) keyed.set(keyOf(child, before), child);
  const seen = new Map();
  let place = old.firstChild;
  for (const wanted of [...next.childNodes]) {
    const found = fitting(wanted, keyOf(wanted, seen), place, keyed);
    if (found === null) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else old.insertBefore(found, place);
    changeOne(found, wanted);
  }
  while (place !== null) {
    const following = place.nextSibling;
    place.remove();
    place = following;
  }
}

/** Return the key of a child with its number among equal keys; "" without a key. */
function keyOf(child, seen) {
  const key = child.dataset?.key;
  if (!key) return "";
  const number = (seen.get(key) ?? 0) + 1;
  seen.set(key, number);
  return `${number} ${key}`;
}

/** Return the old node that becomes `wanted`; null without one. */
function fitting(wanted, key, place, keyed) {
  const found = key ? keyed.get(key) ?? null : place;
  if (found === null || found.nodeName !== wanted.nodeName || (!key && found.dataset?.key)) return null;
  if (key) keyed.delete(key);
  return found;
}

function changeOne(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  // The script that draws on a canvas sets its size. A part that a person has opened stays open.
  const kept = { CANVAS: ["width", "height"], DETAILS: ["open"] }[old.nodeName] ?? [];
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (!kept.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.nodeName === "INPUT" && old !== document.activeElement && old.value !== next.value) old.value = next.value;
  change(old, next);
}
