// What the demo shows, one step after the other. A step resolves with what was seen and how to try it, or rejects with what did not hold.
import { setTimeout as sleep } from "node:timers/promises";
import { DoesNotHold, hold, until } from "./claims.ts";
import { httpCall, meshCall } from "./http-call.ts";
import { instances, instancesOf } from "./instances.ts";
import { startLoad } from "./load.ts";
import { paymentsSeen } from "./payments-seen.ts";
import { startTamperer } from "./tamperer.ts";
import type { DemoWorkload, World } from "./world.ts";

const LEAVES_WITHIN_MS = 8_000;
const RENEWS_WITHIN_MS = 30_000;
const UNAUTHENTICATED = 16;
const QUOTES = 40;

/** What a step that holds has to show. */
export interface Shown {
  readonly seen: readonly string[];
  /** Shell commands for the reader. */
  readonly tries: readonly string[];
}

/** One step. */
export interface Step {
  readonly title: string;
  run(world: World): Promise<Shown>;
}

/** In order; later ones build on earlier ones. */
export const STEPS: readonly Step[] = [
  { title: "Every workload has an identity of its own", run: identities },
  { title: "A call through both hops: web → HTTP → orders → gRPC → payments, each under mutual TLS", run: bothHops },
  { title: "Plaintext is refused", run: plaintextRefused },
  { title: "A rate limit answers 429 and says when to come back", run: rateLimited },
  { title: "A request that was changed after it was signed is refused", run: tamperedRefused },
  { title: "A killed instance leaves the registry, and calls go to the other one", run: killedInstance },
  { title: "Certificates are renewed under load without one failed request", run: renewedUnderLoad },
];

async function identities(world: World): Promise<Shown> {
  const instances = await instancesOf(world, 4);
  const seen = instances
    .map(({ services, identity, certExpiresAtMs }) => {
      const seconds = Math.round((certExpiresAtMs - Date.now()) / 1000);
      return `${services.join().padEnd(9)} ${identity}  (certificate ends in ${seconds} s)`;
    })
    .sort();
  for (const { services, identity } of instances) {
    hold(identity.endsWith(`/ns/default/sa/${services[0]}`), `the instance of ${services[0]} has the identity ${identity}`);
  }
  return {
    seen,
    tries: [
      `curl -s http://127.0.0.1:${world.controlAdminPort}/api/v1/instances`,
      `curl -s http://127.0.0.1:${world.web.workload.adminPort}/api/v1/info`,
    ],
  };
}

async function bothHops(world: World): Promise<Shown> {
  const answer = await httpCall({ port: world.web.appPort, path: "/checkout?item=book" });
  hold(answer.status === 200, `web answers ${answer.status}: ${answer.body.slice(0, 300)}`);
  const { called } = JSON.parse(answer.body) as { called: { caller: string; called: { caller: string; receipt: string } } };
  hold(called.caller === identityOf("web"), `orders was told that ${called.caller} is calling`);
  hold(called.called.caller === identityOf("orders"), `payments was told that ${called.called.caller} is calling`);
  return {
    seen: [`orders was called by   ${called.caller}`, `payments was called by ${called.called.caller}`],
    tries: [`curl -s 'http://127.0.0.1:${world.web.appPort}/checkout?item=book'`],
  };
}

async function plaintextRefused(world: World): Promise<Shown> {
  const { inboundPort } = world.orders[0].workload;
  let how: string;
  try {
    const { status, headers } = await httpCall({ port: inboundPort, path: "/quote", headers: { host: "orders" } });
    hold(status >= 400, `orders' sidecar answers a plaintext request with ${status}`);
    how = `answered ${status}, and the connection is ${headers.connection ?? "kept"}`;
  } catch (error) {
    if (error instanceof DoesNotHold) throw error;
    how = `cut off (${(error as Error).message})`;
  }
  return {
    seen: [`a request without mutual TLS to orders' sidecar (mode strict): ${how}`],
    tries: [`curl -i http://127.0.0.1:${inboundPort}/quote`],
  };
}

async function rateLimited(world: World): Promise<Shown> {
  const { outboundPort } = world.web.workload;
  const answers = [];
  for (let n = 0; n < QUOTES; n += 1) answers.push(await meshCall(outboundPort, "orders", "/quote"));
  const served = answers.filter(({ status }) => status === 200).length;
  const refused = answers.filter(({ status }) => status === 429);
  const last = refused.at(-1);
  hold(served > 0 && last !== undefined, `${QUOTES} calls: ${[...new Set(answers.map(({ status }) => status))].join(", ")}`);
  const retryAfter = last?.headers["retry-after"];
  const rateLimit = last?.headers["ratelimit"];
  hold(retryAfter !== undefined && rateLimit !== undefined, `429 came without retry-after or RateLimit: ${JSON.stringify(last?.headers)}`);
  return {
    seen: [
      `${QUOTES} calls at once: ${served} served, ${refused.length} refused with 429`,
      `retry-after: ${retryAfter}   RateLimit: ${rateLimit}   RateLimit-Policy: ${last?.headers["ratelimit-policy"]}`,
    ],
    tries: [`for i in $(seq 20); do curl -s -o /dev/null -w '%{http_code} ' -x http://127.0.0.1:${outboundPort} http://orders/quote; done`],
  };
}

