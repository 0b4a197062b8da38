// Proves, before anything is measured, that a contender does the work that all are said to do: the origin tells which request id and which caller came
// with a request. That mutual TLS lies between the hops is where the caller comes from. Of gRPC the trailers have to come through as well.
import { request } from "node:http";
import { askGrpc } from "./ask-grpc.ts";
import type { Path } from "./contender.ts";

const TIMEOUT_MS = 5_000;
/** Of the origin; see peers/nginx-origin.conf. */
const TELLING_PATH = "/work";

/** Rejects when a request arrives at the origin without an id or without the caller's identity. */
export async function proveSameWork({ url, host }: Path): Promise<void> {
  judge(await ask(new URL(TELLING_PATH, url), host));
}

/** The same of a gRPC call. Rejects also when its answer comes without the trailers. */
export async function proveSameGrpcWork({ url, host }: Path): Promise<void> {
  const { status, body, grpcStatus } = await askGrpc(new URL(TELLING_PATH, url), host);
  if (status !== 200) throw new Error(`${TELLING_PATH} answers ${status}`);
  if (grpcStatus !== "0") throw new Error(`a call ends with the grpc-status ${grpcStatus} in its trailers, not 0`);
  judge(body.toString("latin1"));
}

function judge(said: string): void {
  const [id = "", caller = ""] = said.split("|");
  if (id === "") throw new Error("it adds no x-request-id, so it does less than the others");
  if (!/=./.test(caller)) throw new Error(`it adds no caller to x-forwarded-client-cert ("${caller}"), so it does less than the others`);
}

function ask(url: URL, host: string | null): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = host === null ? {} : { host };
    const asked = request(url, { headers, timeout: TIMEOUT_MS, agent: false }, (response) => {
      let body = "";
      response.setEncoding("latin1").on("data", (text: string) => (body += text));
      response.on("end", () =>
        response.statusCode === 200 ? resolve(body) : reject(new Error(`${url.pathname} answers ${response.statusCode}`)),
      );
      response.on("error", reject);
    });
    asked.on("timeout", () => asked.destroy(new Error(`${url.pathname} is not answered`)));
    asked.on("error", reject);
    asked.end();
  });
}
