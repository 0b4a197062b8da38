import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { askGrpc } from "../../bench/load/ask-grpc.ts";
import { runGrpcBulk } from "../../bench/load/grpc-bulk.ts";
import { callGrpc, wrongAnswers } from "../../bench/load/grpc-calls.ts";
import { REQUEST_MESSAGE, STREAMED_MESSAGE, STREAMED_MESSAGES, UNARY_ANSWER } from "../../bench/load/grpc-messages.ts";
import { startOrigin } from "../../bench/load/nginx.ts";
import { createProcesses } from "../../bench/load/processes.ts";
import type { Row } from "../../bench/load/row.ts";
import { proveSameGrpcWork } from "../../bench/load/same-work.ts";
import { requires } from "../support/requires.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { BENCH_TIMEOUT_MS, startBench } from "./start-bench.ts";

/** The benchmark's origin. */
async function originUrl(t: Test): Promise<string> {
  const processes = createProcesses();
  t.teardown(() => processes.close());
  const { grpcPort } = await startOrigin(temporaryFolder(t), processes.start);
  return `http://127.0.0.1:${grpcPort}/`;
}

/** A server that answers each call, when its message is in, by `answer`. */
async function serve(t: Test, answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, message: Buffer) => void): Promise<string> {
  const server = createServer();
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => answer(stream, headers, Buffer.concat(chunks)));
    stream.on("error", () => {}); // the load leaves in the middle
  });
  return `http://127.0.0.1:${await portOf(t, server.listen(0, "127.0.0.1"))}/`;
}

/** A port that leads to `url` once a CONNECT has been asked for. */
async function tunnelTo(t: Test, url: string): Promise<string> {
  const server = createTcpServer((socket) => {
    const upstream = connect(Number(new URL(url).port), "127.0.0.1");
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.pipe(upstream).pipe(socket);
    });
    socket.on("close", () => upstream.destroy()).on("error", () => {});
    upstream.on("error", () => {});
  });
  return `http://127.0.0.1:${await portOf(t, server.listen(0, "127.0.0.1"))}/`;
}

async function portOf(t: Test, server: Server): Promise<number> {
  t.teardown(() => server.close());
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function answerWith(stream: ServerHttp2Stream, body: Buffer, trailers: Record<string, string>): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  stream.end(body);
}

t.test("the origin answers like a gRPC server: messages with a prefix, then trailers", { skip: requires("nginx") }, async (t) => {
  const url = await originUrl(t);
  for (const [path, body] of [
    ["unary", UNARY_ANSWER],
    ["stream", Buffer.concat(Array.from({ length: STREAMED_MESSAGES }, () => STREAMED_MESSAGE))],
  ] as const) {
    const answer = await askGrpc(new URL(path, url), "orders");
    t.match(answer, { status: 200, grpcStatus: "0" }, path);
    t.ok(answer.body.equals(body), path);
  }
  await t.rejects(proveSameGrpcWork({ url, host: null, hops: null }), /adds no x-request-id/, "without proxies nobody does");
});

t.test("h2load calls, and answers of another length are failures", { skip: requires("nginx", "h2load") }, async (t) => {
  const url = new URL("unary", await originUrl(t)).href;
  const load = { url, authority: "orders", connections: 2, streams: 4, durationS: 1 };
  const result = await callGrpc({ ...load, answerBytes: UNARY_ANSWER.length });
  t.equal(result.failed, 0);
  t.ok(result.requests > 100 && (result.p50Ms ?? 0) > 0 && (result.p50Ms ?? 0) <= (result.p999Ms ?? 0));
  const other = await callGrpc({ ...load, answerBytes: UNARY_ANSWER.length * 2 });
  t.ok(other.failed >= other.requests / 2 - 8, `${other.failed} of ${other.requests}`);
});

