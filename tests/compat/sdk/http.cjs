"use strict";
// The SDK over HTTP: it asks a node for its routes and builds its URLs from them, so every route it uses here is one
// that the node announced. What it publishes reaches a WebSocket subscriber on another node.

const { Record, assert, connect, connectHttp, index, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const http = await connectHttp(nodes[0]);
  const subscriber = await connect(nodes.at(-1));
  const { routes } = http.protocol;
  assert.deepEqual(
    [routes["cluster/cluster"].status.verb, routes["cluster/cluster"].status.url],
    ["GET", "/_plugin/cluster/status"],
  );
  assert.equal(routes["cluster/cluster"].reset.verb, "POST");
  assert.equal(routes.realtime.subscribe, undefined, "no way to subscribe over HTTP");

  assert.ok(Math.abs((await http.server.now()) - Date.now()) < 60_000);
  assert.equal((await http.auth.getCurrentUser())._id, "-1");
  assert.equal((await http.auth.checkToken()).kuid, "-1");
  assert.ok((await http.server.info()).serverInfo.kuzzle.api.routes.server.now);
  const { result } = await http.query({ controller: "cluster/cluster", action: "health" });
  assert.equal(result, "ok");

  const heard = new Record("notifications");
  await subscriber.realtime.subscribe(index, "mail", { equals: { to: "bob" } }, heard.push);
  const volatile = { from: "a form" };
  await http.realtime.publish(index, "mail", { to: "carol" });
  assert.equal(
    await http.realtime.publish(index, "mail", { to: "bob", n: 1 }, { _id: "letter 1/é", volatile }),
    true,
  );
  const [letter] = await heard.reach(1);
  assert.deepEqual([letter.protocol, letter.result._id, letter.result._source.n], ["http", "letter 1/é", 1]);
  assert.deepEqual([letter.volatile.from, letter.volatile.sdkInstanceId], ["a form", http.protocol.id]);

  const error = await http
    .query({ controller: "realtime", action: "publish", index, collection: "mail" })
    .catch((reason) => reason);
  assert.deepEqual([error.status, error.id], [400, "api.assert.body_required"]);
  // Without a route the SDK refuses by itself.
  await assert.rejects(http.query({ controller: "realtime", action: "join", body: {} }), /No URL found/);
});
