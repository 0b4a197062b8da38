// `remora ca rotate`: reads the mesh, judges the step, writes it where the CA is kept. The replicas see it there; nothing is asked of a running process, so that
// whoever may change the folder or the Secret may rotate, and nobody else.
import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { AuthorityData } from "../../certs/authority-data.ts";
import { makeOfflineRoot } from "../../certs/ceremony.ts";
import { ROOT_TTL_MS } from "../../certs/profile.ts";
import {
  ACTION_FROM,
  expectStep,
  addRoot,
  cancelAdded,
  crossSign,
  goBack,
  issueFromNext,
  type NextRoot,
  type RotationAction,
  removeOld,
} from "../../certs/rotation.ts";
import { findObstacles, type Obstacle } from "../../certs/rotation-guard.ts";
import { ConfigError } from "../../core/errors.ts";
import { toPem } from "../../core/x509/pem.ts";
import type { RotateFlags } from "../ca-command.ts";
import { readFolder } from "./folder.ts";
import { type CaMesh, connectCa, type MeshReading } from "./mesh.ts";
import { formatStatus } from "./status.ts";

const EXIT_NOT_SAFE = 3;
const LOOK_AGAIN_MS = 1000;

/** What each action does, for people. */
const DOES: Readonly<Record<RotationAction, string>> = {
  add: "a new root is made and everybody is told to trust it; the old one goes on signing. Nothing is renewed",
  issue:
    "the new root signs from here on; every sidecar renews within a tenth of a certificate's life, 5 minutes at most. Both roots are trusted",
  remove: "the old root is trusted no more, connections that hang on it are ended, its key is forgotten",
  back: "the old root signs again, every sidecar renews; both roots are trusted",
  cancel: "the new root is trusted no more, its key is forgotten",
};
const STEPS: readonly RotationAction[] = ["add", "issue", "remove"];

/** Takes one step, or tells the plan. */
export async function rotate(action: RotationAction | null, flags: RotateFlags): Promise<number> {
  const mesh = await connectCa(flags);
  if (flags.plan === true) return showPlan(await mesh.read(), flags);
  if (action === null) throw new ConfigError("invalid_value", "say which step to take (add, issue, remove, back, cancel), or --plan");
  if (flags.from !== undefined && action !== "add") throw new ConfigError("invalid_value", "--from goes with add");
  const reading = await readUntilSafe(mesh, action, flags);
  const { stored } = reading;
  if (stored === null) throw new ConfigError("invalid_value", keptElsewhere(reading));
  expectStep(action, stored.state.step, mesh.store.place);
  const obstacles = findObstacles(action, reading);
  if (obstacles.length > 0 && flags.cutOffWorkloads !== true) return refuse(action, obstacles, flags);
  const context = { place: mesh.store.place, trustDomain: reading.trustDomain, nowMs: Date.now() };
  const data = await takeStep(action, stored.kept.data, context, reading, flags);
  await mesh.store.replace(data, stored.kept.version);
  return tell(action, await mesh.read(), obstacles, flags);
}

/** Looks again until the step is safe or the time to wait is over; a step that does not follow is told at once. */
async function readUntilSafe(mesh: CaMesh, action: RotationAction, { wait, cutOffWorkloads }: RotateFlags): Promise<MeshReading> {
  const untilMonoMs = performance.now() + wait;
  for (;;) {
    const reading = await mesh.read();
    const isNext = reading.kept.step === ACTION_FROM[action];
    if (!isNext || cutOffWorkloads === true || performance.now() >= untilMonoMs || findObstacles(action, reading).length === 0)
      return reading;
    await pause(LOOK_AGAIN_MS);
  }
}

