// HTTP/2 by programs that everybody has: curl, nghttp and h2load as clients of nghttpd and nginx, none of which knows of the mesh.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { once } from "node:events";
import { spawn } from "node:child_process";
import type { Test } from "tap";
import type { EngineName } from "../../../sidecar/engine.ts";
import { freePort } from "../../support/free-port.ts";
import { type Http2Mesh, http2Tests } from "../../support/http2-fixture.ts";
import { startProcess, waitForPort } from "../../support/processes.ts";
import { findProgram, requires } from "../../support/requires.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const SMALL = randomBytes(1_000);
const LARGE = randomBytes(16 * 1024 * 1024);
const PROGRAM_TIMEOUT_MS = 40_000;

/** Unmodified servers: give the files of a folder. */
const SERVERS: Readonly<Record<string, (t: Test, files: string) => Promise<number>>> = { nghttpd: startNghttpd, nginx: startNginx };

/** Registers the tests for one engine. */
export function http2Peers(engine: EngineName): void {
  const test = http2Tests(engine);
  for (const [server, start] of Object.entries(SERVERS)) {
    const skip = requires(server, "curl", "nghttp", "h2load");

    test(
      `curl, nghttp and h2load reach ${server}`,
      async (t, mesh) => {
        const files = filesFor(t);
        const url = await meshedUrl(mesh, await start(t, files));

        for (const [name, content] of Object.entries({ small: SMALL, large: LARGE })) {
          const to = join(files, "..", `${name} of curl`);
          const curl = ["-sS", "--http2-prior-knowledge", "-H", "Host: orders", "-o", to, "-w", "%{http_code} %{http_version}", url + name];
          t.equal(await output("curl", curl), "200 2");
          t.equal(hashOf(readFileSync(to)), hashOf(content), `curl gets the ${name} file`);
        }
        t.match(await output("curl", ["-sSI", "--http2-prior-knowledge", "-H", "Host: orders", `${url}small`]), /content-length: 1000/);

        // Several requests on one connection, one of them for nothing.
        const nghttp = await output("nghttp", ["-ns", "-H", ":authority: orders", `${url}small`, `${url}large`, `${url}none`]);
        t.match(nghttp, / 200 +1000 +\/small/, nghttp);
        t.match(nghttp, / 200 +16M +\/large/);
        t.match(nghttp, / 404 .*\/none/);

        const load = await output("h2load", ["-n", "4000", "-c", "4", "-m", "100", "-H", ":authority: orders", `${url}small`]);
        t.match(load, /4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout/, load);
        const large = await output("h2load", ["-n", "16", "-c", "2", "-m", "8", "-H", ":authority: orders", `${url}large`]);
        t.match(large, /16 succeeded, 0 failed/, large);
      },
      { skip },
    );
  }

  test(
    "curl uploads to nghttpd, which sends back what it got",
    async (t, mesh) => {
      const files = filesFor(t);
      const url = await meshedUrl(mesh, await startNghttpd(t, files));
      const to = join(files, "..", "echo");
      const from = `@${join(files, "large")}`;
      const args = [
        "-sS",
        "--http2-prior-knowledge",
        "-H",
        "Host: orders",
        "--data-binary",
        from,
        "-o",
        to,
        "-w",
        "%{http_code}",
        `${url}echo`,
      ];
      t.equal(await output("curl", args), "200");
      t.equal(hashOf(readFileSync(to)), hashOf(LARGE));
    },
    { skip: requires("nghttpd", "curl") },
  );
}

async function meshedUrl(mesh: Http2Mesh, appPort: number): Promise<string> {
  const pair = await mesh.pairFor(appPort, { protocol: "http2" });
  return `http://127.0.0.1:${pair.outboundPort}/`;
}

function filesFor(t: Test): string {
  const files = join(temporaryFolder(t), "files");
  mkdirSync(files);
  writeFileSync(join(files, "small"), SMALL);
  writeFileSync(join(files, "large"), LARGE);
  return files;
}

async function startNghttpd(t: Test, files: string): Promise<number> {
  const port = await freePort();
  startProcess(t, findProgram("nghttpd") ?? "nghttpd", {
    args: ["--no-tls", "--echo-upload", "-a", "127.0.0.1", "-d", files, String(port)],
  });
  await waitForPort(port);
  return port;
}

async function startNginx(t: Test, files: string): Promise<number> {
  const port = await freePort();
  const folder = join(files, "..");
  const config = join(folder, "nginx.conf");
  writeFileSync(
    config,
    `daemon off; error_log ${folder}/error.log; pid ${folder}/pid; user root;
    events {}
    http {
      access_log off; client_body_temp_path ${folder}/a; proxy_temp_path ${folder}/b; fastcgi_temp_path ${folder}/c;
      uwsgi_temp_path ${folder}/d; scgi_temp_path ${folder}/e;
      server { listen 127.0.0.1:${port} http2; root ${files}; }
    }`,
  );
  startProcess(t, findProgram("nginx") ?? "nginx", { args: ["-c", config] });
  await waitForPort(port);
  return port;
}

function hashOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What a program writes; its own process, as its peers are in this one. */
async function output(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(findProgram(program) ?? program, [...args], { timeout: PROGRAM_TIMEOUT_MS, stdio: ["ignore", "pipe", "pipe"] });
  const parts: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part: Buffer) => parts.push(part));
  await once(child, "close");
  return Buffer.concat(parts).toString();
}
