// Golden manifests: YAML in, patch and YAML out. After a change that is meant, REMORA_WRITE_GOLDEN=1 writes the outcomes anew; read the diff.
import { readdir, readFile, writeFile } from "node:fs/promises";
import t from "tap";
import { INJECT_LABEL } from "../../injector/annotations/annotations.ts";
import type { Asker } from "../../injector/decide/decide.ts";
import { difference } from "../../injector/patch/difference.ts";
import { givenSurroundings } from "../../injector/given-surroundings.ts";
import { injectPod } from "../../injector/inject.ts";
import { formatManifests, type ManifestDocument, parseManifests, patchDocument } from "../../injector/manifest.ts";
import { parsePod } from "../../injector/pod/pod.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";
import { findPods, type PodPlace } from "../../injector/pod/workload.ts";

const FOLDER = new URL("golden/", import.meta.url);
const SETTINGS = { ...defaultInjectorSettings("0.1.0"), trustPins: [`sha256:${"ab".repeat(32)}`] };

async function expectFile(
  t: { equal(found: string, wanted: string, message: string): unknown },
  name: string,
  found: string,
): Promise<void> {
  const place = new URL(name, FOLDER);
  if (process.env["REMORA_WRITE_GOLDEN"] === "1") await writeFile(place, found);
  t.equal(found, await readFile(place, "utf8"), name);
}

/** As `remora inject` asks: in the name of the workload. */
function askerFor({ owner, namespace, path }: PodPlace): Asker {
  const [kind = "", name = ""] = owner.split("/");
  return { kind: "command", ...(path.at(-1) === "template" ? { owner: { namespace: namespace ?? "default", kind, name } } : {}) };
}

for (const file of (await readdir(FOLDER)).filter((name) => /^[^.]+\.yaml$/.test(name))) {
  t.test(file, async (t) => {
    const name = file.slice(0, -".yaml".length);
    const source = await readFile(new URL(file, FOLDER), "utf8");
    const documents = parseManifests(source, file);
    const changes = new Map<ManifestDocument, string>();
    const patches: object[] = [];
    const surroundingsOf = givenSurroundings(
      documents.map(({ value }) => value),
      "default",
    );
    for (const document of documents) {
      const changed: Parameters<typeof patchDocument>[1][number][] = [];
      for (const place of findPods(document.value, INJECT_LABEL)) {
        if (place.path === null) continue;
        const asker = askerFor(place);
        const surroundings = surroundingsOf(place.namespace ?? "default");
        const { patch, warnings, decision } = injectPod(place.value, surroundings, asker, SETTINGS);
        const message = decision.action === "refuse" ? { message: decision.message } : {};
        patches.push({ owner: place.owner, reason: decision.reason, ...message, warnings, patch });
        if (patch.length > 0) changed.push({ path: place.path, operations: patch });
      }
      if (changed.length > 0) changes.set(document, patchDocument(document, changed));
    }
    const injected = formatManifests(documents, changes);
    await expectFile(t, `${name}.patch.json`, `${JSON.stringify(patches, null, 2)}\n`);
    await expectFile(t, `${name}.injected.yml`, injected);

    const restored = new Map<ManifestDocument, string>();
    const again = parseManifests(injected, file);
    for (const document of again) {
      const changed: Parameters<typeof patchDocument>[1][number][] = [];
      for (const place of findPods(document.value, INJECT_LABEL)) {
        if (place.path === null) continue;
        const surroundings = surroundingsOf(place.namespace ?? "default");
        t.strictSame(injectPod(place.value, surroundings, askerFor(place), SETTINGS).patch, [], "a second run changes nothing");
        const pod = parsePod(place.value);
        const original = uninjectPod(pod);
        if (original !== null) changed.push({ path: place.path, operations: difference(pod, original) });
      }
      if (changed.length > 0) restored.set(document, patchDocument(document, changed));
    }
    const back = parseManifests(formatManifests(again, restored), file);
    t.strictSame(
      back.map(({ value }) => value),
      documents.map(({ value }) => value),
      "uninject restores the manifest",
    );
    t.strictSame(
      back.map(({ source: text }) => (text.match(/#.*/g) ?? []).length),
      documents.map(({ source: text }) => (text.match(/#.*/g) ?? []).length),
      "with its comments",
    );
  });
}
