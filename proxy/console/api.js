// The wallet's HTTP API. Amounts are decimal strings and stay strings: no float ever holds money.

/** The wallet did not answer: what became of the request is not known. */
export class Unreachable extends Error {}

/** A proxy holds a request for 10 s, and asks readers for no longer than that and a little. What is
 * not answered long after is lost with its connection. */
const DEADLINE_MS = 20000;

/** Answers that say nothing of what became of a request: timed out, too many. */
const UNSETTLED = new Set([408, 429]);

/** Ask; `elapsedMs` is how long this browser waited. Throw Unreachable when no answer came that
 * says what became of it. */
export async function ask(method, path, { body, headers = {}, signal } = {}) {
  const began = performance.now();
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  let answer, read;
  try {
    answer = await fetch(path, {
      method,
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body && JSON.stringify(body),
    });
    read = await answer.json();
  } catch (fault) {
    if (signal?.aborted) throw fault;
    throw new Unreachable("The wallet does not answer.", { cause: fault });
  }
  if (UNSETTLED.has(answer.status) || answer.status >= 500) {
    throw new Unreachable(problemText(read));
  }
  return {
    status: answer.status, ok: answer.ok, headers: answer.headers, body: read,
    elapsedMs: performance.now() - began,
  };
}

/** What a problem document says, in one line. */
export function problemText(body) {
  const fields = (body.errors ?? []).map((each) => `${each.field} ${each.detail}`);
  return `${fields.join("; ") || body.detail || body.title} (${body.code})`;
}

export const accountPath = (accountId) => `/wallet/accounts/${encodeURIComponent(accountId)}`;

export function transferPath({ from_account_id: payer, transaction_id: id }) {
  return `${accountPath(payer)}/transfers/${encodeURIComponent(id)}`;
}

/** Call `work` until it gets an answer: only while nobody answers is anything tried again.
 * `onLost(sentence)` is told of each failure. Give null once it is not wanted any more. */
export async function untilAnswered(work, onLost = () => {}, isWanted = () => true) {
  for (let wait = 250; isWanted(); wait = Math.min(2 * wait, 5000)) {
    try {
      return await work();
    } catch (fault) {
      if (!(fault instanceof Unreachable)) throw fault;
      onLost(fault.message);
      await new Promise((done) => setTimeout(done, wait));
    }
  }
  return null;
}
