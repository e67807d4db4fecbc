// The forms that watch and open accounts, and the cards of those that are watched.

import { AccountCard } from "./account_card.js";
import { accountPath, ask, problemText, untilAnswered } from "./api.js";
import { show } from "./elements.js";

const ACCOUNT_ID = /^[A-Za-z0-9_-]{1,64}$/;

export class AccountsView {
  #feed;
  #cards = new Map();
  #place = document.getElementById("cards");
  #says = document.getElementById("accounts-says");

  constructor(feed) {
    this.#feed = feed;
    this.#onSubmit("watch", (form) => this.watch(form.account_id));
    this.#onSubmit("open", (form) => this.#open(form));
  }

  /** Show an account from now on; one that is shown already is brought into view. */
  watch(accountId) {
    if (!ACCOUNT_ID.test(accountId)) {
      this.#say(`${accountId}: not the id of an account.`, true);
      return;
    }
    const known = this.#cards.get(accountId);
    if (known) {
      known.node.scrollIntoView({ block: "nearest" });
      return;
    }
    const card = new AccountCard(accountId, () => this.#close(card));
    this.#cards.set(accountId, card);
    this.#place.append(card.node);
    this.#remember();
    const take = (message) => {
      if (message.type !== "error") card.take(message);
      else {
        this.#remove(card);
        this.#say(`${accountId}: ${problemText(message)}`, true);
      }
    };
    this.#feed.watch(accountId, { take, lost: () => card.lost() });
  }

  async #open({ account_id: accountId, ...terms }) {
    // Its id names it: sent again, it is the same.
    const answer = await untilAnswered(
      () => ask("PUT", accountPath(accountId), { body: terms }),
      (sentence) => this.#say(`${sentence} Asking again.`, true));
    if (answer.status === 201) {
      this.#say(`${accountId} is open.`);
      this.watch(accountId);
    } else {
      const unknown = `${accountId}: not known yet; open it again to see.`;
      this.#say(answer.status === 202 ? unknown : problemText(answer.body), true);
    }
  }

  #close(card) {
    this.#feed.unwatch(card.accountId);
    this.#remove(card);
    document.querySelector("#watch input").focus();
  }

  #remove(card) {
    this.#cards.delete(card.accountId);
    card.lost();
    card.node.remove();
    this.#remember();
  }

  /** The address names what is watched, so that a reload and a bookmark show the same. */
  #remember() {
    const names = [...this.#cards.keys()].join(",");
    history.replaceState(null, "", names ? `#watch=${names}` : location.pathname);
  }

  #onSubmit(id, act) {
    document.getElementById(id).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say("");
      act(Object.fromEntries(new FormData(event.target)));
    });
  }

  #say(text, isBad = false) {
    show(this.#says, text);
    this.#says.classList.toggle("refused", isBad);
  }
}

/** The accounts that the address names. */
export function remembered() {
  const [, names = ""] = location.hash.match(/^#watch=(.*)$/) ?? [];
  return names.replaceAll("%2C", ",").split(",").filter(Boolean);
}
