"use strict";
// A node dies with words on its lips: those whom they concerned are told, in a message that Kuzzle does not have. The
// SDK hands it to nobody, unless somebody listens, and goes on as if nothing had been said.
//
// The test kills the last node on the word of this scenario.

const { Record, assert, connect, index, nodes, scenario, tell } = require("./session.cjs");

scenario(async () => {
  const listening = await connect(nodes[0]);
  const unaware = await connect(nodes[0]);
  const victim = await connect(nodes.at(-1));
  const author = await connect(nodes[0]);
  const [heard, heardUnaware, told, troubles] = ["heard", "heard unaware", "losses", "troubles"].map(
    (name) => new Record(name),
  );
  listening.protocol.on("shoal:notification:loss", told.push);
  for (const event of ["networkError", "disconnected", "discarded", "queryError", "tokenExpired"]) {
    unaware.on(event, troubles.push);
    listening.on(event, troubles.push);
  }
  const roomId = await listening.realtime.subscribe(index, "alarms", {}, heard.push);
  await unaware.realtime.subscribe(index, "alarms", {}, heardUnaware.push);

  await victim.realtime.publish(index, "alarms", { level: 1 });
  await heard.reach(1);
  tell("published");
  const [loss] = await told.reach(1);
  assert.equal(loss.type, "loss");
  assert.equal(loss.status, 206);
  assert.deepEqual(
    loss.rooms.map((room) => [room.roomId, room.count]),
    [[roomId, null]],
  );

  await author.realtime.publish(index, "alarms", { level: 2 });
  await heardUnaware.reach(2);
  await heard.reach(2);
  assert.deepEqual(
    heardUnaware.items.map(({ type, result }) => [type, result._source.level]),
    [
      ["document", 1],
      ["document", 2],
    ],
  );
  assert.deepEqual(troubles.items, []);
});
