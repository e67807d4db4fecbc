// The balance at a past moment: a slider over a stretch of time that ends when it is first moved.

import { accountPath, ask, problemText, Unreachable } from "./api.js";
import { element, show } from "./elements.js";

const STEPS = 1000;
const STRETCHES = [
  ["1 minute", 60], ["1 hour", 3600], ["1 day", 86400], ["30 days", 2592000], ["1 year", 31536000],
];

export class TimeTravel {
  #slider = element("input",
    { type: "range", min: "0", max: STEPS, value: STEPS, input: () => this.#slid() });
  #stretch = element("select", { change: () => this.#toNow() },
    ...STRETCHES.map(([name, seconds]) => element("option", { value: String(seconds) }, name)));
  #exact = element("input",
    { type: "datetime-local", step: "0.001", change: () => this.#chosen() });
  #says = element("output", { class: "past", "aria-live": "polite" }, "now");
  #endMs = null; // of the stretch; null: it is now, and moves on
  #asking = null;

  constructor(accountId) {
    this.accountId = accountId;
    this.node = element("fieldset", {},
      element("legend", {}, "Travel in time"),
      element("label", {}, "Moment ", this.#slider),
      this.#says,
      element("div", { class: "row" },
        element("label", {}, "Stretch ", this.#stretch),
        element("label", {}, "Or exactly at ", this.#exact),
        element("button", { type: "button", class: "quiet", click: () => this.#toNow() }, "Now")));
  }

  #slid() {
    this.#endMs ??= Date.now();
    const stepMs = Number(this.#stretch.value) * 1000 / STEPS;
    const steps = STEPS - Number(this.#slider.value);
    this.#look(new Date(Math.round(this.#endMs - steps * stepMs)));
  }

  #chosen() {
    const at = new Date(this.#exact.value);
    if (Number.isNaN(at.getTime())) return;
    if (at <= new Date()) {
      this.#look(at);
      return;
    }
    this.#asking?.abort();
    show(this.#says, `${at.toLocaleString()} is yet to come.`);
  }

  #toNow() {
    this.#asking?.abort();
    this.#endMs = null;
    this.#slider.value = String(STEPS);
    this.#slider.removeAttribute("aria-valuetext");
    show(this.#says, "now");
  }

  /** Show the balance at a moment. The newest question counts: older ones are given up. */
  async #look(at) {
    this.#asking?.abort();
    const asking = this.#asking = new AbortController();
    const text = at.toISOString();
    this.#slider.setAttribute("aria-valuetext", at.toLocaleString());
    try {
      const path = `${accountPath(this.accountId)}?at=${encodeURIComponent(text)}`;
      const answer = await ask("GET", path, { signal: asking.signal });
      if (asking.signal.aborted) return;
      show(this.#says, `${at.toLocaleString()}: ${this.#said(answer)}`);
      this.#says.dataset.at = text;
    } catch (fault) {
      if (asking.signal.aborted) return;
      if (!(fault instanceof Unreachable)) throw fault;
      show(this.#says, `${fault.message} Move the slider again.`);
    }
  }

  #said(answer) {
    const { balance, currency, sequence, code } = answer.body;
    if (answer.ok) return `${balance} ${currency} (sequence ${sequence})`;
    return code === "before_opening" ? "not open yet" : problemText(answer.body);
  }
}
