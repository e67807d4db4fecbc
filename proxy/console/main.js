// Puts the console together.

import { AccountFeed } from "./account_feed.js";
import { AccountsView, remembered } from "./accounts_view.js";
import { show } from "./elements.js";
import { OverviewView } from "./overview_view.js";
import { watchPictures } from "./picture_feed.js";
import { TransferView } from "./transfer_view.js";

const connection = document.getElementById("connection");

function showConnection(isUp) {
  show(connection, isUp ? "connected" : "connection lost; trying again");
  connection.classList.toggle("lost", !isUp);
}

const accounts = new AccountsView(new AccountFeed(showConnection));
new TransferView((accountId) => accounts.watch(accountId));
remembered().forEach((accountId) => accounts.watch(accountId));

const overview = new OverviewView();
watchPictures((picture) => overview.take(picture), () => overview.lost());
