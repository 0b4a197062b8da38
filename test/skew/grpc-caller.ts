// Calls the gRPC echo app by the name of its service, as a program does that `remora run` started: dials REMORA_OUTBOUND. Prints the answer's text.
// Usage: grpc-caller.ts SERVICE
import * as grpc from "@grpc/grpc-js";
import { Echo, type Message } from "../support/apps/echo-service.ts";

const [service = ""] = process.argv.slice(2);
const client = new Echo(process.env["REMORA_OUTBOUND"] ?? "", grpc.credentials.createInsecure(), { "grpc.default_authority": service });
/** proto-loader's clients are typed by nobody. */
const calls = client as unknown as {
  Unary(message: Message, options: object, done: (error: grpc.ServiceError | null, answer: Message) => void): void;
};
calls.Unary({ text: "across versions" } as Message, { deadline: Date.now() + 10_000 }, (error, answer) => {
  process.stdout.write(`${error === null ? `answer: ${JSON.stringify(answer)}` : `failed: ${error.code} ${error.details}`}\n`);
  client.close();
  process.exitCode = error === null ? 0 : 1;
});
