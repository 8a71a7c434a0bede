"use strict";
// 25 of 50 publishes on the first node match a filter on the last: they arrive there in order, whole, and nothing
// else.

const { Record, assert, connect, index, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  const subscriber = await connect(nodes.at(-1));
  const publisher = await connect(nodes[0]);
  const publisherNode = (await publisher.query({ controller: "server", action: "now" })).node;
  const subscriberNode = (await subscriber.query({ controller: "server", action: "now" })).node;
  assert.notEqual(publisherNode, subscriberNode);

  const heard = new Record("notifications");
  const filter = { and: [{ equals: { city: "Lyon" } }, { range: { number: { gte: 0 } } }] };
  const roomId = await subscriber.realtime.subscribe(index, "trips", filter, heard.push);

  const before = Date.now();
  for (let number = 0; number < 50; number++) {
    const trip = {
      number,
      city: number % 2 === 0 ? "Lyon" : "Montpellier",
      stops: [{ name: "Gare du Nord – é" }],
    };
    const options = { _id: `trip-${number}`, volatile: { sentBy: "order" } };
    assert.equal(await publisher.realtime.publish(index, "trips", trip, options), true);
  }
  await publisher.realtime.publish(index, "trips", { number: 1_000, city: "Lyon" });
  await heard.find(({ result }) => result._source.number === 1_000, "the last publish");

  // The last one closes the list: what does not match would have come before it.
  assert.deepEqual(
    heard.items.map(({ result }) => result._source.number),
    [...Array(25).keys()].map((i) => 2 * i).concat(1_000),
  );
  for (const [position, notification] of heard.items.slice(0, 25).entries()) {
    const number = 2 * position;
    const { _kuzzle_info: info, ...source } = notification.result._source;
    assert.deepEqual(source, { number, city: "Lyon", stops: [{ name: "Gare du Nord – é" }] });
    assert.equal(info.author, "-1");
    assert.equal(notification.result._id, `trip-${number}`);
    assert.ok(notification.timestamp >= before - 1_000 && notification.timestamp <= Date.now() + 1_000);
    assert.equal(notification.volatile.sentBy, "order");
    assert.equal(notification.volatile.sdkInstanceId, publisher.protocol.id);
    assert.ok(notification.room.startsWith(`${roomId}-`), "the room is the channel");
    const { type, status, action, event, scope, controller, protocol, node, collection } = notification;
    assert.deepEqual(
      {
        type,
        status,
        action,
        event,
        scope,
        controller,
        protocol,
        node,
        index: notification.index,
        collection,
      },
      {
        type: "document",
        status: 200,
        action: "publish",
        event: "publish",
        scope: "in",
        controller: "realtime",
        protocol: "websocket",
        node: publisherNode,
        index,
        collection: "trips",
      },
    );
  }
  assert.equal(new Set(heard.items.map(({ requestId }) => requestId)).size, 26, "each names its own request");
});
