"use strict";
// count, list, join and unsubscribe, seen from every node.

const { Record, assert, connect, index, nodes, scenario, until } = require("./session.cjs");

scenario(async () => {
  const clients = await Promise.all(nodes.map((node) => connect(node)));
  const [first, second] = clients;
  const last = clients.at(-1);
  const realtime = (client, action, body) => client.query({ controller: "realtime", action, body });
  const countEverywhere = (roomId, expected) =>
    until(
      () => Promise.all(clients.map((client) => client.realtime.count(roomId))),
      (counts) => counts.every((count) => count === expected),
      `a count of ${expected} on every node`,
    );

  const heardByFirst = new Record("first");
  const roomId = await first.realtime.subscribe(
    index,
    "rooms",
    { in: { colour: ["red", "green"] } },
    heardByFirst.push,
  );
  await countEverywhere(roomId, 1);

  // join takes the room's id alone, on a node that never saw the filter. The SDK has no method for it.
  const { result: joined } = await realtime(second, "join", { roomId });
  assert.equal(joined.roomId, roomId);
  const heardBySecond = new Record("second");
  second.protocol.on(joined.channel, heardBySecond.push);
  await countEverywhere(roomId, 2);
  for (const client of clients) {
    const { result } = await realtime(client, "list");
    assert.deepEqual(result[index], { rooms: { [roomId]: 2 } });
  }

  await last.realtime.publish(index, "rooms", { colour: "blue" });
  await last.realtime.publish(index, "rooms", { colour: "green" });
  await Promise.all([heardByFirst.reach(1), heardBySecond.reach(1)]);
  assert.equal(heardBySecond.items[0].room, joined.channel);
  assert.equal(heardBySecond.items[0].result._source.colour, "green");

  await first.realtime.unsubscribe(roomId);
  await countEverywhere(roomId, 1);
  await last.realtime.publish(index, "rooms", { colour: "red" });
  await heardBySecond.reach(2);
  // The reply to a request of `first` comes after whatever was sent to it before.
  await first.server.now();
  assert.equal(heardByFirst.items.length, 1, "nothing after unsubscribe");

  await realtime(second, "unsubscribe", { roomId });
  await until(
    () => Promise.all(clients.map((client) => realtime(client, "list").then(({ result }) => result[index]))),
    (lists) => lists.every((list) => list === undefined),
    "a list without the room on every node",
  );
});
