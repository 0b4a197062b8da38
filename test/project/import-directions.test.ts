import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import t from "tap";

const PROJECT = join(import.meta.dirname, "..", "..");
const BIOME = join(PROJECT, "node_modules", ".bin", "biome");

/** Files that must not be, each with one import, and files that may. */
const FORBIDDEN = {
  "core/a.ts": "../certs/root.ts",
  "core/x509/b.ts": "../../registry/registry.ts",
  "certs/a.ts": "../registry/registry.ts",
  "registry/a.ts": "../sidecar/sidecar.ts",
  "injector/a.ts": "../certs/root.ts",
  "sidecar/a.ts": "../registry/registry.ts",
  "sidecar/http1/a.ts": "../../injector/patch.ts",
  "sidecar/workers/a.ts": "../../cli/main.ts",
  "sidecar/policy/a.ts": "../signing/profile.ts",
  "sidecar/signing/a.ts": "../../certs/root.ts",
  "sidecar/transport/a.ts": "../compat/http1.ts",
  "sidecar/resilience/a.ts": "../../cli/main.ts",
} as const;
const ALLOWED = {
  "core/c.ts": "./wire/registry.ts",
  "certs/c.ts": "../core/x509/csr.ts",
  "registry/c.ts": "../core/wire/registry.ts",
  "sidecar/c.ts": "./policy/rate-limit.ts",
  "sidecar/compat/c.ts": "../transport/relay.ts",
  "sidecar/http1/c.ts": "../transport/wire.ts",
  "sidecar/workers/c.ts": "../traffic.ts",
  "cli/c.ts": "../certs/root.ts",
  "test/c.ts": "../sidecar/sidecar.ts",
} as const;

t.test("lint refuses imports against the house's directions, and no others", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "remora-lint-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const config = JSON.parse(readFileSync(join(PROJECT, "biome.json"), "utf8")) as { vcs: unknown };
  writeFileSync(join(folder, "biome.json"), JSON.stringify({ ...config, vcs: { enabled: false } }));
  for (const [file, source] of Object.entries({ ...FORBIDDEN, ...ALLOWED })) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), `import { something } from "${source}";\nsomething();\n`);
  }
  const answer = await promisify(execFile)(BIOME, ["lint", "--reporter=json", "--max-diagnostics=100", "."], { cwd: folder }).catch(
    (error: { stdout: string }) => error,
  );
  const { diagnostics } = JSON.parse(answer.stdout) as { diagnostics: { category: string; location: { path: unknown } }[] };
  const refused = diagnostics
    .filter(({ category }) => category === "lint/style/noRestrictedImports")
    .map(({ location }) => JSON.stringify(location.path));
  for (const file of Object.keys(FORBIDDEN))
    t.ok(
      refused.some((path) => path.includes(file)),
      `${file} → ${FORBIDDEN[file as keyof typeof FORBIDDEN]} is refused`,
    );
  for (const file of Object.keys(ALLOWED))
    t.notOk(
      refused.some((path) => path.includes(file)),
      `${file} is fine`,
    );
});