async function tamperedRefused(world: World): Promise<Shown> {
  const { payments } = world;
  const before = await paymentsSeen(payments.appPort);
  const tamperer = await startTamperer({ controlAddress: world.controlAddress, token: world.token, target: payments.workload });
  try {
    const untouched = await tamperer.charge("nothing");
    hold(untouched.grpcStatus === 0, `an untouched signed request is answered ${untouched.grpcStatus} ${untouched.reason}`);
    const seen = [`${tamperer.identity} signs a charge of 1999 cents: served`];
    for (const change of ["body", "path", "signature removed"] as const) {
      const { grpcStatus, reason } = await tamperer.charge(change);
      hold(grpcStatus === UNAUTHENTICATED, `with ${change} changed it is answered ${grpcStatus} ${reason}, not UNAUTHENTICATED`);
      seen.push(`${change === "signature removed" ? change : `${change} changed`.padEnd(17)}: UNAUTHENTICATED (${reason})`);
    }
    const after = await paymentsSeen(payments.appPort);
    hold(after === before + 1, `payments saw ${after - before} charges, not only the untouched one`);
    return {
      seen: [...seen, `the payments program saw only the first; its sidecar counts why: ${await signatureRefusals(payments)}`],
      tries: [`curl -s http://127.0.0.1:${payments.workload.adminPort}/metrics | grep remora_refused_total`],
    };
  } finally {
    await tamperer.close();
  }
}

/** `reason count` of refused signatures; peers are told no more than UNAUTHENTICATED. */
async function signatureRefusals({ workload }: DemoWorkload): Promise<string> {
  const { body } = await httpCall({ port: workload.adminPort, path: "/metrics" });
  const found = [...body.matchAll(/^remora_refused_total\{.*reason="(signature_\w+)".*\} (\d+)$/gm)];
  return found
    .filter(([, , count]) => count !== "0")
    .map(([, reason, count]) => `${reason} ${count}`)
    .join(", ");
}

async function killedInstance(world: World): Promise<Shown> {
  const [victim, survivor] = world.orders;
  await instancesOf(world, 2, "orders");
  const killedAtMs = performance.now();
  victim.kill();
  const load = startLoad(world.web);
  let tookMs = 0;
  try {
    await until(`${victim.name} left the registry`, LEAVES_WITHIN_MS, async () => {
      const left = (await instances(world)).every(({ instanceId }) => instanceId !== victim.workload.instanceId);
      tookMs = performance.now() - killedAtMs;
      return left;
    });
  } finally {
    await load.stop();
  }
  const { answered, failures } = load;
  const [remaining] = (await instances(world)).filter(({ services }) => services.includes("orders"));
  hold(remaining?.instanceId === survivor.workload.instanceId, "the registry does not list the other instance of orders");
  const after = await httpCall({ port: world.web.appPort, path: "/checkout" });
  hold(after.status === 200, `afterwards a call is answered ${after.status}: ${after.body.slice(0, 200)}`);
  return {
    seen: [
      `kill -9 of ${victim.name} and its sidecar: gone from the registry after ${(tookMs / 1000).toFixed(1)} s (lease 2 s here, 15 s by default)`,
      `calls meanwhile: ${answered} answered, ${failures.length} failed`,
    ],
    tries: [`curl -s http://127.0.0.1:${world.controlAdminPort}/api/v1/services`],
  };
}

async function renewedUnderLoad(world: World): Promise<Shown> {
  const before = new Map((await instances(world)).map(({ instanceId, certExpiresAtMs }) => [instanceId, certExpiresAtMs]));
  const load = startLoad(world.web);
  try {
    await until("every certificate was renewed", RENEWS_WITHIN_MS, async () => {
      const now = await instances(world);
      return now.every(({ instanceId, certExpiresAtMs }) => certExpiresAtMs > (before.get(instanceId) ?? Number.POSITIVE_INFINITY));
    });
    await sleep(1_000); // on the new ones
  } finally {
    await load.stop();
  }
  const { answered, failures } = load;
  hold(
    failures.length === 0,
    `${failures.length} of ${answered + failures.length} requests failed: ${[...new Set(failures)].slice(0, 3).join("; ")}`,
  );
  hold(answered > 100, `only ${answered} requests were made`);
  return {
    seen: [
      `${before.size} workloads renewed (their certificates live 24 s here, 24 h by default) while ${answered} requests went through both hops: 0 failed`,
    ],
    tries: [`curl -s http://127.0.0.1:${world.web.workload.adminPort}/metrics | grep remora_cert_expires_seconds`],
  };
}

function identityOf(service: string): string {
  return `spiffe://cluster.local/ns/default/sa/${service}`;
}
