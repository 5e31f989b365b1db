/** Elements without a framework. Text goes in as text nodes, never as HTML. */

/** `h("button", {class: "primary", onclick}, "Save")`. `null`, `undefined` and `false` are left out. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set an element's text only when it changes, so that screen readers hear of changes only. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let timer;

/** A sentence at the page's foot, gone after a few seconds. */
export function toast(text, kind = "") {
  const place = document.getElementById("toast");
  place.replaceChildren(h("p", { class: `toast ${kind}` }, text));
  clearTimeout(timer);
  timer = setTimeout(() => place.replaceChildren(), 6000);
}
