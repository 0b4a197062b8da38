// The sidecar as a pod's container runs it: the bundle's launcher with one word. What it holds in memory is a feature, so it is held here to the
// bound that bench/README.md gives, with room for other machines but not for another library.
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { bundle } from "../../bin/bundle.ts";
import { createProcesses } from "../../bench/load/processes.ts";
import { startBundledMesh } from "../../bench/load/bundled-mesh.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const IDLE_PRIVATE_KIB = 30 * 1_024;

const noProc = process.platform === "linux" ? false : "needs /proc";

t.test(
  "the launcher starts the sidecar's own bundle: small, with bounds, and with what an earlier start compiled",
  {
    skip: noProc,
  },
  async (t) => {
    const folder = temporaryFolder(t);
    const dist = join(folder, "dist");
    const cache = join(dist, "compile-cache");
    await bundle({ outDir: dist, commit: "0123456789012345678901234567890123456789" });
    mkdirSync(cache);
    const processes = createProcesses();
    t.teardown(() => processes.close());
    const env = { PATH: `${join(import.meta.dirname, "..", "..", "node_modules", ".bin")}:${process.env["PATH"]}`, HOME: folder };
    const mesh = await startBundledMesh({ dist, folder, start: processes.start, env });

    const first = await mesh.startSidecar("first", null);
    const words = readFileSync(`/proc/${first.pid}/cmdline`, "utf8").split("\0");
    t.ok(words.includes(join(dist, "sidecar.mjs")), "without the command line around it");
    t.ok(words.includes("--max-semi-space-size=2"));
    t.match(readFileSync(`/proc/${first.pid}/environ`, "utf8"), /MALLOC_ARENA_MAX=1/);
    const privateKib = Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${first.pid}/status`, "utf8"))?.[1]);
    t.ok(privateKib < IDLE_PRIVATE_KIB, `${privateKib} KiB`);
    t.same(
      readdirSync(cache, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()),
      [],
      "nothing was written yet",
    );
    await first.stop();
    t.ok(
      readdirSync(cache, { recursive: true, withFileTypes: true }).some((entry) => entry.isFile()),
      "it left what it compiled",
    );

    const second = await mesh.startSidecar("second", null);
    t.match(readFileSync(`/proc/${second.pid}/environ`, "utf8"), `NODE_COMPILE_CACHE=${cache}`);
    await second.stop();
  },
);
