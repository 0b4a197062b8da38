// Pods near the bounds of what the API server stores; too large to be written by hand.
import type { ApiObject } from "../support/kubernetes/api-client.ts";

const CONTAINERS = 100;
const VARIABLES = 1000;
const VARIABLE_BYTES = 1000;
/** All annotations of an object together may have 256 KiB; the injector's own has to fit in as well. */
const ANNOTATION_BYTES = 256 * 1024 - 100;

/** A pod, and what is to become of it. */
export interface HugePod {
  readonly name: string;
  readonly pod: ApiObject;
  /** What the files in `manifests` say in their first line. */
  readonly expect: string;
}

/** Makes them all. */
export function hugePods(): readonly HugePod[] {
  return [
    { name: "many-containers", pod: podOf("many-containers", { containers: manyContainers() }), expect: "injected" },
    { name: "large-environment", pod: podOf("large-environment", { containers: [largeEnvironment()] }), expect: "injected" },
    {
      name: "annotations-to-the-brim",
      pod: podOf("annotations-to-the-brim", { containers: [{ name: "app", image: "busybox" }] }, "a".repeat(ANNOTATION_BYTES)),
      expect: "refused too_large",
    },
  ];
}

function podOf(name: string, spec: object, annotation?: string): ApiObject {
  const annotations = annotation === undefined ? {} : { annotations: { "example.test/large": annotation } };
  return { apiVersion: "v1", kind: "Pod", metadata: { name, ...annotations }, spec };
}

function manyContainers(): readonly object[] {
  return Array.from({ length: CONTAINERS }, (_, i) => {
    const port = 20_000 + i;
    const httpGet = { path: `/health/of/container/${i}`, port: "http", httpHeaders: [{ name: "x-container", value: String(i) }] };
    return {
      name: `container-${i}`,
      image: `registry.example.test/team/app-${i}:1`,
      ports: [{ name: "http", containerPort: port }],
      startupProbe: { httpGet, failureThreshold: 30 },
      readinessProbe: { httpGet },
      livenessProbe: { tcpSocket: { port } },
    };
  });
}

function largeEnvironment(): object {
  const env = Array.from({ length: VARIABLES }, (_, i) => ({ name: `VARIABLE_${i}`, value: '~/"\\\n'.repeat(VARIABLE_BYTES / 5) }));
  return { name: "app", image: "busybox", env };
}
