// The address of the page holds the view and its arguments; a token in it moves to the tab's own memory.

const KEPT = "fastrpc.console.token";

/** Return the view in the address: its name and its arguments. */
export function shownView() {
  const { view = "services", ...given } = Object.fromEntries(new URLSearchParams(location.search));
  return { name: view, given };
}

/** Return the address of a view. */
export function addressOf(name, given = {}) {
  return `?${new URLSearchParams({ view: name, ...given })}`;
}

/** Return whether a text can be a token: a header takes visible ASCII characters alone. */
export function isToken(text) {
  return /^[\x21-\x7e]+$/.test(text);
}

/** Return the token of the tab. One in the address, `#token=…`, is taken from there and from the history. */
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    if (isToken(token)) keepToken(token);
    history.replaceState(null, "", location.pathname + location.search);
  }
  const kept = sessionStorage.getItem(KEPT) ?? "";
  return isToken(kept) ? kept : "";
}

/** Keep a token while the tab is open. */
export function keepToken(token) {
  sessionStorage.setItem(KEPT, token);
}
