// One watched account: its balance as it changes, its statement, and its past.

import { accountPath, ask, untilAnswered } from "./api.js";
import { element, moment, show, table } from "./elements.js";
import { TimeTravel } from "./time_travel.js";

const STATEMENT_HEADS = ["Time", "Amount", "Balance", "With", "Transaction"];
const ENTRIES_SHOWN = 8;
const BETWEEN_MS = 250;

export class AccountCard {
  #balance = element("p", { class: "balance", "aria-live": "polite" }, "…");
  #says = element("p", { class: "note" }, "not known yet");
  #more = element("dl");
  #statement = table("Statement, newest first", STATEMENT_HEADS);
  #isReading = false;
  #isLive = false;
  #wanted = 0; // the sequence that the statement has to have reached

  constructor(accountId, onClose) {
    this.accountId = accountId;
    const close = { class: "quiet", type: "button", click: onClose };
    this.node = element("article",
      { "data-account": accountId, "aria-label": `Account ${accountId}` },
      element("h3", {}, accountId),
      this.#balance, this.#says, this.#more, this.#statement.frame,
      new TimeTravel(accountId).node,
      element("button", close, `Stop watching ${accountId}`));
  }

  /** Take a `state` or a `change`. What was missed comes before the state. */
  take(message) {
    if (message.type === "state") this.#become(true, "live");
    show(this.#balance, `${message.balance} ${message.currency}`);
    if (message.type === "change") this.#glow();
    const rows = {
      Available: message.available,
      Held: message.held,
      "Partition, sequence": `${message.partition}, ${message.sequence}`,
      "Last event": element("span", {}, moment(message.at),
        message.conflated ? " (some were left out)" : ""),
    };
    this.#more.replaceChildren(...Object.entries(rows).flatMap(
      ([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    this.#wanted = message.sequence;
    this.#readStatement();
  }

  /** Nothing comes for now. */
  lost() {
    if (this.#isLive) this.#become(false, "not live: this is how it was");
  }

  #become(isLive, text) {
    this.#isLive = isLive;
    show(this.#says, text);
    this.node.classList.toggle("stale", !isLive);
  }

  #glow() {
    this.#balance.classList.remove("changed");
    void this.#balance.offsetWidth; // starts the animation again
    this.#balance.classList.add("changed");
  }

  /** One question at a time, and a few a second at most: what changes meanwhile is in the next.
   * Whatever keeps it from being read while it is not live, the next state has it read again. */
  async #readStatement() {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      for (let read = -1; this.#isLive && read < this.#wanted;) {
        if (read !== -1) await new Promise((done) => setTimeout(done, BETWEEN_MS));
        const wish = `limit=${ENTRIES_SHOWN}&min_sequence=${this.#wanted}`;
        const path = `${accountPath(this.accountId)}/entries?${wish}`;
        const answer = await untilAnswered(() => ask("GET", path), undefined, () => this.#isLive);
        if (!answer?.ok) return; // the next change asks again
        read = answer.body.sequence;
        this.#statement.fill(answer.body.entries.map((entry) => [
          moment(entry.at), `${entry.direction === "debit" ? "-" : "+"}${entry.amount}`,
          entry.balance, entry.counterparty_id, entry.transaction_id]));
      }
    } finally {
      this.#isReading = false;
    }
  }
}
