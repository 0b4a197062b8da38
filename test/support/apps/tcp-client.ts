// Talks to the greeter: waits for its greeting, sends BYTES bytes, ends its half, and prints everything that came back. Usage: tcp-client.ts HOST PORT BYTES
import { connect } from "node:net";

const [host = "", port = "", bytes = "0"] = process.argv.slice(2);
const socket = connect({ host, port: Number(port), allowHalfOpen: true });
let received = "";
let hasAnswered = false;
socket.setTimeout(8_000, () => socket.destroy(new Error(`no more after ${JSON.stringify(received)}`)));
socket.setEncoding("utf8").on("data", (text: string) => {
  received += text;
  if (hasAnswered || !received.includes("\n")) return;
  hasAnswered = true;
  socket.end(Buffer.alloc(Number(bytes), "x"));
});
socket.on("end", () => process.stdout.write(received));
socket.on("error", (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
