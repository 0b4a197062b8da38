// Demo service `web`: an ordinary node:http program, and the demo's front door. All it knows of the mesh is one address to send its calls to.
import { createServer, request } from "node:http";

const port = Number(process.env["PORT"]);
const proxy = new URL(`http://${process.env["REMORA_OUTBOUND"]}`);
const UPSTREAM_TIMEOUT_MS = 5_000;

const server = createServer((asked, answer) => {
  const { pathname, search } = new URL(asked.url ?? "/", "http://web");
  if (pathname === "/") return void answer.end("web is up; try /checkout?item=book\n");
  if (pathname !== "/checkout") return void answer.writeHead(404).end("not found\n");
  const call = request(
    {
      host: proxy.hostname,
      port: proxy.port,
      path: `http://orders/orders${search}`,
      headers: { host: "orders" },
      timeout: UPSTREAM_TIMEOUT_MS,
    },
    (reply) => {
      let body = "";
      reply.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      reply.on("end", () => {
        answer.writeHead(reply.statusCode ?? 502, { "content-type": "application/json" });
        answer.end(reply.statusCode === 200 ? `${JSON.stringify({ service: "web", called: JSON.parse(body) })}\n` : body);
      });
    },
  );
  call.on("timeout", () => call.destroy(new Error("orders did not answer in time")));
  call.on("error", (error) => {
    if (!answer.headersSent) answer.writeHead(502);
    answer.end(`${error.message}\n`);
  });
  call.end();
});

server.listen(port, "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
