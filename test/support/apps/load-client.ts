// A steady load of HTTP requests: sends RATE a second to URL until SIGTERM (or for SECONDS), over keep-alive connections, and counts what fails. Prints one
// JSON object at the end, and a line per failure. Usage: load-client.ts URL RATE SECONDS
import { Agent, get } from "node:http";

const [url = "", rate = "50", seconds = "10"] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 16 });
const counts = { sent: 0, ok: 0, failed: 0, slowestMs: 0 };
let isOver = false;

function send(): void {
  const startedMs = performance.now();
  counts.sent += 1;
  let isSettled = false;
  const settle = (problem: string | null) => {
    if (isSettled) return;
    isSettled = true;
    counts.slowestMs = Math.max(counts.slowestMs, Math.round(performance.now() - startedMs));
    if (problem === null) counts.ok += 1;
    else {
      counts.failed += 1;
      process.stdout.write(`failed at ${new Date().toISOString()}: ${problem}\n`);
    }
    if (isOver && counts.ok + counts.failed === counts.sent) finish();
  };
  const request = get(url, { agent, timeout: 10_000 }, (response) => {
    response.resume();
    response.on("end", () =>
      settle(response.statusCode === 200 ? null : `status ${response.statusCode} ${response.headers["x-remora-reason"] ?? ""}`),
    );
    response.on("error", (error) => settle(error.message));
  });
  request.on("timeout", () => request.destroy(new Error("timeout")));
  request.on("error", (error) => settle(error.message));
}

function finish(): void {
  process.stdout.write(`${JSON.stringify(counts)}\n`);
  process.exit(0);
}

const timer = setInterval(send, 1000 / Number(rate));
function end(): void {
  clearInterval(timer);
  isOver = true;
  if (counts.ok + counts.failed === counts.sent) finish();
}
setTimeout(end, Number(seconds) * 1000);
process.on("SIGTERM", end);
