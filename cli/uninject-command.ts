// `remora uninject`: takes out again what `remora inject` or the webhook put into the pods of a manifest, exactly.
import type { Command } from "commander";
import { AdmissionError } from "../core/errors.ts";
import { difference } from "../injector/patch/difference.ts";
import { INJECTED_ANNOTATION } from "../injector/annotations/annotations.ts";
import { SIDECAR_CONTAINER } from "../injector/pod/names.ts";
import { allContainers, type Pod, parsePod } from "../injector/pod/pod.ts";
import { uninjectPod } from "../injector/patch/uninject.ts";
import { type ManifestFlags, type PlaceOutcome, printOutcome, readManifests, withManifestFlags } from "./inject-command.ts";

/** Adds the command. */
export function register(program: Command): void {
  withManifestFlags(program.command("uninject"))
    .summary("remove the sidecar from the pods in a manifest")
    .description("Prints a manifest with the sidecar removed from every pod and workload in it, and everything else as it was.")
    .action(async (flags: ManifestFlags) => {
      process.exitCode = await printOutcome(await readManifests(flags.filename), flags, ({ value }) => uninjectPlace(value));
    });
}

function uninjectPlace(value: unknown): PlaceOutcome {
  const pod = readPod(value);
  if (typeof pod === "string") return { line: `refused (malformed_pod: ${pod})`, warnings: [], operations: [], failed: true };
  const original = uninjectPod(pod);
  if (original === null) return withoutMarker(pod);
  return { line: "sidecar removed", warnings: [], operations: difference(pod, original), failed: false };
}

/** Without the marker nobody knows what the probes were, so half a removal would be worse than none. */
function withoutMarker(pod: Pod): PlaceOutcome {
  const sidecar = allContainers(pod).find(({ name }) => name === SIDECAR_CONTAINER);
  if (sidecar === undefined) return { line: "left as it is: no sidecar in it", warnings: [], operations: [], failed: false };
  const line = `refused (no_marker: the container ${sidecar.name} is there, but the annotation ${INJECTED_ANNOTATION} that tells what the pod was before is not)`;
  return { line, warnings: [], operations: [], failed: true };
}

function readPod(value: unknown): Pod | string {
  try {
    return parsePod(value);
  } catch (error) {
    if (error instanceof AdmissionError) return error.message;
    throw error;
  }
}
