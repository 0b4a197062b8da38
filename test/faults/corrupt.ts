// What a part keeps on disk is garbage, found when it is read the next time: at a restart, or when it changed.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Fault, NOTHING_FAILS, type Scene } from "./fault.ts";
import { everyInstanceKnown, isHealthy } from "./health.ts";

const kind = "corrupted file";
/** In one call: this process also carries what the registry and Redis say to each other. */
const CORRUPT_HASHES = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    for _, field in ipairs(redis.call('HKEYS', key)) do redis.call('HSET', key, field, 'garbage') end
  end
end
return redis.call('DBSIZE')`;

/** As after a power cut: half of it is there, the rest is zeros. */
function corrupt(scene: Scene, file: string): () => void {
  const good = readFileSync(file);
  const bad = Buffer.alloc(good.length);
  good.copy(bad, 0, 0, Math.floor(good.length / 2));
  writeFileSync(file, bad);
  const restore = () => writeFileSync(file, good);
  scene.undo(restore);
  return restore;
}

export const CORRUPTIONS: readonly Fault[] = [
  {
    kind,
    target: "sidecar",
    what: "the caller's destinations, then a restart",
    promise: "a warning; it asks the registry and fails nothing once it is ready",
    bound: { failed: "any", recoverMs: 250 },
    isShort: true,
    async play(scene) {
      const { folders, parts } = scene.world;
      scene.begin();
      await parts.caller.kill();
      const restore = corrupt(scene, join(folders.caller, "destinations.json"));
      await parts.caller.start();
      scene.over();
      scene.check("it warns", parts.caller.log.includes("ignoring the saved destinations"));
      await scene.hold(1_500);
      const repaired = readFileSync(join(folders.caller, "destinations.json"), "utf8");
      restore();
      scene.check("the file is whole again", JSON.parse(repaired) !== null);
    },
  },
  {
    kind,
    target: "sidecar",
    what: "the caller's trust bundle, then a restart",
    promise: "a warning; it learns the roots anew by its pin",
    bound: { failed: "any", recoverMs: 250 },
    isShort: false,
    async play(scene) {
      const { folders, parts, joinToken } = scene.world;
      scene.begin();
      await parts.caller.kill();
      corrupt(scene, join(folders.caller, "trust.json"))();
      corrupt(scene, join(folders.caller, "trust.json"));
      await parts.caller.start({ REMORA_JOIN_TOKEN: await joinToken("default", "client") });
      scene.over();
      scene.check("it warns", parts.caller.log.includes("a state file cannot be read and is ignored"));
    },
  },
  {
    kind,
    target: "registry",
    what: "its services file",
    promise: "a warning; the last good one stays in force",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { parts, servicesFile } = scene.world;
      scene.begin();
      const restore = corrupt(scene, servicesFile);
      await scene.becomes("it says degraded", 5_000, async () => !(await isHealthy(parts.registry)));
      scene.check("it warns", parts.registry.log.includes("the last good one stays in force"));
      await scene.hold(1_000, 5_000);
      restore();
      scene.over();
      await scene.becomes("it is well", 5_000, () => isHealthy(parts.registry));
    },
  },
  {
    kind,
    target: "CA",
    what: "its root, then a restart",
    promise: "it does not start, says why, and makes no new root; nothing fails until a leaf expires",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      const { folders, parts } = scene.world;
      scene.begin();
      await parts.ca.kill();
      scene.undo(() => parts.ca.isRunning || parts.ca.start());
      const file = join(folders.ca, "ca-root.pem");
      const restore = corrupt(scene, file);
      const bad = readFileSync(file);
      parts.ca.spawn();
      scene.check("it does not start", await parts.ca.ended(15_000));
      const said = parts.ca.log;
      scene.check(`it says why (${said.trim().slice(0, 200)})`, said.includes(folders.ca) && /cannot be used|cannot read/.test(said));
      scene.check("its file is as it was", readFileSync(file).equals(bad));
      restore();
      await parts.ca.start();
      scene.over();
    },
  },
  {
    kind,
    target: "CA",
    what: "its join tokens",
    promise: "the token is refused, others are good, the CA is well",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { folders, parts, joinToken } = scene.world;
      const known = new Set(readdirSync(join(folders.ca, "join-tokens")));
      const token = await joinToken("default", "client");
      const made = readdirSync(join(folders.ca, "join-tokens")).find((name) => !known.has(name)) ?? "";
      scene.begin();
      corrupt(scene, join(folders.ca, "join-tokens", made));
      const refused = scene.world.spareSidecar(token);
      scene.undo(() => refused.kill());
      refused.spawn();
      scene.check("the workload that has it ends", await refused.ended(20_000));
      scene.check("it says why", refused.log.includes("unknown or expired"));
      const good = scene.world.spareSidecar(await joinToken("default", "client"));
      scene.undo(() => good.kill());
      await good.start();
      scene.check("the CA is well", await isHealthy(parts.ca));
      scene.over();
    },
  },
  {
    kind,
    target: "Redis",
    what: "every lease in it",
    promise: "the registry goes on with what it holds; heartbeats write them anew",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { redisCli, parts } = scene.world;
      scene.begin();
      scene.check("there was something to corrupt", Number(redisCli("--raw", "EVAL", CORRUPT_HASHES, "0")) > 0);
      await scene.hold(4_000, 15_000);
      scene.over();
      scene.check("the registry runs", parts.registry.isRunning);
      await scene.becomes("the registry is well", 8_000, () => isHealthy(parts.registry));
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
];
