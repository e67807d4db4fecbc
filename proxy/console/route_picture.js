// The way of one transfer, drawn as in the design: down to the journal and back by the reader.

import { show } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";

/** Where a transfer stops: place and size in the picture, which is 360 wide. */
const STATIONS = {
  browser: { x: 8, y: 12, width: 92, text: "this page" },
  proxy: { x: 176, y: 12, width: 124, text: "proxy" },
  queue: { x: 112, y: 112, width: 96, text: "queue" },
  writer: { x: 112, y: 184, width: 96, text: "writer" },
  journal: { x: 112, y: 256, width: 96, text: "journal" },
  reader: { x: 112, y: 328, width: 96, text: "reader" },
};
const HEIGHT = 40;

/** The stretches in the order of the way. `label` is where the time is written. */
export const STRETCHES = [
  {
    name: "network", path: "M100 26 H176",
    stops: ["browser", "proxy"], label: [138, 18, "middle"],
  },
  { name: "batch", path: "", stops: ["proxy"], label: [238, 66, "middle"] },
  {
    name: "journal", path: "M186 52 V82 H160 V112 M160 152 V184 M160 224 V256",
    stops: ["queue", "writer", "journal"], label: [104, 208, "end"],
  },
  { name: "project", path: "M160 296 V328", stops: ["reader"], label: [104, 316, "end"] },
  { name: "push", path: "M208 348 H280 V52", stops: ["proxy"], label: [274, 208, "end"] },
  { name: "answer", path: "M176 40 H100", stops: ["browser"], label: [138, 58, "middle"] },
];

const DESCRIPTION = "The way of a transfer: from this page to the proxy, through queue and writer"
  + " to the journal, by the reader back to the proxy and here. The table tells the times.";

export class RoutePicture {
  #parts = new Map(); // by name of a stretch: its drawn parts
  #walk = 0; // the newest one; older ones stop

  constructor() {
    const about = { role: "img", "aria-label": DESCRIPTION };
    this.node = drawn("svg", { viewBox: "0 0 360 380", class: "route", ...about });
    const boxes = {};
    for (const [name, place] of Object.entries(STATIONS)) boxes[name] = station(place);
    for (const { name, path, stops, label: [x, y, anchor] } of STRETCHES) {
      const line = drawn("path", { d: path, class: "way" });
      const time = drawn("text", { x, y, "text-anchor": anchor, class: "time" });
      this.node.append(line, time);
      this.#parts.set(name, { time, lit: [line, ...stops.map((each) => boxes[each])] });
    }
    this.node.append(...Object.values(boxes));
  }

  /** Sent, and nothing is known yet. */
  start() {
    this.#clear();
    for (const node of this.#parts.get("network").lit) node.classList.add("waiting");
  }

  /** Nothing came back. */
  stop() {
    this.#clear();
  }

  /** Walk the way again in `lastsMs`, each stretch for its share, and write its time. */
  async walk(times, lastsMs) {
    this.#clear();
    const walk = this.#walk;
    const known = STRETCHES.filter(({ name }) => times[name] !== undefined);
    const all = known.reduce((sum, { name }) => sum + times[name], 0) || 1;
    for (const { name } of known) {
      const { time, lit } = this.#parts.get(name);
      for (const node of lit) node.classList.add("lit");
      show(time, `${times[name].toFixed(2)} ms`);
      await new Promise((done) => setTimeout(done, lastsMs * times[name] / all));
      if (walk !== this.#walk) return;
    }
  }

  #clear() {
    this.#walk += 1;
    for (const { time, lit } of this.#parts.values()) {
      show(time, "");
      for (const node of lit) node.classList.remove("lit", "waiting");
    }
  }
}

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function station({ x, y, width, text }) {
  const group = drawn("g", { class: "station" });
  const label = drawn("text", { x: x + width / 2, y: y + HEIGHT / 2 + 5, "text-anchor": "middle" });
  label.textContent = text;
  group.append(drawn("rect", { x, y, width, height: HEIGHT, rx: 6 }), label);
  return group;
}
