// The form that makes a transfer, and the picture of its way with the times that were measured.

import { accountPath, ask, problemText, untilAnswered } from "./api.js";
import { element, moment, show, table } from "./elements.js";
import { RoutePicture, STRETCHES } from "./route_picture.js";

const WALK_MS = 3000;
const MEANINGS = {
  network: ["page → proxy → page", "the HTTP request there and back, by this browser's clock less the proxy's total"],
  batch: ["in the proxy", "until its frame left; the proxy's clock"],
  journal: ["proxy → queue → writer → journal", "queued, decided, and given its place in the journal; with all steps between partitions"],
  project: ["journal → reader", "written, fsynced, followed and projected"],
  push: ["reader → proxy", "the result's way back"],
  answer: ["in the proxy", "the answer is made; the proxy's clock"],
};

export class TransferView {
  #form = document.getElementById("transfer-form");
  #says = document.getElementById("transfer-says");
  #picture = new RoutePicture();
  #times = table("Where the time went", ["From → to", "Time", "What it is"]);
  #steps = table("Steps between partitions", ["Step", "Partition", "Sequence", "Time", "Since its start"]);
  #watch;

  /** `watch(accountId)` shows an account. */
  constructor(watch) {
    this.#watch = watch;
    document.getElementById("route").append(this.#picture.node);
    document.getElementById("times").append(this.#times.frame, this.#steps.frame);
    this.#times.frame.hidden = this.#steps.frame.hidden = true;
    this.#form.transaction_id.value = newTransactionId();
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(Object.fromEntries(new FormData(this.#form)));
    });
  }

  async #send({ way, ...form }) {
    const button = this.#form.querySelector("button");
    button.disabled = true;
    try {
      await this.#carryOut(form, way);
    } finally {
      button.disabled = false;
    }
  }

  async #carryOut(form, way) {
    this.#times.frame.hidden = this.#steps.frame.hidden = true;
    this.#tell(`${form.transaction_id} is on its way …`);
    this.#picture.start();
    const headers = { Prefer: "server-timing", ...(way && { "Wallet-Coordination": way }) };
    // The same id again is the same transfer: it moves money once, however often it is sent.
    const sent = await untilAnswered(
      () => ask("POST", "/wallet/transfer", { body: form, headers }),
      () => this.#tell("The wallet does not answer; what became of the transfer is not known. Asking again with the same id.", true));
    if (sent.status >= 400) {
      this.#picture.stop();
      this.#tell(problemText(sent.body), true);
      if (sent.status === 422) this.#form.transaction_id.value = newTransactionId(); // that id is used up
      return;
    }
    await this.#showOutcome(form, sent);
  }

  async #showOutcome(form, sent) {
    const recorded = await this.#recorded(form);
    if (recorded.status !== "completed") {
      this.#picture.stop();
      this.#tell(`${form.transaction_id}: ${problemText(recorded)}`, true);
    } else {
      this.#tell(`${form.transaction_id} is done: ${recorded.amount} ${recorded.currency} moved, ${form.from_account_id} has ${recorded.balance} ${recorded.currency}; ${sent.elapsedMs.toFixed(1)} ms in all.`);
      this.#watch(form.from_account_id);
      this.#watch(form.to_account_id);
      this.#showTimes(sent);
    }
    this.#showSteps(recorded);
    this.#form.transaction_id.value = newTransactionId();
  }

  /** The transfer as it is recorded, waited for as long as it has no outcome. */
  async #recorded({ from_account_id: payer, transaction_id: id }) {
    const path = `${accountPath(payer)}/transfers/${encodeURIComponent(id)}`;
    for (;;) {
      const answer = await untilAnswered(
        () => ask("GET", path, { headers: { Prefer: "wait=20" } }),
        () => this.#tell("The wallet does not answer; asking again what became of the transfer.", true));
      if (!answer.ok || answer.body.status !== "pending") return answer.body;
      this.#tell(`${id} is under way between partitions …`);
    }
  }

  #showTimes({ headers, elapsedMs }) {
    const told = timesOf(headers.get("Server-Timing"));
    if (told.total === undefined) return this.#picture.stop(); // not known in time: nothing was measured
    const times = { network: elapsedMs - told.total, ...told };
    const known = STRETCHES.filter(({ name }) => times[name] !== undefined);
    const rows = known.map(({ name }) => [MEANINGS[name][0], inMs(times[name]), MEANINGS[name][1]]);
    if (told.journal === undefined) {
      rows.push(["proxy → … → proxy", inMs(told.wallet), "queue, writer, journal and reader; not told apart, because the machines' clocks disagree"]);
    }
    rows.push(["all", inMs(elapsedMs), "as this browser waited"]);
    this.#times.fill(rows);
    this.#times.frame.hidden = false;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    show(document.getElementById("route-note"), isStill ? "" : `Shown ${Math.round(WALK_MS / elapsedMs)} times slower than it was.`);
    this.#picture.walk(times, isStill ? 0 : WALK_MS);
  }

  #showSteps({ steps = [] }) {
    this.#steps.frame.hidden = steps.length === 0;
    const began = steps.length ? Date.parse(steps[0].at) : 0;
    this.#steps.fill(steps.map((each) => [each.code ? `${each.name} (${each.code})` : each.name,
      String(each.partition), String(each.sequence), moment(each.at), `${Date.parse(each.at) - began} ms`]));
  }

  #tell(text, isBad = false) {
    show(this.#says, text);
    this.#says.classList.toggle("refused", isBad);
  }
}

/** `Server-Timing` as milliseconds by name. */
function timesOf(header) {
  const found = (header ?? "").matchAll(/(\w+);dur=([0-9.-]+)/g);
  return Object.fromEntries([...found].map(([, name, ms]) => [name, Number(ms)]));
}

const inMs = (ms) => `${ms.toFixed(2)} ms`;

function newTransactionId() {
  const drawn = crypto.getRandomValues(new Uint32Array(3));
  return `console-${[...drawn].map((each) => each.toString(36)).join("")}`;
}
