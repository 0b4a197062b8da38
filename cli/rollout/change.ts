// `remora rollout set`, `promote` and `abort`: one edit of the platform's file each.
import { ConfigError } from "../../core/errors.ts";
import { parsePlatform } from "../../injector/platform/platform.ts";
import { abort, assignChannel, type MakeEdit, promote, setVersion } from "../../injector/rollout/platform-edit.ts";
import type { PromoteFlags, RolloutFlags, SetFlags } from "../rollout-command.ts";
import { connectMesh, print } from "./connect.ts";

const KINDS = ["deployment", "statefulset", "daemonset", "job", "cronjob", "replicaset", "pod"];

/** `remora rollout set`. */
export async function set(what: string, channel: string | undefined, flags: SetFlags): Promise<number> {
  return applyEdit(readChange(what, channel, flags), flags);
}

/** `remora rollout promote`. */
export async function promoteChannel(flags: PromoteFlags): Promise<number> {
  const { force = false, to, percent } = flags;
  return applyEdit((text) => {
    const promoted = promote(force)(text);
    const version = parsePlatform(text).rollout?.to;
    if (to === undefined || version === undefined) return promoted;
    const further = setVersion(to, version, percent, { nowMs: Date.now(), resume: false })(promoted.text);
    return { text: further.text, summary: `${promoted.summary}; ${further.summary}` };
  }, flags);
}

/** `remora rollout abort`. */
export async function abortRollout(flags: RolloutFlags): Promise<number> {
  return applyEdit(abort(), flags);
}

function readChange(what: string, channel: string | undefined, { percent, resume = false, remove = false }: SetFlags): MakeEdit {
  const [name = "", version] = what.split("=");
  if (version !== undefined) {
    if (channel !== undefined || remove) throw wrong("CHANNEL=VERSION takes no second word and no --remove");
    return setVersion(name, version, percent, { nowMs: Date.now(), resume });
  }
  if (channel === undefined && !remove) throw wrong("say CHANNEL=VERSION, or a namespace or workload and its channel");
  if (channel !== undefined && remove) throw wrong("--remove takes no channel");
  return assignChannel(readTarget(name), channel ?? null);
}

function readTarget(text: string) {
  const [namespace = "", kind, name, ...rest] = text.split("/");
  if (namespace === "" || rest.length > 0 || (kind !== undefined && (name === undefined || name === ""))) {
    throw wrong(`${JSON.stringify(text)} is neither NAMESPACE nor NAMESPACE/KIND/NAME`);
  }
  if (kind !== undefined && !KINDS.includes(kind.toLowerCase())) {
    throw wrong(`${JSON.stringify(kind)} is no kind of workload; known are ${KINDS.join(", ")}`);
  }
  return { namespace, workload: kind === undefined ? null : `${kind.toLowerCase()}/${name}` };
}

async function applyEdit(edit: MakeEdit, flags: RolloutFlags): Promise<number> {
  const { api } = await connectMesh(flags);
  const dryRun = flags.dryRun === true;
  let before = "";
  const made = await api.editPlatform(
    (text) => {
      before = text;
      return edit(text);
    },
    { dryRun },
  );
  const { channels, rollout } = parsePlatform(made.text);
  const changed = made.text !== before;
  print(
    flags,
    { changed, dryRun, summary: made.summary, channels: Object.fromEntries(channels), rollout },
    dryRun ? `${made.summary} (dry run)` : made.summary,
  );
  return 0;
}

function wrong(message: string): ConfigError {
  return new ConfigError("invalid_value", message);
}
