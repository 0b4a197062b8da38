// How `remora check` asks the API server: with the credentials of the kubeconfig, and what the caller adds.
import { writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t from "tap";
import { connectApi } from "../../cli/check/api.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

t.test("a call carries the kubeconfig's credentials, its own headers and a body, and gives status, date and answer", async (t) => {
  const seen: { readonly line: string; readonly headers: IncomingHttpHeaders; readonly body: string }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      seen.push({ line: `${request.method} ${request.url}`, headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(201, { date: "Sun, 01 Feb 2026 00:00:00 GMT" }).end('{"kind":"Status"}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const kubeconfig = join(temporaryFolder(t), "config");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      clusters: [{ name: "c", cluster: { server: url } }],
      users: [{ name: "u", user: { token: "secret" } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    }),
  );
  const api = await connectApi({ kubeconfig });
  t.equal(api.server, url.slice(0, -1));
  const answer = await api.call("POST", "/apis/x", { spec: {} }, { "x-remora-token": "own" });
  t.strictSame(answer, { status: 201, body: { kind: "Status" }, dateMs: Date.UTC(2026, 1, 1) });
  t.match(seen, [
    {
      line: "POST /apis/x",
      headers: { authorization: "Bearer secret", "x-remora-token": "own", "content-type": "application/json" },
      body: '{"spec":{}}',
    },
  ]);
  await t.rejects(connectApi({ kubeconfig, context: "none" }), { code: "invalid_settings" });
  await t.rejects(connectApi({ kubeconfig: `${kubeconfig}-none` }), { code: "invalid_settings", message: /cannot be read/ });
});
