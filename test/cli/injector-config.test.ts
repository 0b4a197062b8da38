import t from "tap";
import { injectorSettings } from "../../cli/control/injector-config.ts";
import { loadConfig } from "../../core/config.ts";
import { ANNOTATIONS, type AnnotationName } from "../../injector/annotations/annotations.ts";

const NAMES: readonly (readonly [variable: string, annotation: AnnotationName, good: string, bad: string])[] = [
  ["REMORA_SIDECAR_IMAGE", "image", "registry.example/remora:1", "Remora 1"],
  ["REMORA_SIDECAR_CHANNEL", "channel", "canary", "Canary"],
  ["REMORA_SIDECAR_CPU_REQUEST", "cpu-request", "0.5", "0"],
  ["REMORA_SIDECAR_CPU_LIMIT", "cpu-limit", "500m", "..m"],
  ["REMORA_SIDECAR_MEMORY_REQUEST", "memory-request", "64Mi", "1.2.3Mi"],
  ["REMORA_SIDECAR_MEMORY_LIMIT", "memory-limit", "1Gi", "many"],
];

t.test("the installation's defaults take what their annotations take, and nothing else", async (t) => {
  for (const [variable, name, good, bad] of NAMES) {
    t.ok(Object.values(loadConfig("x", injectorSettings, { [variable]: good })).includes(good), `${variable}=${good}`);
    t.throws(
      () => loadConfig("x", injectorSettings, { [variable]: bad }),
      {
        message: new RegExp(
          `${variable}="${bad.replaceAll(".", "\\.")}" is not valid: expected ${ANNOTATIONS[name].type.allowed.slice(0, 20)}`,
        ),
      },
      `${variable}=${bad}`,
    );
  }
});
