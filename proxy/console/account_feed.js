// All watched accounts on one WebSocket, while there are some and somebody looks. Who comes back
// gives the last sequence that it saw of each account, so no change is missed or told twice.

import { Line } from "./line.js";

const PING_EVERY_MS = 2000;

export class AccountFeed {
  #listeners = new Map(); // by account: who is told
  #seen = new Map(); // by account: the last sequence
  #socket = null; // null: there is none
  #isLookedAt = false;
  #line;

  /** `onState(state)` is called with each change of the line's state. */
  constructor(onState) {
    this.#line = new Line((told) => this.#connect(told), (state) => {
      if (state !== "up") for (const { lost } of this.#listeners.values()) lost();
      onState(state);
    });
  }

  /** Listen from now on, or not. */
  look(isLookedAt) {
    this.#isLookedAt = isLookedAt;
    this.#settle();
  }

  /** Tell `take` how the account stands and then each change; an `error` message ends it. `lost` is
   * called when nothing comes for now: what was told is how it was, until the next `state`. */
  watch(accountId, { take, lost }) {
    this.#listeners.set(accountId, { take, lost });
    this.#subscribe([accountId]);
    this.#settle();
  }

  unwatch(accountId) {
    this.#forget(accountId);
    this.#say({ op: "unsubscribe", accounts: [accountId] });
  }

  #settle() {
    this.#line.want(this.#isLookedAt && this.#listeners.size > 0);
  }

  #connect({ heard, lost }) {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = this.#socket = new WebSocket(`${scheme}//${location.host}/wallet/subscribe`);
    // Pages can't see the pings of WebSocket itself, so this one asks.
    const pinging = setInterval(() => this.#say({ op: "ping" }), PING_EVERY_MS);
    socket.onopen = () => {
      heard();
      for (const accountId of this.#listeners.keys()) this.#subscribe([accountId]);
    };
    socket.onmessage = (event) => {
      heard();
      this.#take(JSON.parse(event.data));
    };
    socket.onclose = lost;
    return () => {
      clearInterval(pinging);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      this.#socket = null;
    };
  }

  #subscribe(accounts) {
    const known = accounts.filter((each) => this.#seen.has(each));
    const places = Object.fromEntries(known.map((each) => [each, this.#seen.get(each)]));
    this.#say({ op: "subscribe", accounts, from_sequence: places });
  }

  #say(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #take(message) {
    const listener = this.#listeners.get(message.account_id);
    if (listener === undefined) return;
    if (message.type === "error") {
      if (message.code === "sequence_not_reached" && this.#seen.delete(message.account_id)) {
        this.#subscribe([message.account_id]); // the wallet was set back: begin anew
        return;
      }
      this.#forget(message.account_id);
    } else {
      this.#seen.set(message.account_id, message.sequence);
    }
    listener.take(message);
  }

  #forget(accountId) {
    this.#listeners.delete(accountId);
    this.#seen.delete(accountId);
    this.#settle();
  }
}
