// What `remora rollout` changes in `platform.yaml`, text to text: comments and everything else of the platform team stays as it was written. Pure.
// Each edit checks that it fits what is there, and the result is read again, so that nothing is ever written that the injector would not take.
import { type Document, parseDocument } from "yaml";
import { ConfigError } from "../../core/errors.ts";
import { MAX_SENTENCE } from "../platform/platform-fields.ts";
import { parsePlatform, type RolloutState } from "../platform/platform.ts";

/** A change of the text; `summary` is a sentence for people, without a full stop. `text` is the old one where nothing had to change. */
export interface PlatformEdit {
  readonly text: string;
  readonly summary: string;
}

/** Makes an edit of the current text. @throws ConfigError("invalid_value") when it does not fit what is there */
export type MakeEdit = (text: string) => PlatformEdit;

/** Which workloads {@link assignChannel} is about: a namespace, and in it all workloads or one, as `deployment/web`. */
export interface AssignmentTarget {
  readonly namespace: string;
  readonly workload: string | null;
}

/** Gives `channel` the version, for `percent` of its workloads. A channel that is new, or that nobody is on, just gets it. */
export function setVersion(
  channel: string,
  version: string,
  percent: number,
  options: { readonly nowMs: number; readonly resume: boolean },
): MakeEdit {
  return (text) => {
    const { channels, rollout } = parsePlatform(text);
    const current = channels.get(channel);
    if (rollout !== null && (rollout.channel !== channel || rollout.to !== version)) {
      throw misfit(`${describe(rollout)} is under way; promote or abort it first`);
    }
    if (rollout !== null) return changePercent(text, rollout, percent, options.resume);
    if (current === undefined) {
      return change(text, `channel ${channel} is new, with version ${version}`, (document) =>
        document.setIn(["channels", channel], version),
      );
    }
    if (current === version) return { text, summary: `channel ${channel} has version ${version} already` };
    const state = { channel, from: current, to: version, percent: `${percent}%`, startedAt: new Date(options.nowMs).toISOString() };
    return change(text, `${percent} % of channel ${channel} move from ${current} to ${version}`, (document) =>
      document.set("rollout", document.createNode(state)),
    );
  };
}

function changePercent(text: string, rollout: RolloutState, percent: number, resume: boolean): PlatformEdit {
  if (rollout.halted !== null && !resume) {
    throw misfit(`${describe(rollout)} is halted: ${rollout.halted.why}; abort it, or go on all the same with --resume`);
  }
  if (rollout.halted === null && rollout.percent === percent) return { text, summary: `${describe(rollout)} is at ${percent} % already` };
  const resumed = rollout.halted === null ? "" : ", and it goes on though it was halted";
  return change(text, `${describe(rollout)} goes from ${rollout.percent} % to ${percent} %${resumed}`, (document) => {
    document.setIn(["rollout", "percent"], `${percent}%`);
    document.deleteIn(["rollout", "halted"]);
  });
}

/** The new version becomes the channel's, for all of its workloads. A halted rollout needs `force`. */
export function promote(force: boolean): MakeEdit {
  return (text) => {
    const rollout = underWay(text);
    if (rollout.halted !== null && !force)
      throw misfit(`${describe(rollout)} is halted: ${rollout.halted.why}; promote it all the same with --force`);
    return change(text, `channel ${rollout.channel} has version ${rollout.to} now, for all of its workloads`, (document) => {
      document.setIn(["channels", rollout.channel], rollout.to);
      document.delete("rollout");
    });
  };
}

/** The channel goes back to the old version. */
export function abort(): MakeEdit {
  return (text) => {
    const rollout = underWay(text);
    return change(text, `channel ${rollout.channel} is back at ${rollout.from}`, (document) => {
      document.setIn(["channels", rollout.channel], rollout.from);
      document.delete("rollout");
    });
  };
}

/** Halts the rollout of `channel` to `to`; does nothing when that is not under way any more, or halted already. */
export function halt(channel: string, to: string, why: string, nowMs: number): MakeEdit {
  return (text) => {
    const { rollout } = parsePlatform(text);
    if (rollout === null || rollout.channel !== channel || rollout.to !== to) return { text, summary: "the rollout is over" };
    if (rollout.halted !== null) return { text, summary: `${describe(rollout)} is halted already` };
    const state = { at: new Date(nowMs).toISOString(), why: why.replaceAll(/\s+/g, " ").slice(0, MAX_SENTENCE) };
    return change(text, `${describe(rollout)} is halted: ${state.why}`, (document) =>
      document.setIn(["rollout", "halted"], document.createNode(state)),
    );
  };
}

/** Puts a namespace or workload on a channel, in front of all other rules of its kind; null takes that rule away. */
export function assignChannel({ namespace, workload }: AssignmentTarget, channel: string | null): MakeEdit {
  return (text) => {
    const { assignments } = parsePlatform(text);
    const what = workload === null ? `namespace ${namespace}` : `${workload} in namespace ${namespace}`;
    const at = assignments.findIndex((rule) => rule.namespace === namespace && rule.workload === workload && rule.percent >= 100);
    if (channel === null && at < 0) throw misfit(`no rule puts ${what} on a channel`);
    if (at >= 0 && assignments[at]?.channel === channel) return { text, summary: `${what} follows ${channel} already` };
    return change(text, channel === null ? `${what} follows no channel of its own any more` : `${what} follows ${channel}`, (document) => {
      if (at >= 0 && channel !== null) return document.setIn(["assign", at, "channel"], channel);
      if (at >= 0) return document.deleteIn(["assign", at]);
      const rules = document.toJS() as { readonly assign?: readonly unknown[] };
      if ((rules.assign ?? []).length === 0) document.set("assign", document.createNode([]));
      const list = document.get("assign") as { items: unknown[] }; // made above, or checked by parsePlatform
      const rule = { namespace, ...(workload === null ? {} : { workload }), channel };
      // The first rule that fits holds, so one for a workload has to stand before one for all of its namespace.
      const place = workload === null ? assignments.findIndex((other) => other.workload === null) : 0;
      list.items.splice(place < 0 ? assignments.length : place, 0, document.createNode(rule));
    });
  };
}

/** A rollout in a few words. */
export function describe({ channel, from, to }: RolloutState): string {
  return `the rollout of ${channel} from ${from} to ${to}`;
}

function underWay(text: string): RolloutState {
  const { rollout } = parsePlatform(text);
  if (rollout === null) throw misfit("no rollout is under way");
  return rollout;
}

function change(text: string, summary: string, edit: (document: Document) => unknown): PlatformEdit {
  const document = parseDocument(text) as unknown as Document; // parsed without errors before
  if (document.contents === null) document.contents = document.createNode({});
  edit(document);
  const changed = document.toString({ lineWidth: 0 });
  parsePlatform(changed); // what the injector would refuse is refused here, with all mistakes
  return { text: changed, summary };
}

function misfit(message: string): ConfigError {
  return new ConfigError("invalid_value", message);
}
