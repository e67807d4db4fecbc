// All watched accounts on one WebSocket. Who comes back gives the last sequence that it saw of each
// account, so no change is missed and none is told twice.

const WAIT_FIRST_MS = 250;
const WAIT_MOST_MS = 5000;

export class AccountFeed {
  #listeners = new Map(); // by account: who is told
  #seen = new Map(); // by account: the last sequence
  #socket = null;
  #wait = WAIT_FIRST_MS;
  #onConnection;

  /** `onConnection(isUp)` is called with each change of the connection. */
  constructor(onConnection) {
    this.#onConnection = onConnection;
    this.#connect();
  }

  /** Tell `listener` how the account stands and then each change; `error` messages end it. */
  watch(accountId, listener) {
    this.#listeners.set(accountId, listener);
    this.#subscribe([accountId]);
  }

  unwatch(accountId) {
    this.#forget(accountId);
    this.#say({ op: "unsubscribe", accounts: [accountId] });
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = this.#socket = new WebSocket(`${scheme}//${location.host}/wallet/subscribe`);
    socket.onopen = () => {
      this.#wait = WAIT_FIRST_MS;
      this.#onConnection(true);
      for (const accountId of this.#listeners.keys()) this.#subscribe([accountId]);
    };
    socket.onmessage = (event) => this.#take(JSON.parse(event.data));
    socket.onclose = () => {
      this.#onConnection(false);
      setTimeout(() => this.#connect(), this.#wait);
      this.#wait = Math.min(2 * this.#wait, WAIT_MOST_MS);
    };
  }

  #subscribe(accounts) {
    const known = accounts.filter((each) => this.#seen.has(each));
    const places = Object.fromEntries(known.map((each) => [each, this.#seen.get(each)]));
    this.#say({ op: "subscribe", accounts, from_sequence: places });
  }

  #say(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
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
    listener(message);
  }

  #forget(accountId) {
    this.#listeners.delete(accountId);
    this.#seen.delete(accountId);
  }
}
