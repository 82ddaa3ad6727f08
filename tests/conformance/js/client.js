// A program as a user of the JavaScript client would write it: each step checks one promise and prints its
// name. Called by test_nats_js.py with the port of a server.

const { connect, headers, Empty, NoRespondersError, RequestError } = require("@nats-io/transport-node");
const assert = require("node:assert");

const servers = `127.0.0.1:${process.argv[2]}`;

async function take(subscription, count) {
  const messages = [];
  for await (const message of subscription) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

const steps = {
  async "publish and subscribe in order"() {
    const [publisher, subscriber] = [await connect({ servers }), await connect({ servers })];
    const subscription = subscriber.subscribe("js.>", { max: 1000 });
    await subscriber.flush();
    for (let number = 0; number < 1000; number++) publisher.publish(`js.${number % 7}`, String(number));
    await publisher.flush();
    const texts = (await take(subscription, 1000)).map((message) => Number(message.string()));
    assert.deepStrictEqual(texts, [...Array(1000).keys()]);
    await publisher.close();
    await subscriber.close();
  },

  async "server info"() {
    const connection = await connect({ servers });
    assert.strictEqual(connection.info.max_payload, 1024 * 1024);
    assert.strictEqual(connection.info.headers, true);
    assert.ok(connection.info.client_id > 0);
    assert.ok((await connection.rtt()) >= 0);
    await connection.close();
  },

  async "requests"() {
    const connection = await connect({ servers });
    connection.subscribe("js.double", {
      callback: (_error, message) => message.respond(String(2 * Number(message.string()))),
    });
    const numbers = [...Array(100).keys()];
    const requests = numbers.map((number) => connection.request("js.double", String(number)));
    const replies = (await Promise.all(requests)).map((reply) => Number(reply.string()));
    assert.deepStrictEqual(replies, numbers.map((number) => 2 * number));
    await connection.close();
  },

  async "no responders"() {
    const connection = await connect({ servers });
    await assert.rejects(connection.request("js.nobody", Empty, { timeout: 10000 }), (error) => {
      return error instanceof NoRespondersError ||
        (error instanceof RequestError && error.isNoResponders());
    });
    await connection.close();
  },

  async "headers"() {
    const connection = await connect({ servers });
    const subscription = connection.subscribe("js.headers", { max: 1 });
    const sent = headers();
    sent.append("Key", "one");
    sent.append("Key", "two");
    connection.publish("js.headers", "body", { headers: sent });
    const [message] = await take(subscription, 1);
    assert.deepStrictEqual(message.headers.values("Key"), ["one", "two"]);
    assert.strictEqual(message.string(), "body");
    await connection.close();
  },

  async "queue group"() {
    const members = await Promise.all([1, 2, 3].map(() => connect({ servers })));
    const counts = members.map(() => 0);
    members.forEach((member, index) => {
      member.subscribe("js.jobs", { queue: "workers", callback: () => counts[index]++ });
    });
    await Promise.all(members.map((member) => member.flush()));
    for (let number = 0; number < 300; number++) members[0].publish("js.jobs");
    await members[0].flush();
    await Promise.all(members.map((member) => member.drain()));
    assert.strictEqual(counts.reduce((left, right) => left + right), 300);
    assert.ok(counts.every((count) => count > 0), String(counts));
  },

  async "a mebibyte"() {
    const connection = await connect({ servers });
    const payload = new Uint8Array(1024 * 1024).map((_value, index) => (index * 7919) & 255);
    connection.subscribe("js.big", { callback: (_error, message) => message.respond(message.data) });
    const reply = await connection.request("js.big", payload, { timeout: 10000 });
    assert.ok(Buffer.from(payload).equals(Buffer.from(reply.data)));
    assert.throws(() => connection.publish("js.big", new Uint8Array(1024 * 1024 + 1)));
    await connection.close();
  },

  async "drain of a connection"() {
    const [publisher, subscriber] = [await connect({ servers }), await connect({ servers })];
    let count = 0;
    subscriber.subscribe("js.drain", { callback: () => count++ });
    await subscriber.flush();
    for (let number = 0; number < 500; number++) publisher.publish("js.drain", "x");
    await publisher.flush();
    await subscriber.drain();
    assert.strictEqual(count, 500);
    await publisher.close();
  },

  async "no echo"() {
    const connection = await connect({ servers, noEcho: true });
    let count = 0;
    connection.subscribe("js.echo", { callback: () => count++ });
    connection.publish("js.echo", "x");
    await connection.flush();
    await connection.flush();
    assert.strictEqual(count, 0);
    await connection.close();
  },
};

async function main() {
  for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log(`ok ${name}`);
  }
  console.log("ok all");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
