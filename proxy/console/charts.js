// Lines over the last two minutes, by uPlot. Rates and milliseconds only: never an amount.

import uPlot from "./vendor/uplot/uPlot.esm.js";

const POINTS_MOST = 120;
const HEIGHT = 150;

function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(undefined, { hour12: false });
}

export class Chart {
  #data;
  #plot;
  #place;

  /** `widths` has one line width in pixels for each series. */
  constructor(id, widths) {
    this.#place = document.getElementById(id);
    this.#data = [[], ...widths.map(() => [])];
    this.#draw(widths);
    new ResizeObserver(() => this.#plot.setSize(this.#size())).observe(this.#place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#plot.destroy();
      this.#draw(widths);
    });
  }

  /** Add one value to each series; null leaves a gap. */
  add(atMs, values) {
    [atMs / 1000, ...values].forEach((value, at) => {
      this.#data[at].push(value);
      if (this.#data[at].length > POINTS_MOST) this.#data[at].shift();
    });
    this.#plot.setData(this.#data);
  }

  #size() {
    return { width: Math.max(this.#place.clientWidth, 100), height: HEIGHT };
  }

  #draw(widths) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const [ink, line, accent] = ["--soft", "--line", "--accent"].map(color);
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    this.#plot = new uPlot({
      ...this.#size(),
      legend: { show: false },
      cursor: { show: false },
      axes: [
        { ...axis, space: 90, values: (_, places) => places.map(clockTime) },
        { ...axis, size: 56 },
      ],
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
      series: [{}, ...widths.map((width) => ({ stroke: accent, width, points: { show: false } }))],
    }, this.#data, this.#place);
  }
}
