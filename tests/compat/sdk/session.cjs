"use strict";
// What every scenario shares: clients of the official SDK on given nodes, a record of what reaches them, ways to wait
// for a fact, and a conversation with the test that started the scenario. Nothing here touches the SDK's insides
// except to look: where a scenario needs a look, it says so.
//
// The test gives the nodes as JSON in SHOAL_NODES: [{"host": "127.0.0.1", "port": 7512}, …]. A scenario that ends
// without an error has passed: exit code 0.

const assert = require("node:assert/strict");
const readline = require("node:readline");
const { Http, Kuzzle, WebSocket: WebSocketProtocol } = require("kuzzle-sdk");

const PATIENCE_MS = 20_000; // for one fact to come true; enough for a busy machine, and short of the test's own limit

const nodes = JSON.parse(process.env.SHOAL_NODES);
const opened = [];

/** A connected client of one node over WebSocket. */
async function connect(node, protocolOptions = {}, options = {}) {
  const kuzzle = new Kuzzle(
    new WebSocketProtocol(node.host, { port: node.port, ...protocolOptions }),
    options,
  );
  opened.push(kuzzle);
  await kuzzle.connect();
  return kuzzle;
}

/** A client of one node over HTTP, with the routes that the node told it. */
async function connectHttp(node, protocolOptions = {}) {
  const kuzzle = new Kuzzle(new Http(node.host, { port: node.port, ...protocolOptions }));
  await kuzzle.connect();
  return kuzzle;
}

/** Everything that was given to `push`, in order, and a way to wait for more. */
class Record {
  constructor(name) {
    this.name = name;
    this.items = [];
    this.waiting = new Set();
    this.push = (item) => {
      this.items.push(item);
      for (const look of this.waiting) look();
    };
  }

  /** The items, as soon as there are `count`; an error that shows what came instead if that takes too long. */
  async reach(count) {
    await this.find((_, index) => index === count - 1, `item ${count}`);
    return this.items;
  }

  /** The first item that `matches`, now or when it comes. */
  find(matches, what) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const index = this.items.findIndex(matches);
        if (index >= 0) end(resolve, this.items[index]);
      };
      const end = (settle, value) => {
        clearTimeout(timer);
        this.waiting.delete(look);
        settle(value);
      };
      const timer = setTimeout(() => {
        const came = JSON.stringify(this.items).slice(0, 2_000);
        end(reject, new Error(`${this.name}: ${what} did not come in ${PATIENCE_MS} ms, only ${came}`));
      }, PATIENCE_MS);
      this.waiting.add(look);
      look();
    });
  }
}

/** Ask again until `check` of the answer holds; for what another node tells us only when asked. */
async function until(ask, check, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (check(answer)) return answer;
    assert.ok(Date.now() < deadline, `${what} did not come true, last seen ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * Wait until the SDK has subscribed again, on the channel of a notification that it got before the connection was lost.
 *
 * It tells nobody when it has, so this looks at its listeners. The reply alone is not enough: the SDK listens to the
 * channel some promises after it, and what Node reads together with the reply passes by unheard.
 */
function resubscribed(kuzzle, { room }) {
  return until(
    async () => kuzzle.protocol.listeners(room).length,
    (count) => count === 1,
    "the SDK listens to its channel again",
  );
}

/** An index of its own for each run, so that scenarios may share a cluster. */
const index = `sdk-${process.pid}-${Date.now()}`;

const lines = readline.createInterface({ input: process.stdin });
const cues = new Record("cues from the test");
lines.on("line", cues.push);

/** Tell the test where the scenario is. */
function tell(event, facts = {}) {
  process.stdout.write(JSON.stringify({ event, ...facts }) + "\n");
}

/** Wait until the test says `word`. */
function cue(word) {
  return cues.find((line) => line === word, `the cue "${word}"`);
}

/** Run a scenario to its end. */
async function scenario(play) {
  try {
    await play();
    tell("passed");
  } catch (error) {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
  } finally {
    lines.close();
    for (const kuzzle of opened) kuzzle.disconnect();
  }
}

module.exports = {
  Record,
  assert,
  connect,
  connectHttp,
  cue,
  index,
  nodes,
  resubscribed,
  scenario,
  tell,
  until,
};