t.test("missing and surplus bytes are told from answers cut off by the end", async (t) => {
  const wrong = (bytes: number) =>
    wrongAnswers({ printed: `traffic: 1KB (1) total, 1B (1) headers, 1KB (${bytes}) data\n`, requests: 10, answerBytes: 100, underWay: 2 });
  t.same([1_000, 1_180, 1_200].map(wrong), [0, 0, 0]);
  t.same([0, 850, 1_201].map(wrong), [10, 2, 1]);
  t.throws(() => wrongAnswers({ printed: "", requests: 1, answerBytes: 1, underWay: 0 }), /no bytes/);
});

t.test("a proxy that loses trailers or the caller does not do the same work", async (t) => {
  let [said, trailers] = ["id|Subject=web", { "grpc-status": "0" } as Record<string, string>];
  const url = await serve(t, (stream) => answerWith(stream, Buffer.from(said), trailers));
  const path = { url, host: "orders", hops: null };
  await proveSameGrpcWork(path);
  said = "id|";
  await t.rejects(proveSameGrpcWork(path), /adds no caller/);
  trailers = {};
  await t.rejects(proveSameGrpcWork(path), /grpc-status/);
});

t.test("bulk answers come one after another, and each of a wrong length is counted", async (t) => {
  const answerBytes = 3_000_000;
  const seen = new Set<string>();
  let calls = 0;
  const url = await serve(t, (stream, headers, message) => {
    seen.add(`${headers[":method"]} ${headers[":path"]} ${headers[":authority"]} ${headers.te} ${message.equals(REQUEST_MESSAGE)}`);
    calls += 1;
    answerWith(stream, Buffer.alloc(calls === 2 ? answerBytes - 1 : answerBytes), { "grpc-status": "0" });
  });
  const load = { authority: "orders", durationS: 1, answerBytes };
  const result = await runGrpcBulk({ ...load, url: new URL("64m", url).href, tunnel: null });
  t.equal(result.failed, 1);
  t.ok(calls > 2 && result.bytes > answerBytes && result.bytes <= calls * answerBytes, `${calls} calls, ${result.bytes} bytes`);
  t.same([...seen], ["POST /64m orders trailers true"]);

  const refusing = await serve(t, (stream) => stream.respond({ ":status": 200, "grpc-status": "14" }, { endStream: true }));
  await t.rejects(runGrpcBulk({ ...load, url: refusing, tunnel: null }), /without a message/);

  const tunnelled = await runGrpcBulk({ ...load, url: await tunnelTo(t, url), tunnel: "orders:8080" });
  t.equal(tunnelled.failed, 0);
  t.ok(tunnelled.bytes > answerBytes);
  await t.rejects(
    runGrpcBulk({ ...load, url, tunnel: "orders:8080" }),
    /first answer|tunnel|ECONNRESET/,
    "which this server knows nothing of",
  );
});

t.test("one second of signed calls gives a row, and the name of what knows no HTTP/2", { skip: requires("nginx", "h2load") }, async (t) => {
  const folder = temporaryFolder(t);
  const json = join(folder, "rows.json");
  const words = "--scenario grpc-unary-1x1 --proxy splice-sign,http-proxy --seconds 1 --rounds 1 --json".split(" ");
  const bench = await startBench(t, folder, [...words, json], ["h2load"]);
  t.equal(await bench.exit(BENCH_TIMEOUT_MS), 0, bench.lines.join("\n"));
  const rows = JSON.parse(readFileSync(json, "utf8")) as Row[];
  t.same(
    rows.map(({ proxy, errors }) => [proxy, errors]),
    [["splice-sign", 0]],
  );
  t.ok(bench.lines.some((line) => /^http-proxy is missing: it knows no HTTP\/2/.test(line)));
});

t.test("without h2load gRPC calls are named as missing", { skip: requires("nginx") }, async (t) => {
  const folder = temporaryFolder(t);
  const bench = await startBench(t, folder, "--scenario grpc-unary-4x32 --proxy nginx --seconds 1 --rounds 1".split(" "));
  t.equal(await bench.exit(BENCH_TIMEOUT_MS), 0, bench.lines.join("\n"));
  t.ok(bench.lines.some((line) => /^h2load is missing: not installed/.test(line)));
});
