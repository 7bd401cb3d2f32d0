// A background hook in JavaScript: tells another service of every run that was completed, with one
// POST for each. At least once: the service gets the event's id as Idempotency-Key, and so knows
// one that it has heard of before.

import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Objm } from "@nats-io/obj";
import { connect, nanos } from "@nats-io/transport-node";

const STREAM = "TEAMBUS_EVENTS";
const BODIES = "teambus_bodies";
const PULL_S = 5;

const settings = {
  servers: needed("NATS_URL").split(","),
  user: process.env.NATS_USER,
  pass: process.env.NATS_PASSWORD,
  url: needed("HOOK_URL"),
  team: needed("HOOK_TEAM"),
  tenant: process.env.TEAMBUS_TENANT ?? "default",
  name: process.env.HOOK_NAME ?? "hook_javascript",
  attemptsMax: number("HOOK_ATTEMPTS_MAX", 10),
  backoffS: number("HOOK_BACKOFF_S", 1),
  backoffMaxS: number("HOOK_BACKOFF_MAX_S", 600),
  timeoutS: number("HOOK_TIMEOUT_S", 60),
  ackWaitS: number("HOOK_ACK_WAIT_S", 30),
};

const stopping = new AbortController();
process.once("SIGTERM", () => stopping.abort());
process.once("SIGINT", () => stopping.abort());

const bus = await connect({
  servers: settings.servers,
  user: settings.user,
  pass: settings.pass,
  name: settings.name,
  inboxPrefix: `_INBOX_${settings.name}`,
  maxReconnectAttempts: -1,
});
const consumer = await ownConsumer();
console.log(`${settings.name} listens to ${settings.team}`);
while (!stopping.signal.aborted) {
  const message = await next();
  if (message !== null) await settle(message);
}
await bus.drain();

// The consumer is durable: what happens while no process of this hook runs is told when one does.
async function ownConsumer() {
  const manager = await jetstreamManager(bus, { checkAPI: false });
  await manager.consumers.add(STREAM, {
    durable_name: settings.name,
    filter_subject: `teambus.v1.event.${settings.tenant}.${settings.team}.*.completed`,
    deliver_policy: DeliverPolicy.New, // when it is made; later it goes on where it was
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(settings.ackWaitS * 1000),
    max_ack_pending: 1000,
    max_deliver: -1, // this program says when to give up
  });
  return await jetstream(bus, { checkAPI: false }).consumers.get(STREAM, settings.name);
}

// Asks for one event when there is a hand for it, so none waits here while its time runs.
async function next() {
  try {
    return await consumer.next({ expires: PULL_S * 1000 });
  } catch (error) {
    if (bus.isClosed()) throw error;
    console.error(`cannot ask for the next event: ${error.message}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return null;
  }
}

// Acknowledged only once the service has taken it. A process that dies before comes back to it.
async function settle(message) {
  const holding = setInterval(() => message.working(), (settings.ackWaitS * 1000) / 3);
  try {
    const event = JSON.parse(await body(message));
    if (event.output.status === "COMPLETED") await tell(event, message.info.deliveryCount);
    await message.ackAck();
  } catch (error) {
    retryOrGiveUp(message, error);
  } finally {
    clearInterval(holding);
  }
}

async function tell(event, attempt) {
  const answer = await fetch(settings.url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "Idempotency-Key": event.event_id,
      "Teambus-Attempt": String(attempt),
    },
    body: JSON.stringify(event),
    signal: AbortSignal.timeout(settings.timeoutS * 1000),
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`${settings.url} answers ${answer.status}`);
}

function retryOrGiveUp(message, error) {
  const attempt = message.info.deliveryCount;
  const where = `${message.subject}, attempt ${attempt}`;
  if (attempt >= settings.attemptsMax) {
    console.error(`${where}: ${error.message}; given up`);
    message.term(error.message);
    return;
  }
  const waitS = Math.min(settings.backoffS * 2 ** (attempt - 1), settings.backoffMaxS);
  console.error(`${where}: ${error.message}; again in ${waitS} s`);
  message.nak(waitS * 1000);
}

// A body too large for a message is in the object store.
async function body(message) {
  const name = message.headers?.get("Teambus-Body");
  if (!name) return message.string();
  const store = await new Objm(jetstream(bus, { checkAPI: false })).open(BODIES);
  const found = await inTime(store.getBlob(name), `the body ${name} was not read in time`);
  if (found === null) throw new Error(`the body ${name} is no longer stored`);
  return new TextDecoder().decode(found);
}

async function inTime(promise, otherwise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), settings.timeoutS * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function needed(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(2);
}

function number(name, otherwise) {
  const value = Number(process.env[name] ?? otherwise);
  if (value > 0) return value;
  console.error(`${name}=${process.env[name]} is not a number above 0`);
  process.exit(2);
}
