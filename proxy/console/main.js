// Puts the console together.

import { AccountFeed } from "./account_feed.js";
import { AccountsView, remembered } from "./accounts_view.js";
import { show } from "./elements.js";
import { OverviewView } from "./overview_view.js";
import { pictureLine } from "./picture_feed.js";
import { TransferView } from "./transfer_view.js";

/** What is said of all lines together: the first of these that one of them is. */
const WORDS = {
  lost: "connection lost; trying again",
  connecting: "connecting …",
  up: "connected",
  resting: "not listening while nobody looks",
};
const states = {}; // by line

function showState(line, state) {
  states[line] = state;
  const now = Object.keys(WORDS).find((each) => Object.values(states).includes(each));
  const connection = document.getElementById("connection");
  show(connection, WORDS[now]);
  connection.classList.toggle("lost", now === "lost");
}

const overview = new OverviewView();
const pictures = pictureLine((picture) => overview.take(picture), (state) => {
  if (state !== "up") overview.wait(state);
  showState("pictures", state);
});
const feed = new AccountFeed((state) => showState("accounts", state));

/** A browser makes six requests of a host at a time, streams among them, in all its tabs together:
 * a tab that nobody looks at must not take them from the one that somebody does. */
function look() {
  const isLookedAt = document.visibilityState === "visible";
  pictures.want(isLookedAt);
  feed.look(isLookedAt);
}
document.addEventListener("visibilitychange", look);
look();

const accounts = new AccountsView(feed);
new TransferView((accountId) => accounts.watch(accountId));
const watchRemembered = () => remembered().forEach((accountId) => accounts.watch(accountId));
watchRemembered();
addEventListener("hashchange", watchRemembered); // a bookmark that was opened in this tab

// The link's own way would put its target into the address, in place of what is watched.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("accounts").focus();
});
