// A handler that takes its time over each message, as that of heartbeats does: what its client sends meanwhile is kept, and the client's window comes back.
import {
  credentials,
  type ClientDuplexStream,
  makeClientConstructor,
  type ServerDuplexStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import t from "tap";
import { silentLogger } from "../../core/log.ts";
import { startGrpcServer } from "../../grpc/server.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

const MESSAGES = 1_000;
/** All together several times the window of a stream. */
const MESSAGE_BYTES = 5_000;
const asIs = (bytes: Buffer) => bytes;
const definition = {
  Echo: {
    path: "/test.Slow/Echo",
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
    originalName: "echo",
  },
} satisfies ServiceDefinition;

t.test("every message of a client that does not wait is answered, in its order", async (t) => {
  const ca = createThrowawayCa();
  const own = ca.leaf("remora-system/remora-control");
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port: 0,
    log: silentLogger(),
    tls: () => ({ key: own.keyPem, cert: own.certPem, ca: ca.rootPem }),
    onTlsChange: () => () => undefined,
    closeGraceMs: 100,
    services: [
      {
        definition,
        implementation: {
          echo(call: ServerDuplexStream<Buffer, Buffer>) {
            call.on("data", (message: Buffer) => {
              call.pause();
              setTimeout(() => {
                call.write(message.subarray(0, 4));
                call.resume();
              }, 1);
            });
            call.on("end", () => void call.end());
          },
        },
      },
    ],
  });
  t.teardown(() => server.close());
  const Client = makeClientConstructor(definition, "Slow");
  const trust = credentials.createSsl(Buffer.from(ca.rootPem), null, null, { checkServerIdentity: () => undefined });
  const client = new Client(`127.0.0.1:${server.port}`, trust, { "grpc.ssl_target_name_override": "remora-control" });
  t.teardown(() => client.close());
  const call = (client as unknown as { Echo(): ClientDuplexStream<Buffer, Buffer> }).Echo();
  const answers: number[] = [];
  const whole = new Promise<void>((resolve, reject) => {
    const patience = setTimeout(() => reject(new Error(`${answers.length} of ${MESSAGES} messages were answered`)), 10_000);
    call.on("error", reject);
    call.on("data", (answer: Buffer) => void answers.push(answer.readUInt32BE(0)));
    call.on("end", () => {
      clearTimeout(patience);
      resolve();
    });
  });
  for (let index = 0; index < MESSAGES; index += 1) {
    const message = Buffer.alloc(MESSAGE_BYTES);
    message.writeUInt32BE(index, 0);
    call.write(message);
  }
  call.end();
  await whole;
  t.same(
    answers,
    Array.from({ length: MESSAGES }, (_, index) => index),
  );
});
