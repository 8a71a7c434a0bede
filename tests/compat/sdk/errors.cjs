"use strict";
// What the SDK makes of refusals: a KuzzleError with the server's id, code and status, for the request that caused
// it.

const { Record, assert, connect, index, nodes, scenario } = require("./session.cjs");

const realtime = (action, more) => ({ controller: "realtime", action, index, collection: "c", ...more });

const refused = [
  [{ controller: "ghost", action: "now" }, 404, "api.process.controller_not_found"],
  [{ controller: "server", action: "ghost" }, 404, "api.process.action_not_found"],
  [{ controller: "cluster/cluster", action: "ghost" }, 404, "api.process.action_not_found"],
  [{ action: "now" }, 400, "api.assert.missing_argument"],
  [{ controller: "server" }, 400, "api.assert.missing_argument"],
  [realtime("subscribe", { body: {}, scope: "sideways" }), 400, "core.realtime.invalid_scope"],
  [realtime("subscribe", { body: {}, users: "nobody" }), 400, "core.realtime.invalid_users"],
  [realtime("subscribe", { body: { soundsLike: { name: "x" } } }), 400, "api.assert.koncorde_dsl_error"],
  [realtime("subscribe"), 400, "api.assert.body_required"],
  [realtime("publish"), 400, "api.assert.body_required"],
  [
    { controller: "realtime", action: "publish", collection: "c", body: {} },
    400,
    "api.assert.missing_argument",
  ],
  [realtime("join", { body: { roomId: "no such room" } }), 404, "core.realtime.room_not_found"],
  [realtime("unsubscribe", { body: { roomId: "no such room" } }), 412, "core.realtime.not_subscribed"],
  [
    { controller: "server", action: "now", volatile: { sdkName: "js@6.2.0" } },
    400,
    "api.process.incompatible_sdk_version",
  ],
  [{ controller: "server", action: "now", jwt: "nonsense" }, 401, "security.token.invalid"],
];

scenario(async () => {
  const kuzzle = await connect(nodes[0]);
  const events = new Record("queryError");
  kuzzle.on("queryError", events.push);
  for (const [request, status, id] of refused) {
    const error = await kuzzle.query(request).then(
      () => assert.fail(`${JSON.stringify(request)} was not refused`),
      (reason) => reason,
    );
    const what = `${JSON.stringify(request)} answered ${error.status} ${error.id}: ${error.message}`;
    assert.equal(error.constructor.name, "KuzzleError", what);
    assert.equal(error.id, id, what);
    assert.equal(error.status, status, what);
    assert.ok(Number.isInteger(error.code), what);
    assert.ok(error.message.length > 0 && Array.isArray(error.props), what);
  }
  assert.equal(
    events.items.length,
    refused.length,
    "each was an answer to its own request, not a stray frame",
  );

  // Broken frames go past the SDK's query, as a buggy program would send them. Each is answered, and the connection
  // lives on.
  const answers = new Record("answers to broken frames");
  kuzzle.protocol.client.addEventListener("message", ({ data }) => answers.push(JSON.parse(data)));
  const broken = [
    "{nope",
    "[]",
    '"text"',
    "null",
    '{"p":2}',
    '{"requestId":12,"controller":"server","action":"now"}',
  ];
  for (const frame of broken) kuzzle.protocol.client.send(frame);
  await answers.reach(broken.length);
  for (const { status, error } of answers.items)
    assert.ok(status >= 400 && error.status === status && error.message);
  assert.ok((await kuzzle.server.now()) > 0);
});
