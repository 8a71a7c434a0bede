"use strict";
// Compression. With a WebSocket that is there already, as in a browser, that one offers it. Over `ws` the SDK switches it
// off. There this file reaches into the SDK's options for `ws` and switches it on, since `ws` also compresses what it
// sends.

const { Kuzzle, WebSocket: WebSocketProtocol } = require("kuzzle-sdk");
const { Record, assert, index, nodes, scenario } = require("./session.cjs");

const TEXT = "The harbor master reports a delay. ".repeat(60);

scenario(async () => {
  const isBrowser = typeof WebSocket !== "undefined";
  assert.equal(isBrowser, process.env.SHOAL_CLIENT === "browser", "started the way the test meant");

  const protocol = new WebSocketProtocol(nodes[0].host, { port: nodes[0].port });
  if (!isBrowser) protocol.options.perMessageDeflate = { threshold: 0 };
  const kuzzle = new Kuzzle(protocol);
  await kuzzle.connect();
  try {
    assert.match(protocol.client.extensions, /^permessage-deflate/);

    const heard = new Record("notifications");
    await kuzzle.realtime.subscribe(index, "reports", {}, heard.push);
    for (let number = 0; number < 50; number += 1) {
      const text = number % 2 ? TEXT : "short";
      await kuzzle.realtime.publish(index, "reports", { number, text });
    }
    const told = (await heard.reach(50)).map(({ result }) => result._source);
    assert.deepEqual(
      told.map(({ number, text }) => [number, text.length]),
      Array.from({ length: 50 }, (_, number) => [number, number % 2 ? TEXT.length : 5]),
    );
    if (!isBrowser) {
      const socket = protocol.client._socket;
      assert.ok(socket.bytesRead < 50 * TEXT.length, `${socket.bytesRead} bytes came for 100 messages`);
    }
  } finally {
    kuzzle.disconnect();
  }
});
