"use strict";
// The node of a subscriber stops and comes back: the SDK connects again by itself and replays the subscription,
// because the node did not close with 1000. Meanwhile the publisher, on another node, notices nothing.
//
// The test stops and starts the first node on the word of this scenario, and gives as SHOAL_CLOSE_CODES the codes
// that the SDK may see: 1012 for a node that leaves, 1006 for one that is killed.

const {
  Record,
  assert,
  connect,
  cue,
  index,
  nodes,
  resubscribed,
  scenario,
  tell,
  until,
} = require("./session.cjs");

scenario(async () => {
  const subscriber = await connect(nodes[0], { reconnectionDelay: 50 });
  const publisher = await connect(nodes.at(-1));
  const [heard, losses, returns, otherLosses] = ["heard", "lost", "reconnected", "publisher lost"].map(
    (name) => new Record(name),
  );
  subscriber.on("networkError", losses.push);
  subscriber.on("reconnected", () => returns.push(true));
  publisher.on("networkError", otherLosses.push);

  const roomId = await subscriber.realtime.subscribe(index, "alarms", { exists: "level" }, heard.push);
  await publisher.realtime.publish(index, "alarms", { level: 1 });
  await heard.reach(1);

  tell("subscribed");
  const [loss] = await losses.reach(1);
  const code = Number(/ws status=(\d+)/.exec(loss.message)[1]);
  assert.ok(JSON.parse(process.env.SHOAL_CLOSE_CODES).includes(code), `closed with ${code}`);
  await until(
    () => publisher.realtime.count(roomId),
    (count) => count === 0,
    "the lost subscriber is out of the count",
  );

  tell("lost", { code });
  await cue("node is back");
  await returns.reach(1);
  await resubscribed(subscriber, heard.items[0]);
  assert.equal(await publisher.realtime.count(roomId), 1);
  await publisher.realtime.publish(index, "alarms", { level: 2 });
  await heard.reach(2);
  assert.deepEqual(
    heard.items.map(({ result }) => result._source.level),
    [1, 2],
  );
  assert.deepEqual(otherLosses.items, []);
});
