"use strict";
// The cluster plugin's actions through the SDK, on every node: all agree on who is there.

const { Record, assert, connect, index, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const clients = await Promise.all(nodes.map((node) => connect(node)));
  const cluster = (client, action) =>
    client.query({ controller: "cluster/cluster", action }).then((answer) => {
      assert.equal(answer.status, 200);
      assert.equal(answer.error, null);
      assert.deepEqual([answer.controller, answer.action], ["cluster/cluster", action]);
      return answer.result;
    });

  const members = [];
  for (const client of clients) {
    assert.equal(await cluster(client, "health"), "ok");
    const { count, current, pool } = await cluster(client, "status");
    assert.equal(count, nodes.length);
    assert.equal(pool.length, nodes.length - 1);
    for (const node of [current, ...pool]) {
      assert.match(node.pub, /^(tcp|ipc):\/\//);
      assert.match(node.router, /^(tcp|ipc):\/\//);
      assert.equal(node.ready, true);
    }
    members.push([current, ...pool].map(({ id, pub, router }) => `${id} ${pub} ${router}`).sort());
  }
  for (const seen of members)
    assert.deepEqual(seen, members[0], "the same nodes at the same addresses, seen from each");

  // A reset makes the nodes agree anew; attached clients keep their subscriptions.
  const heard = new Record("notifications");
  await clients[0].realtime.subscribe(index, "beacons", {}, heard.push);
  assert.equal(await cluster(clients.at(-1), "reset"), "ok");
  await clients.at(-1).realtime.publish(index, "beacons", { lit: true });
  await heard.reach(1);
  for (const client of clients) assert.equal((await cluster(client, "status")).count, nodes.length);
});
