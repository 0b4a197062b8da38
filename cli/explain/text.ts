// An explanation for people: what, why, and where each value came from, on one screen where possible.
import type { PatchOperation } from "../../injector/patch/difference.ts";
import { type Paint, paragraph, wrap } from "../paint.ts";
import type { ExplainedCapture } from "./capture.ts";
import type { Explanation, ExplainedSetting, Origin } from "./explanation.ts";
import type { ExplainedPod } from "./running.ts";

/** What is printed: an explanation, and for a workload in a cluster its pods. */
export interface Printable extends Explanation {
  readonly pods: readonly ExplainedPod[] | null;
  readonly registry: { readonly known: boolean; readonly why: string | null } | null;
}

const INDENT = 2;
const LABEL_WIDTH = 11;
const MAX_VALUE_WIDTH = 60;
const MAX_POINTER_LENGTH = 100;
/** More pods than this are counted, not listed. */
const MAX_PODS = 20;

/** The text, ending with a newline. `nowMs` is for ages. */
export function printExplanation(explanation: Printable, paint: Paint, nowMs: number): string {
  const { subject } = explanation;
  const title = paint.bold(`${subject.kind.toLowerCase()}/${subject.name} in ${subject.namespace}`);
  const sections = [
    printDecision(explanation, paint),
    explanation.capture === null ? "" : printCapture(explanation.capture, paint),
    printProbes(explanation, paint),
    printSettings(explanation.settings, paint),
    printPatch(explanation.patch, paint),
    printPods(explanation, paint, nowMs),
    printSentences("Warnings", explanation.warnings, paint.yellow, paint),
    printSentences("Assumed", explanation.notes, paint.dim, paint),
  ];
  return `${title}\n${sections
    .filter((section) => section !== "")
    .map((section) => `\n${section}`)
    .join("\n")}\n`;
}

function printDecision({ decision, release, sidecar, capture }: Explanation, paint: Paint): string {
  const [word, colour] = { inject: ["gets a sidecar", paint.green], skip: ["left as it is", paint.yellow], refuse: ["refused", paint.red] }[
    decision.action
  ] as [string, (text: string) => string];
  const lines = [
    labelled("Decision", `${word} (${decision.reason})`, paint, (text) => paint.bold(colour(text))),
    indented(decision.message, paint),
  ];
  if (sidecar !== null && capture !== null) {
    const kind = sidecar.kind === "native" ? "native (restarting init container)" : "legacy (plain container)";
    lines.push(labelled("Sidecar", `${kind}: ${sidecar.why}`, paint));
    lines.push(indented(`capture ${capture.how}: ${capture.why}`, paint), indented(`image ${sidecar.image}`, paint));
  }
  if (release !== null)
    lines.push(labelled("Version", `${release.version} by channel ${release.channel}`, paint), indented(release.why, paint));
  return lines.join("\n");
}

function printCapture({ how, inbound, outbound, adminPort, proxyUid }: ExplainedCapture, paint: Paint): string {
  const ports = inbound.ports.map(({ port, protocol }) => (protocol === "detect" ? String(port) : `${port} (${protocol})`)).join(", ");
  const opaque = outbound.opaquePorts === null ? "" : `; never looked into: ${outbound.opaquePorts.join(", ")}`;
  if (how === "explicit") {
    const into = `what mesh peers send to ${inbound.port}${ports === "" ? "" : `, for ${ports}`}; nothing is redirected`;
    return [
      section("Captured", paint).trimEnd(),
      labelled("in", into, paint),
      labelled("out", `what the app itself sends to port ${outbound.port}${opaque}`, paint),
    ].join("\n");
  }
  const into = `${ports === "" ? "every TCP port" : `${ports} and every other TCP port`} except ${[adminPort, ...inbound.skippedPorts].join(", ")}`;
  const networks = outbound.skippedNetworks.length === 0 ? "" : ` and networks ${outbound.skippedNetworks.join(", ")}`;
  const out = `every TCP connection except to ports ${outbound.skippedPorts.join(", ")}${networks}, and those of user ${proxyUid}${opaque}`;
  return [section("Captured", paint).trimEnd(), labelled("in", into, paint), labelled("out", out, paint)].join("\n");
}

