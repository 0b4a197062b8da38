// Talks to the web echo app over a WebSocket and prints one JSON object with what came back. Usage: ws-client.ts ws://ADDRESS:PORT/ws
import WebSocket from "ws";

const socket = new WebSocket(process.argv[2] ?? "", { handshakeTimeout: 5_000 });
const received: string[] = [];
const messages: ReadonlyArray<string | Buffer> = ["first", Buffer.from([1, 2, 3]), "x".repeat(200_000)];
const timer = setTimeout(() => finish("timeout"), 8_000);

function finish(end: string): void {
  clearTimeout(timer);
  process.stdout.write(`${JSON.stringify({ received, end })}\n`);
  socket.terminate();
}

socket.on("message", (data: Buffer, isBinary: boolean) => {
  received.push(isBinary ? `hex:${data.toString("hex")}` : data.length > 1000 ? `${data.length} characters` : data.toString());
  const next = messages[received.length - 1];
  if (next === undefined) socket.close(4321, "enough");
  else socket.send(next);
});
socket.on("close", (code, reason) => finish(`${code} ${reason.toString()}`));
socket.on("error", (error) => finish(error.message));
