"use strict";
// The first minute with the SDK: connect, the questions it asks by itself, and the server's own actions, on each
// node.

const { assert, connect, nodes, scenario } = require("./session.cjs");

scenario(async () => {
  for (const node of nodes) {
    const kuzzle = await connect(node);

    const now = await kuzzle.server.now();
    assert.ok(Number.isInteger(now) && Math.abs(now - Date.now()) < 60_000, `a time in epoch-ms, not ${now}`);

    assert.equal(await kuzzle.server.adminExists(), false);
    const { kuzzle: about } = (await kuzzle.server.info()).serverInfo;
    assert.equal(typeof about.version, "string");
    assert.ok(about.api.routes["cluster/cluster"].status, "a plugin's actions are among the routes");

    // The SDK asks checkToken at each connect. The anonymous user is allowed to, and learns that it is nobody.
    assert.deepEqual(await kuzzle.auth.checkToken(), { expiresAt: null, kuid: "-1", valid: true });
    assert.equal(await kuzzle.isAuthenticated(), false);
    const user = await kuzzle.auth.getCurrentUser();
    assert.equal(user._id, "-1");
    assert.deepEqual(user.profileIds, ["anonymous"]);

    const answer = await kuzzle.query(
      { controller: "server", action: "healthCheck" },
      { volatile: { tab: 7 } },
    );
    assert.equal(answer.result.status, "green");
    assert.equal(answer.volatile.tab, 7, "volatile data comes back");
    assert.equal(answer.room, answer.requestId, "the SDK finds the answer by its room");
    assert.equal(typeof answer.node, "string");
  }
});