function printProbes({ probes, capture }: Explanation, paint: Paint): string {
  if (capture === null) return "";
  if (probes.length === 0) return `${section("Probes", paint)}${paint.dim("none changed")}`;
  const lines = probes.map(
    ({ container, field, before, after }) =>
      `${" ".repeat(INDENT)}${container} ${field}\n${paragraph(`${before} → ${after}`, INDENT + 2, paint.columns)}`,
  );
  return [section("Probes", paint).trimEnd(), ...lines].join("\n");
}

function printSettings(settings: readonly ExplainedSetting[], paint: Paint): string {
  const isGiven = ({ origin }: ExplainedSetting) => origin !== "default";
  const ordered = [...settings.filter(isGiven), ...settings.filter((setting) => !isGiven(setting))];
  const nameWidth = Math.max(...ordered.map(({ name }) => name.length));
  const valueWidth = Math.min(MAX_VALUE_WIDTH, Math.max(20, paint.columns - INDENT - nameWidth - 2 - "installation".length - 2));
  const colours: Readonly<Record<Origin, (text: string) => string>> = {
    pod: paint.green,
    namespace: paint.cyan,
    platform: paint.red,
    installation: paint.yellow,
    default: paint.dim,
  };
  const lines = ordered.flatMap(({ name, value, origin, allowed }) => {
    const text = `${printable(value)}${allowed ? "" : " (not allowed)"}`;
    const [first = "", ...rest] = wrap(text, valueWidth).flatMap((line) => chunks(line, valueWidth));
    const head = `${" ".repeat(INDENT)}${name.padEnd(nameWidth)}  ${colours[origin](origin.padEnd(12))}  ${origin === "default" ? paint.dim(first) : first}`;
    const column = " ".repeat(INDENT + nameWidth + 2 + 12 + 2);
    return [head, ...rest.map((line) => column + (origin === "default" ? paint.dim(line) : line))];
  });
  return [section("Settings", paint).trimEnd(), ...lines].join("\n");
}

function printPatch(patch: readonly PatchOperation[], paint: Paint): string {
  if (patch.length === 0) return "";
  const lines = patch.map((operation) => {
    const pointer = operation.path.length <= MAX_POINTER_LENGTH ? operation.path : `${operation.path.slice(0, MAX_POINTER_LENGTH)}…`;
    const colour = { add: paint.green, remove: paint.red, replace: paint.yellow }[operation.op];
    return `${" ".repeat(INDENT)}${colour(operation.op.padEnd(8))}${printable(pointer)}${paint.dim(contentOf(operation))}`;
  });
  const count = patch.length === 1 ? "1 operation" : `${patch.length} operations`;
  return [`${section("Patch", paint)}${paint.dim(`${count}; -o json shows them whole`)}`, ...lines].join("\n");
}

/** A word on what is added: the name of a container, volume or variable. */
function contentOf(operation: PatchOperation): string {
  if (operation.op === "remove") return "";
  const { value } = operation;
  if (typeof value === "string" || typeof value === "number") return `  ${printable(String(value)).slice(0, 40)}`;
  const named = (Array.isArray(value) ? value : [value]).map((item: unknown) => (item as { readonly name?: unknown } | null)?.name);
  const names = named.filter((name) => typeof name === "string");
  return names.length === 0 ? "" : `  ${names.join(", ")}`;
}