async function takeStep(
  action: RotationAction,
  data: AuthorityData,
  context: { readonly place: string; readonly trustDomain: string; readonly nowMs: number },
  reading: MeshReading,
  flags: RotateFlags,
): Promise<AuthorityData> {
  switch (action) {
    case "add":
      return addRoot(data, flags.from === undefined ? makeNext(reading) : await readFolder(flags.from), context);
    case "issue":
      return issueFromNext(data, context);
    case "remove":
      return removeOld(data, context);
    case "back":
      return goBack(data, context);
    case "cancel":
      return cancelAdded(data, context);
  }
}

/** A new root, signed by the old one too where that is here to sign. */
function makeNext({ stored, trustDomain, nowMs }: MeshReading): NextRoot {
  if (stored === null) throw new ConfigError("invalid_value", "there is no root to follow");
  const { signer } = stored.state;
  if (signer.issuers.length > 0)
    throw new ConfigError(
      "invalid_value",
      "the CA here is an issuer, whose root is elsewhere: make the next one there (remora ca init --old-root) and give it with --from",
    );
  const made = makeOfflineRoot({ trustDomain, nowMs, ttlMs: ROOT_TTL_MS, random: randomBytes });
  const cross = crossSign(made.certificate, signer, { nowMs, random: randomBytes });
  return { ...made, rootPem: made.certificatePem, crossPem: cross === null ? null : toPem(cross, "CERTIFICATE") };
}

function showPlan(reading: MeshReading, flags: RotateFlags): number {
  const next = STEPS.find((action) => ACTION_FROM[action] === reading.kept.step) ?? "add";
  const obstacles = reading.stored === null ? [] : findObstacles(next, reading);
  const { kept } = reading;
  if (flags.output === "json") {
    process.stdout.write(
      `${JSON.stringify({ step: kept.step, next, does: DOES, obstacles, keptElsewhere: reading.stored === null }, null, 2)}\n`,
    );
    return 0;
  }
  const steps = STEPS.map(
    (action, at) => `${action === next ? "->" : "  "} ${at + 1}. remora ca rotate ${action.padEnd(6)}  ${DOES[action]}`,
  );
  const verdict =
    obstacles.length === 0
      ? [`"${next}" can be taken now`]
      : [`"${next}" would be refused now:`, ...obstacles.map(({ message }) => `  - ${message}`)];
  process.stdout.write(
    `${[formatStatus(reading), "", ...steps, "", ...(reading.stored === null ? [keptElsewhere(reading)] : verdict)].join("\n")}\n`,
  );
  return 0;
}

/** A CA of files that others write is rotated by writing them. */
function keptElsewhere({ kept }: MeshReading): string {
  return (
    `the CA is given by files (${kept.place}) and rotated by changing them, which running control planes see within seconds: ` +
    "1. both roots in REMORA_CA_ROOT_FILE; 2. the new certificate and key in REMORA_CA_CERT_FILE and REMORA_CA_KEY_FILE; 3. the new root alone. " +
    "remora ca status shows when every workload has followed"
  );
}

function refuse(action: RotationAction, obstacles: readonly Obstacle[], flags: RotateFlags): number {
  if (flags.output === "json") process.stdout.write(`${JSON.stringify({ done: false, action, obstacles }, null, 2)}\n`);
  else {
    const lines = obstacles.map(({ message }) => `  - ${message}`);
    process.stderr.write(
      `remora ca rotate: "${action}" is not safe yet, nothing was done:\n${lines.join("\n")}\n--wait DURATION waits for it\n`,
    );
  }
  return EXIT_NOT_SAFE;
}

function tell(action: RotationAction, reading: MeshReading, overridden: readonly Obstacle[], flags: RotateFlags): number {
  for (const { message } of overridden) process.stderr.write(`remora ca rotate: done ALTHOUGH ${message}\n`);
  if (flags.output === "json")
    process.stdout.write(
      `${JSON.stringify({ done: true, action, step: reading.kept.step, overridden, roots: reading.kept.roots }, null, 2)}\n`,
    );
  else process.stdout.write(`${action}: ${DOES[action]}\n\n${formatStatus(reading)}\n`);
  return 0;
}
