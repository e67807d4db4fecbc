// The form that makes a transfer, and the picture of its way with the times that were measured.

import { ask, problemText, transferPath, untilAnswered } from "./api.js";
import { element, moment, show, table } from "./elements.js";
import { RoutePicture, STRETCHES } from "./route_picture.js";

const WALK_MS = 3000;
const MEANINGS = {
  network: ["page → proxy → page",
    "the HTTP request there and back, by this browser's clock less the proxy's total"],
  batch: ["in the proxy", "until its frame left; the proxy's clock"],
  journal: ["proxy → queue → writer → journal",
    "queued, decided, and given its place in the journal; with all steps between partitions"],
  project: ["journal → reader", "written, fsynced, followed and projected"],
  push: ["reader → proxy", "the result's way back"],
  answer: ["in the proxy", "the answer is made; the proxy's clock"],
};
const STEP_HEADS = ["Step", "Partition", "Sequence", "Time", "Since its start"];
const UNANSWERED = "What became of the transfer is not known. Asking again with the same id.";

export class TransferView {
  #form = document.getElementById("transfer-form");
  #says = document.getElementById("transfer-says");
  #picture = new RoutePicture();
  #times = table("Where the time went", ["From → to", "Time", "What it is"]);
  #steps = table("Steps between partitions", STEP_HEADS);
  #isSending = false;
  #newest = null; // the form that was sent last
  #watch;

  /** `watch(accountId)` shows an account. */
  constructor(watch) {
    this.#watch = watch;
    document.getElementById("route").append(this.#picture.node);
    document.getElementById("times").append(this.#times.frame, this.#steps.frame);
    this.#times.frame.hidden = this.#steps.frame.hidden = true;
    this.#form.transaction_id.value = newTransactionId();
    addEventListener("beforeunload", (event) => {
      if (this.#isSending) event.preventDefault(); // a page made anew would not know the id
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(Object.fromEntries(new FormData(this.#form)));
    });
  }

  async #send({ way, ...form }) {
    if (this.#isSending) return; // not a disabled button: that would lose the keyboard's focus
    this.#isSending = true;
    this.#newest = form;
    let isDone;
    try {
      isDone = await this.#carryOut(form, way);
    } finally {
      this.#isSending = false;
    }
    if (isDone) await this.#readSteps(form);
  }

  /** Give whether it is done: the other way to end is a refusal. */
  async #carryOut(form, way) {
    this.#times.frame.hidden = this.#steps.frame.hidden = true;
    this.#tell(`${form.transaction_id} is on its way …`);
    this.#picture.start();
    const headers = { Prefer: "server-timing", ...(way && { "Wallet-Coordination": way }) };
    const sent = await this.#sendUntilDecided(form, headers);
    if (sent.ok) {
      this.#showDone(sent);
      this.#form.transaction_id.value = newTransactionId();
      return true;
    }
    this.#picture.stop();
    this.#tell(problemText(sent.body), true);
    // A conflict tells of another transfer of that id, perhaps of this form before it was changed:
    // a new id now would pay a second time.
    const isUsedUp = sent.headers.has("Wallet-Coordination")
      && sent.body.code !== "idempotency_conflict";
    if (isUsedUp) this.#form.transaction_id.value = newTransactionId();
    return false;
  }

  /** The same id again is the same transfer: it moves money once, however often it is sent. */
  async #sendUntilDecided(form, headers) {
    for (;;) {
      const sent = await untilAnswered(
        () => ask("POST", "/wallet/transfer", { body: form, headers }),
        (sentence) => this.#tell(`${sentence} ${UNANSWERED}`, true));
      if (sent.status !== 202) return sent;
      this.#tell(`${form.transaction_id} is sent and has no outcome yet; asking on …`);
    }
  }

  #showDone(sent) {
    const { transaction_id: id, amount, balance, currency, from_account_id: payer } = sent.body;
    const isRepeat = sent.headers.has("Idempotent-Replayed");
    this.#tell(`${id} is done: ${amount} ${currency} moved, ${payer} has ${balance} ${currency}; `
      + (isRepeat ? "the first answer again, " : "") + `${sent.elapsedMs.toFixed(1)} ms in all.`);
    this.#watch(payer);
    this.#watch(sent.body.to_account_id);
    this.#showTimes(sent);
  }

  /** Of the newest transfer only: others may be sent meanwhile. */
  async #readSteps(form) {
    const isNewest = () => this.#newest === form;
    const recorded = await untilAnswered(
      () => ask("GET", transferPath(form)), undefined, isNewest);
    if (recorded?.ok && isNewest()) this.#showSteps(recorded.body);
  }

  #showTimes({ headers, elapsedMs }) {
    const told = timesOf(headers.get("Server-Timing"));
    const times = { network: elapsedMs - told.total, ...told };
    const known = STRETCHES.filter(({ name }) => times[name] !== undefined);
    const rows = known.map(({ name }) => [MEANINGS[name][0], inMs(times[name]), MEANINGS[name][1]]);
    if (told.journal === undefined) {
      rows.push(["proxy → … → proxy", inMs(told.wallet),
        "queue, writer, journal and reader: not told apart, as the machines' clocks disagree"]);
    }
    rows.push(["all", inMs(elapsedMs), "as this browser waited"]);
    this.#times.fill(rows);
    this.#times.frame.hidden = false;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const slower = `Shown ${Math.round(WALK_MS / elapsedMs)} times slower than it was.`;
    show(document.getElementById("route-note"), isStill || elapsedMs > WALK_MS ? "" : slower);
    this.#picture.walk(times, isStill ? 0 : WALK_MS);
  }

  #showSteps({ steps }) {
    this.#steps.frame.hidden = steps.length === 0;
    const began = steps.length ? Date.parse(steps[0].at) : 0;
    this.#steps.fill(steps.map((each) => [
      each.code ? `${each.name} (${each.code})` : each.name, String(each.partition),
      String(each.sequence), moment(each.at), `${Date.parse(each.at) - began} ms`]));
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
