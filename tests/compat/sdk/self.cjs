"use strict";
// subscribeToSelf: the SDK knows its own publishes by the volatile data of the request, which must come back
// untouched.

const { Record, assert, connect, index, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const [alice, bob] = await Promise.all([connect(nodes[0]), connect(nodes.at(-1))]);
  const others = new Record("not from myself");
  const everything = new Record("from anybody");
  await alice.realtime.subscribe(index, "notes", {}, others.push, { subscribeToSelf: false });
  await alice.realtime.subscribe(index, "notes", {}, everything.push);

  await alice.realtime.publish(index, "notes", { from: "alice" });
  await bob.realtime.publish(index, "notes", { from: "bob" });

  await everything.reach(2);
  assert.deepEqual(
    everything.items.map(({ result }) => result._source.from),
    ["alice", "bob"],
  );
  assert.deepEqual(
    others.items.map(({ result }) => result._source.from),
    ["bob"],
  );
});
