// A client with a NATS library and nothing else: what the documentation says, done by hand.
// Prints one JSON object, the same as direct.py.

import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";

const TEAM = "content-team";
const EVENTS = "TEAMBUS_EVENTS";
const WAIT_S = 30;

const [runId, startedRunId] = process.argv.slice(2);
const bus = await connect({ servers: process.env.NATS_URL });
const said = { ...(await published(runId)), ...(await started(startedRunId)) };
await bus.close();
console.log(JSON.stringify(said));

// A request put into the queue twice; its end heard, then looked up in both ways.
async function published(run_id) {
  const heard = bus.subscribe(`teambus.v1.live.default.${run_id}.completed`, { max: 1, timeout: WAIT_S * 1000 });
  const request = { kind: "run.request.v1", run_id, input: "ask directly" };
  const first = await publish(request);
  const again = await publish(request);
  const { value: live } = await heard[Symbol.asyncIterator]().next();
  const query = { last_by_subj: `teambus.v1.event.default.${TEAM}.${run_id}.completed` };
  const manager = await jetstreamManager(bus);
  const direct = await manager.direct.getMessage(EVENTS, query);
  const stored = await manager.streams.getMessage(EVENTS, query);
  return {
    first: { stream: first.stream, seq: first.seq, duplicate: first.duplicate },
    again: { stream: again.stream, seq: again.seq, duplicate: again.duplicate },
    live_subject: live.subject,
    live_headers: Object.fromEntries(live.headers.keys().map((name) => [name, live.headers.get(name)])),
    live: live.json(),
    direct: direct.json(),
    stored: stored.json(),
  };
}

async function publish(request) {
  const named = headers();
  named.set("Nats-Msg-Id", `default:${TEAM}:${request.run_id}`);
  named.set("Teambus-Run-Id", request.run_id);
  return await jetstream(bus).publish(
    `teambus.v1.request.default.${TEAM}.std`,
    JSON.stringify(request),
    { headers: named },
  );
}

// A run started by a question, twice; its end asked for; and a question that is refused.
async function started(run_id) {
  const wanted = { team_id: TEAM, run_id, input: "ask the gateway" };
  return {
    start: await ask("run.start", wanted),
    start_again: await ask("run.start", wanted),
    wait: await ask("run.wait", { team_id: TEAM, run_id, timeout_s: WAIT_S }),
    unknown: await ask("run.start", { team_id: "nobody", input: "anybody there?" }),
  };
}

async function ask(verb, question) {
  const reply = await bus.request(`teambus.v1.api.default.${verb}`, JSON.stringify(question), {
    timeout: (WAIT_S + 5) * 1000,
  });
  return { error_code: reply.headers?.get("Nats-Service-Error-Code") || null, body: reply.json() };
}