function printPods({ pods, registry }: Printable, paint: Paint, nowMs: number): string {
  if (pods === null) return "";
  const count = pods.length === 1 ? "1 pod" : `${pods.length} pods`;
  const away = registry === null || registry.known ? "" : `; the registry is not known: ${registry.why ?? ""}`;
  const more =
    pods.length > MAX_PODS ? [`${" ".repeat(INDENT)}${paint.dim(`… and ${pods.length - MAX_PODS} more; -o json lists all`)}`] : [];
  return [
    `${section("Running", paint)}${count}${paint.yellow(away)}`,
    ...pods.slice(0, MAX_PODS).flatMap((pod) => printPod(pod, registry?.known === true, paint, nowMs)),
    ...more,
  ].join("\n");
}

function printPod(
  { name, phase, sidecar, differences, instance }: ExplainedPod,
  isRegistryKnown: boolean,
  paint: Paint,
  nowMs: number,
): readonly string[] {
  const what =
    sidecar === null
      ? paint.yellow("no sidecar")
      : `sidecar ${sidecar.version}${sidecar.channel === null ? "" : ` (${sidecar.channel})`}, ${sidecar.kind}`;
  const verdict = differences.length > 0 ? paint.yellow("not as it would be now") : paint.green("as it would be now");
  const lines = [`${" ".repeat(INDENT)}${paint.bold(name)}  ${phase}, ${what}, ${verdict}`];
  if (isRegistryKnown && instance === null && sidecar !== null)
    lines.push(paragraph("the registry has not heard of it", INDENT + 2, paint.columns));
  if (instance !== null) {
    const { state, services, certExpiresAtMs, load } = instance;
    const certificate = certExpiresAtMs > 0 ? `, certificate for ${ageOf(certExpiresAtMs - nowMs)}` : "";
    const work =
      load === null ? "" : `, ${round(load.rps)} requests/s, p99 ${round(load.p99Ms)} ms, errors ${round(load.errorRatio * 100)} %`;
    const served = services.length === 0 ? "" : `, serves ${services.join(", ")}`;
    lines.push(paragraph(`registry: ${state}${served}${certificate}${work}`, INDENT + 2, paint.columns));
  }
  return [...lines, ...differences.map((sentence) => paragraph(`- ${printable(sentence)}`, INDENT + 2, paint.columns))];
}

function printSentences(title: string, sentences: readonly string[], colour: (text: string) => string, paint: Paint): string {
  if (sentences.length === 0) return "";
  return [
    section(title, paint).trimEnd(),
    ...sentences.map((sentence) =>
      paragraph(printable(sentence), INDENT, paint.columns)
        .split("\n")
        .map((line) => colour(line))
        .join("\n"),
    ),
  ].join("\n");
}

function section(title: string, paint: Paint): string {
  return `${paint.bold(title)}${" ".repeat(Math.max(1, INDENT + LABEL_WIDTH - title.length))}`;
}

function labelled(label: string, text: string, paint: Paint, colour: (text: string) => string = (same) => same): string {
  const [first = "", ...rest] = wrap(printable(text), paint.columns - INDENT - LABEL_WIDTH);
  const isTop = /^[A-Z]/.test(label);
  const head = isTop ? section(label, paint) : `${" ".repeat(INDENT)}${paint.dim(label.padEnd(LABEL_WIDTH))}`;
  return [head + colour(first), ...rest.map((line) => " ".repeat(INDENT + LABEL_WIDTH) + colour(line))].join("\n");
}

function indented(text: string, paint: Paint): string {
  return paragraph(printable(text), INDENT + LABEL_WIDTH, paint.columns);
}

/** What a terminal would obey or hide is shown instead. */
function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\u{fffd}");
}

function chunks(text: string, size: number): readonly string[] {
  const parts: string[] = [];
  for (let at = 0; at < text.length || at === 0; at += size) parts.push(text.slice(at, at + size));
  return parts;
}

function ageOf(ms: number): string {
  if (ms <= 0) return "no time any more";
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

function round(value: number): string {
  return String(Number(value.toFixed(value < 10 ? 1 : 0)));
}
