// Lines over the last two minutes, by uPlot. Rates and milliseconds only: never an amount.

import uPlot from "./vendor/uplot/uPlot.esm.js";

const SHOWN_S = 120;
const GAP_S = 5; // nothing is drawn over a longer time without a point
const HEIGHT = 150;

function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(undefined, { hourCycle: "h23" });
}

/** The series with a point more, without those that are too old. The first series has the times. */
export function withPoint(data, point) {
  const [times] = data;
  const [at, ...values] = point;
  const last = times.at(-1);
  const points = at - last > GAP_S ? [[last + 1, ...values.map(() => null)], point] : [point];
  const isShown = (_, place) => times[place] > at - SHOWN_S;
  return data.map((series, number) => [
    ...series.filter(isShown), ...points.map((each) => each[number])]);
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
    this.#data = withPoint(this.#data, [atMs / 1000, ...values]);
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
