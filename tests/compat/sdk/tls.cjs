"use strict";
// The SDK with `ssl: true`: over wss it subscribes and over https it publishes, to a node that shows a certificate.
// Whom Node believes, the test says in NODE_EXTRA_CA_CERTS; without it, the SDK does not connect.

const { Record, assert, connect, connectHttp, index, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const ssl = { ssl: true };
  if (process.env.SHOAL_STRANGER) {
    await assert.rejects(connect(nodes[0], { ...ssl, autoReconnect: false }), /certificate|self.signed|issuer/i);
    return;
  }
  const subscriber = await connect(nodes.at(-1), ssl);
  const publisher = await connect(nodes[0], ssl);
  const http = await connectHttp(nodes[0], ssl);
  assert.ok(Math.abs((await http.server.now()) - Date.now()) < 60_000);

  const heard = new Record("notifications");
  await subscriber.realtime.subscribe(index, "mail", { equals: { to: "bob" } }, heard.push);
  await http.realtime.publish(index, "mail", { to: "bob", n: 0 });
  await heard.reach(1);
  const text = "é".repeat(100_000); // in many records
  for (let n = 1; n <= 20; n++) await publisher.realtime.publish(index, "mail", { to: "bob", n, text });
  await heard.reach(21);
  assert.deepEqual(
    heard.items.map(({ result }) => result._source.n),
    [...Array(21).keys()],
  );
  assert.deepEqual([heard.items[0].protocol, heard.items[1].protocol], ["http", "websocket"]);
  assert.ok(heard.items.slice(1).every(({ result }) => result._source.text === text));
});
