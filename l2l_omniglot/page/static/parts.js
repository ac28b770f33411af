// Building blocks of the page.

/** An element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** A button with an icon. */
export function iconButton(symbol, label, onclick, more = "") {
  const button = make("button", { type: "button", class: `icon ${more}`, "aria-label": label, title: label, onclick });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${symbol}`);
  svg.append(use);
  button.append(svg);
  return button;
}

export const byId = (id) => document.getElementById(id);

/** Announces a sentence to screen readers, even if it is the same again. */
export function speak(sentence) {
  const place = byId("spoken");
  place.textContent = place.textContent === sentence ? `${sentence}\u00a0` : sentence;
}

export function percent(share) {
  if (share >= 0.9995) return "100 %";
  if (share < 0.0005) return "0 %";
  return `${(100 * share).toFixed(share < 0.0995 || share > 0.9905 ? 1 : 0)} %`;
}

let toastTimer = 0;
/** Reports an action, with a button that undoes it if it can be undone. */
export function toast(sentence, undo) {
  const box = byId("toast"), [text, button] = box.children;
  button.hidden = !undo;
  text.textContent = sentence;
  button.onclick = () => { box.hidden = true; undo(); };
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { if (!box.contains(document.activeElement)) box.hidden = true; }, 8000);
}
