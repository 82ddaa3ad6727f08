// JetStream as a user of the JavaScript client has it: consumers of all kinds, key-value, objects.
// Each step checks one promise and prints its name. Called by test_nats_js.py with the port of a server.

const { connect } = require("@nats-io/transport-node");
const { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } = require("@nats-io/jetstream");
const { Kvm } = require("@nats-io/kv");
const { Objm } = require("@nats-io/obj");
const assert = require("node:assert");

const servers = `127.0.0.1:${process.argv[2]}`;
const expires = 10000;

async function filled(connection, name, count) {
  const manager = await jetstreamManager(connection);
  await manager.streams.add({ name, subjects: [`${name}.>`] });
  const js = jetstream(connection);
  for (let number = 0; number < count; number++) await js.publish(`${name}.x`, String(number));
  return { manager, js };
}

async function texts(messages, count, each = () => {}) {
  const found = [];
  for await (const message of messages) {
    await each(message);
    found.push(message.string());
    if (found.length === count) break;
  }
  return found;
}

const numbers = (count) => [...Array(count).keys()].map(String);

const steps = {
  async "fetch, next and acknowledgements"(connection) {
    const { manager, js } = await filled(connection, "JSF", 50);
    await manager.consumers.add("JSF", { durable_name: "d", ack_policy: AckPolicy.Explicit });
    const consumer = await js.consumers.get("JSF", "d");
    const first = await consumer.next({ expires });
    assert.strictEqual(first.info.pending, 49);
    assert.ok(await first.ackAck());
    const rest = await consumer.fetch({ max_messages: 49, expires });
    assert.deepStrictEqual(await texts(rest, 49, (message) => message.ackAck()), numbers(50).slice(1));
    const info = await consumer.info();
    assert.deepStrictEqual([info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq], [0, 0, 50]);
    assert.strictEqual(await consumer.next({ expires: 1000 }), null);
    assert.ok(await consumer.delete());
  },

  async "consume, nak and term"(connection) {
    const { manager, js } = await filled(connection, "JSC", 20);
    await manager.consumers.add("JSC", { durable_name: "d", ack_policy: AckPolicy.Explicit });
    const consumer = await js.consumers.get("JSC", "d");
    const deliveries = new Map();
    const messages = await consumer.consume({ max_messages: 5 });
    await texts(messages, 21, (message) => {
      deliveries.set(message.seq, message.info.deliveryCount);
      if (message.seq === 7 && message.info.deliveryCount === 1) message.nak();
      else if (message.seq === 8) message.term("no");
      else message.ack();
    });
    await messages.close();
    assert.strictEqual(deliveries.get(7), 2);
    assert.strictEqual(deliveries.get(8), 1);
    assert.strictEqual(deliveries.size, 20);
  },

  async "an ordered consumer"(connection) {
    const { js } = await filled(connection, "JSO", 300);
    const consumer = await js.consumers.get("JSO", { deliver_policy: DeliverPolicy.All });
    const messages = await consumer.consume({ max_messages: 50 });
    assert.deepStrictEqual(await texts(messages, 300), numbers(300));
    await messages.close();
  },

  async "a push consumer"(connection) {
    const { manager, js } = await filled(connection, "JSP", 30);
    await manager.consumers.add("JSP", {
      durable_name: "p", ack_policy: AckPolicy.Explicit, deliver_subject: "js.push.here",
    });
    const consumer = await js.consumers.getPushConsumer("JSP", "p");
    const messages = await consumer.consume();
    const found = await texts(messages, 30, async (message) => {
      if (message.seq === 1) assert.strictEqual((await manager.consumers.info("JSP", "p")).push_bound, true);
      await message.ackAck();
    });
    assert.deepStrictEqual(found, numbers(30));
    await messages.close();
  },

  async "one client at a time"(connection) {
    const { manager, js } = await filled(connection, "JSG", 4);
    await manager.consumers.add("JSG", {
      durable_name: "g", ack_policy: AckPolicy.Explicit, priority_policy: "pinned_client",
      priority_groups: ["group"], priority_timeout: 60_000_000_000,
    });
    const consumer = await js.consumers.get("JSG", "g");
    const messages = await consumer.consume({ max_messages: 2, group: "group" });
    const found = [];
    for await (const message of messages) {
      found.push(message.headers.get("Nats-Pin-Id"));
      message.ack();
      if (found.length === 4) break;
    }
    assert.strictEqual(new Set(found).size, 1);
    const info = await manager.consumers.info("JSG", "g");
    assert.strictEqual(info.priority_groups[0].pinned_client_id, found[0]);
    await manager.consumers.unpin("JSG", "g", "group");
    const unpinned = await manager.consumers.info("JSG", "g");
    assert.strictEqual(unpinned.priority_groups[0].pinned_client_id, undefined);
    await messages.close();
  },

  async "pause and resume"(connection) {
    const { manager, js } = await filled(connection, "JSW", 1);
    await manager.consumers.add("JSW", { durable_name: "d", ack_policy: AckPolicy.Explicit });
    const paused = await manager.consumers.pause("JSW", "d", new Date(Date.now() + 60_000));
    assert.strictEqual(paused.paused, true);
    const consumer = await js.consumers.get("JSW", "d");
    assert.strictEqual(await consumer.next({ expires: 1000 }), null);
    assert.strictEqual((await manager.consumers.resume("JSW", "d")).paused, false);
    assert.strictEqual((await consumer.next({ expires })).string(), "0");
  },

  async "key-value"(connection) {
    const bucket = await new Kvm(connection).create("JSKV", { history: 5 });
    const watch = await bucket.watch();
    const revision = await bucket.create("a.b", "1");
    await bucket.update("a.b", "2", revision);
    await assert.rejects(bucket.update("a.b", "3", revision));
    await bucket.put("c", "x");
    await bucket.delete("c");
    assert.strictEqual((await bucket.get("a.b")).string(), "2");
    const seen = [];
    for await (const entry of watch) {
      seen.push(`${entry.key} ${entry.operation}`);
      if (seen.length === 4) break;
    }
    assert.deepStrictEqual(seen, ["a.b PUT", "a.b PUT", "c PUT", "c DEL"]);
    const keys = [];
    for await (const key of await bucket.keys()) keys.push(key);
    assert.deepStrictEqual(keys, ["a.b"]);
    const history = [];
    for await (const entry of await bucket.history({ key: "a.b" })) history.push(entry.string());
    assert.deepStrictEqual(history, ["1", "2"]);
    await bucket.purge("a.b");
    assert.strictEqual((await bucket.get("a.b")).operation, "PURGE");
    await bucket.destroy();
  },

  async "objects"(connection) {
    const store = await new Objm(connection).create("JSOBJ");
    const data = new Uint8Array(500_000).map((_value, index) => (index * 7919) & 255);
    const info = await store.putBlob({ name: "large" }, data);
    assert.ok(info.chunks > 1);
    assert.ok(Buffer.from(data).equals(Buffer.from(await store.getBlob("large"))));
    await store.putBlob({ name: "small" }, new Uint8Array(1));
    assert.deepStrictEqual((await store.list()).map((each) => each.name).sort(), ["large", "small"]);
    await store.delete("small");
    assert.strictEqual(await store.getBlob("small"), null);
    assert.strictEqual((await store.seal()).sealed, true);
    await assert.rejects(store.putBlob({ name: "late" }, new Uint8Array(1)));
    await store.destroy();
  },
};

async function main() {
  for (const [name, step] of Object.entries(steps)) {
    const connection = await connect({ servers });
    await step(connection);
    await connection.close();
    console.log(`ok ${name}`);
  }
  console.log("ok all");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
