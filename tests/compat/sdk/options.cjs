"use strict";
// scope, users and volatile of a subscription, with the two clients on different nodes.

const { Record, assert, connect, index, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const [alice, bob] = await Promise.all([connect(nodes[0]), connect(nodes.at(-1))]);
  const filter = { exists: "text" };
  const all = new Record("scope all");
  const out = new Record("scope out");
  const none = new Record("scope none, users all");
  const onlyIn = new Record("users in");
  const onlyOut = new Record("users out");

  // One room, five channels: the first subscribe counts, the others only add a channel.
  const rooms = [
    await alice.realtime.subscribe(index, "chat", filter, none.push, {
      scope: "none",
      users: "all",
      volatile: { who: "alice" },
    }),
    await alice.realtime.subscribe(index, "chat", filter, all.push),
    await alice.realtime.subscribe(index, "chat", filter, out.push, { scope: "out" }),
    await alice.realtime.subscribe(index, "chat", filter, onlyIn.push, { scope: "none", users: "in" }),
    await alice.realtime.subscribe(index, "chat", filter, onlyOut.push, { scope: "none", users: "out" }),
  ];
  assert.equal(new Set(rooms).size, 1, "the same filter is the same room, whatever the options");
  assert.equal(await alice.realtime.count(rooms[0]), 1);

  const heardByBob = new Record("bob");
  const bobsRoom = await bob.realtime.subscribe(index, "chat", filter, heardByBob.push, {
    volatile: { who: "bob" },
  });
  assert.equal(bobsRoom, rooms[0], "and on another node, too");
  await bob.realtime.publish(index, "chat", { text: "hello" });
  await bob.realtime.unsubscribe(bobsRoom);
  await onlyOut.reach(1);
  await none.reach(2);

  const [came, left] = none.items;
  assert.equal(none.items.length, 2, "no document for scope none");
  assert.deepEqual(
    [came.type, came.user, came.action, came.volatile.who],
    ["user", "in", "subscribe", "bob"],
  );
  assert.deepEqual(
    [left.type, left.user, left.action, left.volatile.who],
    ["user", "out", "unsubscribe", "bob"],
  );
  assert.deepEqual([came.result.count, left.result.count], [2, 1], "counted over the whole cluster");
  assert.deepEqual(
    onlyIn.items.map(({ user }) => user),
    ["in"],
  );
  assert.deepEqual(
    onlyOut.items.map(({ user }) => user),
    ["out"],
  );

  assert.deepEqual(
    all.items.map(({ result, type }) => [type, result._source.text]),
    [["document", "hello"]],
  );
  assert.deepEqual(out.items, [], "a publish enters the scope, it never leaves it");
  assert.equal(heardByBob.items[0].result._source.text, "hello");
  const channels = new Set([all, none, onlyIn, onlyOut].map(({ items }) => items[0].room));
  assert.equal(channels.size, 4, "each set of options has its channel");

  // A client that goes away without a word has left all the same.
  await bob.realtime.subscribe(index, "chat", filter, heardByBob.push, { volatile: { who: "bob again" } });
  await none.reach(3);
  bob.disconnect();
  const [, , , gone] = await none.reach(4);
  assert.deepEqual([gone.user, gone.volatile.who, gone.result.count], ["out", "bob again", 1]);
});
