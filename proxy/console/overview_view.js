// The wallet as a whole: pace, partitions with their chains, and what is unfinished.

import { ask, problemText, transferPath, Unreachable } from "./api.js";
import { Chart } from "./charts.js";
import { element, moment, show, table } from "./elements.js";

const PARTITION_HEADS = ["Partition", "Leader", "Standing by", "Epoch", "Tip",
  "Read by", "Read to", "Lag", "Stored to", "Chain"];
const COORDINATOR_HEADS = ["Coordinator", "Leader", "Standing by", "Epoch", "Tip", "In hand"];
const UNFINISHED_HEADS = ["Started", "Age", "From → to", "Amount", "Way", "Last step", "Steps"];

export class OverviewView {
  #rates = new Chart("rate-chart", [2]);
  #latencies = new Chart("latency-chart", [1, 3]);
  #partitions = table("Partitions", PARTITION_HEADS);
  #coordinators = table("Coordinators", COORDINATOR_HEADS);
  #unfinished = table("The oldest unfinished transfers", UNFINISHED_HEADS);
  #isShown = false;
  #steps = new Map(); // by transfer: what was read of its steps, and at which last step

  constructor() {
    document.getElementById("partitions").append(this.#partitions.frame);
    document.getElementById("coordinators").append(this.#coordinators.frame);
    document.getElementById("unfinished").append(this.#unfinished.frame);
  }

  take({ at, overview, unfinished, pace }) {
    this.#isShown = true;
    this.#showHealth(overview);
    this.#showPace(Date.parse(at), pace);
    this.#partitions.fill(overview.partitions.flatMap(partitionRows));
    this.#coordinators.fill(overview.coordinators.map((each) => [
      each.name, each.writer, each.standbys.join(", ") || "nobody", String(each.epoch),
      String(each.sequence), String(each.unfinished)]));
    this.#showUnfinished(unfinished);
  }

  /** Nothing comes for now: the line is in this state. */
  wait(state) {
    const why = state === "lost" ? "The connection is lost" : "Waiting for a picture";
    this.#says(why + (this.#isShown ? ": this is how the wallet was." : "."), state === "lost");
  }

  #showHealth({ partitions, is_connected: isConnected }) {
    const missing = partitions.flatMap((each) => [
      ...(each.writer ? [] : [`partition ${each.partition} has no writer`]),
      ...(each.readers.length ? [] : [`partition ${each.partition} has no reader`])]);
    if (!isConnected) missing.unshift("the proxy has no connection to its broker");
    if (missing.length) this.#says(`Not ready: ${missing.join("; ")}.`, true);
    else this.#says("Every partition has a writer and a reader.", false);
  }

  #says(text, isBad) {
    const says = document.getElementById("overview-says");
    show(says, text);
    says.classList.toggle("bad", isBad);
  }

  #showPace(atMs, pace) {
    if (pace === null) { // the first of two looks, or no proxy was heard
      return showTexts({ completed: "–", refused: "–", p50: "–", p99: "–", "pace-note": "" });
    }
    const { latency_p50_ms: p50, latency_p99_ms: p99 } = pace;
    const seconds = (pace.interval_ms / 1000).toFixed(1);
    const counted = `${seconds} s by ${pace.proxies} proxy process(es)`;
    showTexts({
      completed: pace.completed_per_s.toFixed(1),
      refused: pace.refused_per_s.toFixed(1),
      p50: inMs(p50),
      p99: inMs(p99),
      "pace-note": `Counted over ${counted}; latency from a transfer's arrival at a proxy to its `
        + "outcome, rounded up by at most 19 %.",
    });
    this.#rates.add(atMs, [pace.completed_per_s]);
    this.#latencies.add(atMs, [p50, p99]);
  }

  #showUnfinished(unfinished) {
    const says = document.getElementById("unfinished-says");
    if (unfinished === null) return show(says, "No reader answers, so this is not known.");
    const { count, transfers } = unfinished;
    show(says, count === 0 ? "None." : `${count} in all; the oldest ${transfers.length}:`);
    this.#unfinished.frame.hidden = count === 0;
    const names = new Set(transfers.map(nameOf));
    for (const name of this.#steps.keys()) if (!names.has(name)) this.#steps.delete(name);
    this.#unfinished.fill(transfers.map((each) => [
      moment(each.started_at), `${(each.age_ms / 1000).toFixed(1)} s`,
      `${each.from_account_id} → ${each.to_account_id}`, `${each.amount} ${each.currency}`,
      each.coordination, each.last_step, this.#stepsOf(each)]));
  }

  /** The steps of both sides, asked for when the payer's last step is another one than before. */
  #stepsOf(transfer) {
    const name = nameOf(transfer);
    let known = this.#steps.get(name);
    if (known === undefined || known.lastStep !== transfer.last_step) {
      known = { lastStep: transfer.last_step, node: known?.node ?? element("span", {}, "…") };
      this.#steps.set(name, known);
      readSteps(transfer, known.node);
    }
    return known.node;
  }
}

function showTexts(byId) {
  for (const [id, text] of Object.entries(byId)) show(document.getElementById(id), text);
}

function nameOf(transfer) {
  return `${transfer.from_account_id}/${transfer.transaction_id}`;
}

async function readSteps(transfer, node) {
  try {
    const answer = await ask("GET", transferPath(transfer));
    show(node, answer.ok ? stepsText(answer.body.steps) : problemText(answer.body));
  } catch (fault) {
    if (!(fault instanceof Unreachable)) throw fault;
    show(node, `not known. ${fault.message}`);
  }
}

/** Steps with the partitions that took them. */
export function stepsText(steps) {
  const detail = (each) => (each.code ? `${each.partition}, ${each.code}` : each.partition);
  return steps.map((each) => `${each.name} (${detail(each)})`).join(", ");
}

const inMs = (value) => (value === null ? "–" : `${value.toFixed(value < 10 ? 2 : 0)} ms`);

/** One row for each reader, so that each one's lag and chain can be seen. */
function partitionRows({ partition, writer, standbys, readers }) {
  const lead = [String(partition), writer?.id ?? bad("nobody"), standbys.join(", ") || "nobody",
    writer ? String(writer.epoch) : "–", writer ? String(writer.sequence) : "–"];
  if (readers.length === 0) return [[...lead, bad("nobody"), "–", "–", "–", "–"]];
  return readers.map((reader) => [...lead, reader.id, String(reader.sequence), lag(writer, reader),
    String(reader.stored_sequence), chain(writer, reader)]);
}

function lag(writer, reader) {
  const behind = writer ? Math.max(0, writer.sequence - reader.sequence) : null;
  return behind === null ? "–" : `${behind} events, ${reader.lag_frames} frames`;
}

/** Whether writer and reader are at the same frame of the same chain, as far as both say. */
function chain(writer, reader) {
  const count = reader.unchained_frames;
  const at = `at ${reader.tip_hash.slice(0, 8)}`
    + (count ? `, ${count} frames dropped that did not chain` : "");
  if (!writer?.tip_hash || writer.sequence !== reader.sequence) return `follows, ${at}`;
  if (writer.tip_hash === reader.tip_hash) return `whole, ${at}`;
  return bad(`writer at ${writer.tip_hash.slice(0, 8)}, reader ${at}: they differ`);
}

const bad = (text) => element("span", { class: "bad" }, text);
