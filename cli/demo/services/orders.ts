// Demo service `orders`: HTTP in, gRPC out to `payments`. An ordinary node:http and grpc-js program whose channel points at the sidecar; the
// service it wants is the authority, as it would be anywhere else.
import { createServer } from "node:http";
import { credentials, loadPackageDefinition, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const CALL_TIMEOUT_MS = 4_000;
const port = Number(process.env["PORT"]);
const instance = process.env["INSTANCE"] ?? String(process.pid);

interface ChargeReply {
  readonly receipt: string;
  readonly caller: string;
}
interface PaymentsClient {
  Charge(request: object, options: { deadline: number }, done: (error: Error | null, reply?: ChargeReply) => void): void;
}
const { demo } = loadPackageDefinition(loadSync(`${import.meta.dirname}/payments.proto`)) as unknown as {
  demo: { Payments: ServiceClientConstructor };
};
const payments = new demo.Payments(process.env["REMORA_OUTBOUND"] ?? "", credentials.createInsecure(), {
  "grpc.default_authority": "payments",
  "grpc.enable_http_proxy": 0,
}) as unknown as PaymentsClient;

const server = createServer((asked, answer) => {
  const { pathname, searchParams } = new URL(asked.url ?? "/", "http://orders");
  const caller = asked.headers["x-remora-client-id"] ?? null;
  const json = (status: number, body: object) => {
    answer.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
  };
  if (pathname === "/quote") return json(200, { service: "orders", caller, cents: 1999 });
  if (pathname !== "/orders") return json(404, { error: "not found" });
  const order = { item: searchParams.get("item") ?? "book", cents: 1999 };
  payments.Charge(order, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, charged) => {
    if (error !== null) return json(502, { service: "orders", instance, error: error.message });
    json(200, { service: "orders", instance, caller, ...order, called: { service: "payments", ...charged } });
  });
});

server.listen(port, "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
