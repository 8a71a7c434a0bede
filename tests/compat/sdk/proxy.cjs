"use strict";
// Through a load balancer: the node that a subscriber is on dies, and the SDK comes back by itself, to another node
// behind the same address, with its subscription. The only "node" this scenario is given is the balancer.

const {
  Record,
  assert,
  connect,
  index,
  nodes,
  resubscribed,
  scenario,
  tell,
  until,
} = require("./session.cjs");

const nodeOf = async (kuzzle) => (await kuzzle.query({ controller: "server", action: "now" })).node;

scenario(async () => {
  const [balancer] = nodes;
  const subscriber = await connect(balancer, { reconnectionDelay: 20 });
  const home = await nodeOf(subscriber);
  const publisher = await connect(balancer);
  assert.notEqual(await nodeOf(publisher), home, "the balancer spreads its clients");

  const [heard, losses, returns] = ["heard", "lost", "reconnected"].map((name) => new Record(name));
  subscriber.on("networkError", losses.push);
  subscriber.on("reconnected", () => returns.push(true));
  publisher.on("networkError", () => assert.fail("the other node's clients notice nothing"));
  const roomId = await subscriber.realtime.subscribe(index, "alarms", {}, heard.push);
  await publisher.realtime.publish(index, "alarms", { level: 1 });
  await heard.reach(1);

  tell("attached", { node: home });
  await losses.reach(1);
  await returns.reach(1);
  assert.notEqual(await nodeOf(subscriber), home);
  await resubscribed(subscriber, heard.items[0]);
  await publisher.realtime.publish(index, "alarms", { level: 2 });
  await heard.reach(2);
  await until(
    () => publisher.realtime.count(roomId),
    (count) => count === 1,
    "the subscriber of the dead node is out of the count",
  );
  assert.deepEqual(
    heard.items.map(({ result }) => result._source.level),
    [1, 2],
  );
});
