// Elements of the page. Text is always set as text: nothing that a wallet holds is read as HTML.

/** Make an element; `attributes` that are null or false are left out, functions listen. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Set an element's text only when it differs, so that screen readers are told of changes alone. */
export function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A table in a frame that scrolls sideways by itself, and a function that fills its body. */
export function table(caption, heads) {
  const body = element("tbody");
  const head = element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)));
  const frame = element("div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("caption", {}, caption), element("thead", {}, head), body));
  const fill = (rows) => body.replaceChildren(
    ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))));
  return { frame, fill };
}

/** A moment as this place's clock shows it, with the day if that is not today. */
export function moment(text) {
  const at = new Date(text);
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.toLocaleDateString()} `;
  const time = at.toLocaleTimeString(undefined, { hourCycle: "h23" });
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return element("time", { datetime: text, title: text }, `${day}${time}.${ms}`);
}
