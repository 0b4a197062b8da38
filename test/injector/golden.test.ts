// Golden manifests: YAML in, patch and YAML out. After a change that is meant, REMORA_WRITE_GOLDEN=1 writes the outcomes anew; read the diff.
import { readdir, readFile, writeFile } from "node:fs/promises";
import t from "tap";
import { INJECT_LABEL } from "../../injector/annotations.ts";
import { difference } from "../../injector/difference.ts";
import { injectPod } from "../../injector/inject.ts";
import { formatManifests, type ManifestDocument, parseManifests, patchDocument } from "../../injector/manifest.ts";
import { type Pod, parsePod } from "../../injector/pod.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { uninjectPod } from "../../injector/uninject.ts";
import { findPods } from "../../injector/workload.ts";
import { noSurroundings } from "../../injector/surroundings.ts";

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

for (const file of (await readdir(FOLDER)).filter((name) => /^[^.]+\.yaml$/.test(name))) {
  t.test(file, async (t) => {
    const name = file.slice(0, -".yaml".length);
    const source = await readFile(new URL(file, FOLDER), "utf8");
    const documents = parseManifests(source, file);
    const changes = new Map<ManifestDocument, string>();
    const patches: object[] = [];
    for (const document of documents) {
      for (const place of findPods(document.value, INJECT_LABEL)) {
        if (place.path === null) continue;
        const { patch, warnings, decision } = injectPod(
          place.value,
          noSurroundings(place.namespace ?? "default"),
          { kind: "command" },
          SETTINGS,
        );
        patches.push({ owner: place.owner, reason: decision.reason, warnings, patch });
        changes.set(document, patchDocument(document, [{ path: place.path, operations: patch }]));
      }
    }
    const injected = formatManifests(documents, changes);
    await expectFile(t, `${name}.patch.json`, `${JSON.stringify(patches, null, 2)}\n`);
    await expectFile(t, `${name}.injected.yml`, injected);

    const restored = new Map<ManifestDocument, string>();
    const again = parseManifests(injected, file);
    for (const document of again) {
      for (const place of findPods(document.value, INJECT_LABEL)) {
        if (place.path === null) continue;
        t.strictSame(
          injectPod(place.value, noSurroundings("default"), { kind: "command" }, SETTINGS).patch,
          [],
          "a second run changes nothing",
        );
        const pod = parsePod(place.value);
        const operations = difference(pod, uninjectPod(pod) as Pod);
        restored.set(document, patchDocument(document, [{ path: place.path, operations }]));
      }
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
