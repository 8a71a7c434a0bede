"use strict";
// The SDK gives a connection up when one of its pings is unanswered at the next tick. With a ping every 50 ms a node
// that answers late or never is found out at once.
//
// Node 20 has no global WebSocket, and the SDK sends RFC 6455 pings through `ws`. With --experimental-websocket there
// is one, as in a browser and in Node 22: then the SDK sends {"p":1} and wants {"p":2}. Both ways use this file; it
// looks at the SDK's socket to count the answers.

const { Record, assert, connect, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const hasGlobalWebSocket = typeof WebSocket !== "undefined";
  assert.equal(hasGlobalWebSocket, process.env.SHOAL_HEARTBEAT === "json", "started the way the test meant");

  const kuzzle = await connect(nodes[0], { pingInterval: 50 });
  const losses = new Record("network errors");
  kuzzle.on("networkError", losses.push);
  const pongs = new Record("pongs");
  if (hasGlobalWebSocket) {
    kuzzle.protocol.client.addEventListener(
      "message",
      ({ data }) => data.includes('"p"') && pongs.push(data),
    );
  } else {
    kuzzle.protocol.client.on("pong", () => pongs.push("pong"));
  }

  await pongs.reach(10);
  if (hasGlobalWebSocket)
    assert.deepEqual(new Set(pongs.items), new Set(['{"p":2}']), "exactly this, and no more in it");
  assert.deepEqual(losses.items, []);
  assert.ok(kuzzle.connected);
  assert.ok((await kuzzle.server.now()) > 0, "requests go on between the pings");
});
