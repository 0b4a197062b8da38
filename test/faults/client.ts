// Steady traffic from real clients that know nothing of the mesh: HTTP/1.1 over kept connections, gRPC over one, TCP with a connection each. Open loop:
// requests leave at their time whatever became of those before, and one that has no answer at its deadline has failed. Prints `s KIND NUMBER EPOCH_MS`
// when one leaves and `e KIND NUMBER TOOK_MS [PROBLEM]` when it ended. Usage: client.ts ADDRESS DEADLINE_MS
import { Agent, request } from "node:http";
import { connect } from "node:net";
import * as grpc from "@grpc/grpc-js";
import { Echo, type Message } from "../support/apps/echo-service.ts";

/** Requests per second. */
const RATES = { http: 40, grpc: 20, tcp: 10 } as const;
type Kind = keyof typeof RATES;

const [address = "", deadlineText = "2000"] = process.argv.slice(2);
const deadlineMs = Number(deadlineText);
const agent = new Agent({ keepAlive: true });
// A client's own patience with connections must not hide how soon the mesh is back.
const echo = new Echo(`${address}:9090`, grpc.credentials.createInsecure(), {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 200,
}) as unknown as {
  Unary(message: Message, metadata: grpc.Metadata, options: object, done: (error: grpc.ServiceError | null) => void): void;
};

type Done = (problem: string | null) => void;

function sendHttp(done: Done): void {
  const signal = AbortSignal.timeout(deadlineMs);
  const fail = (error: Error) => done(signal.aborted ? "deadline" : error.message);
  const call = request({ host: address, port: 80, agent, signal }, (response) => {
    response.resume();
    response.on("end", () =>
      done(response.statusCode === 200 ? null : `${response.statusCode} ${response.headers["x-remora-reason"] ?? ""}`),
    );
    response.on("error", fail);
  });
  call.on("error", fail);
  call.end();
}

function sendGrpc(done: Done): void {
  const metadata = new grpc.Metadata({ waitForReady: true });
  echo.Unary({ text: "hello", data: Buffer.alloc(16) }, metadata, { deadline: Date.now() + deadlineMs }, (error) =>
    done(error === null ? null : `${grpc.status[error.code]} ${error.details.replace(/ after [\d.]+s.*$/, "")}`),
  );
}

function sendTcp(done: Done): void {
  const socket = connect(7000, address);
  const timer = setTimeout(() => socket.destroy(new Error("deadline")), deadlineMs);
  let answer = "";
  socket.setEncoding("utf8").on("data", (text: string) => (answer += text));
  socket.on("error", (error) => end(error.message));
  socket.on("end", () => end(answer === "hello" ? null : `ended after ${answer.length} bytes`));
  socket.on("close", () => end("closed"));
  socket.end("hello");
  function end(problem: string | null): void {
    clearTimeout(timer);
    done(problem);
  }
}

const SEND: Readonly<Record<Kind, (done: Done) => void>> = { http: sendHttp, grpc: sendGrpc, tcp: sendTcp };

function send(kind: Kind, number: number): void {
  const startedMonoMs = performance.now();
  let isSettled = false;
  process.stdout.write(`s ${kind} ${number} ${Date.now()}\n`);
  SEND[kind]((problem) => {
    if (isSettled) return;
    isSettled = true;
    const tookMs = Math.round(performance.now() - startedMonoMs);
    process.stdout.write(`e ${kind} ${number} ${tookMs}${problem === null ? "" : ` ${problem.replaceAll("\n", " ")}`}\n`);
  });
}

for (const kind of Object.keys(RATES) as Kind[]) {
  let number = 0;
  const startedMonoMs = performance.now();
  // By the clock, so that a timer that is late does not make the load lighter.
  setInterval(() => {
    const due = Math.floor(((performance.now() - startedMonoMs) * RATES[kind]) / 1_000);
    while (number < due) send(kind, ++number);
  }, 500 / RATES[kind]);
}
