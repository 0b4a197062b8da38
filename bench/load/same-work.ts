// Proves, before anything is measured, that a contender does the work that all are said to do: the origin tells which request id and which caller came
// with a request. That mutual TLS lies between the hops is where the caller comes from.
import { request } from "node:http";
import type { Path } from "./contender.ts";

const TIMEOUT_MS = 5_000;
/** Of the origin; see peers/nginx-origin.conf. */
const TELLING_PATH = "/work";

/** Rejects when a request arrives at the origin without an id or without the caller's identity. */
export async function proveSameWork({ url, host }: Path): Promise<void> {
  const said = await ask(new URL(TELLING_PATH, url), host);
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
