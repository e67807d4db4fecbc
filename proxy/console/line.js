// One connection to the wallet after another, kept while it is wanted.
//
//   resting                                  while it is not wanted
//   connecting ─▶ up                         the wallet was heard
//   connecting, up ─▶ lost                   closed, or silent
//   lost ─▶ up                               after a pause, on another one
//
// Packets can vanish without a word, and a browser then takes a connection for open for minutes. So
// the wallet has to be heard every few seconds, and silence is a loss like any other.

const SILENCE_MS = 5000;
const PAUSE_FIRST_MS = 250;
const PAUSE_MOST_MS = 5000;

export class Line {
  #open;
  #onState;
  #isWanted = false;
  #state = "resting";
  #close = null; // ends the present connection; null: there is none
  #timer = 0; // to the end of its silence, or of the pause before the next one
  #pause = PAUSE_FIRST_MS;

  /** `open({ heard, lost })` makes a connection, says what becomes of it, and returns a function
   * that ends it, after which it says nothing more. `onState(state)` is told of each change. */
  constructor(open, onState) {
    this.#open = open;
    this.#onState = onState;
  }

  /** Keep a connection from now on, or none. */
  want(isWanted) {
    if (isWanted === this.#isWanted) return;
    this.#isWanted = isWanted;
    this.#end();
    this.#become(isWanted ? "connecting" : "resting");
    this.#pause = PAUSE_FIRST_MS;
    if (isWanted) this.#begin();
  }

  #begin() {
    this.#listen();
    this.#close = this.#open({ heard: () => this.#heard(), lost: () => this.#lost() });
  }

  #heard() {
    this.#listen();
    this.#pause = PAUSE_FIRST_MS;
    this.#become("up");
  }

  #listen() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lost(), SILENCE_MS);
  }

  #lost() {
    this.#end();
    this.#become("lost");
    this.#timer = setTimeout(() => this.#begin(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, PAUSE_MOST_MS);
  }

  #end() {
    clearTimeout(this.#timer);
    this.#close?.();
    this.#close = null;
  }

  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#onState(state);
  }
}
