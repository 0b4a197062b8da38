// A gRPC app by grpc-js with one unary method that echoes, and that can be slow, fail, leave in order and die: an instance of a service as a rollout or an
// accident finds it.
import { type sendUnaryData, Server, ServerCredentials, type ServerUnaryCall, type status } from "@grpc/grpc-js";
import { echoService } from "./echo-grpc.ts";

/** A running app. */
export interface UnaryApp {
  readonly port: number;
  /** Calls that it got. */
  calls: number;
  /** How long it takes for each call, ms; 0 at first. */
  delayMs: number;
  /** What it answers; null, as at first, for an echo. */
  failure: status | null;
  /** Ends in order: GOAWAY, calls under way are answered, nothing new is begun. */
  leave(): Promise<void>;
  /** Dies: all connections are cut off. */
  die(): void;
}

/** Starts it on loopback. */
export async function startUnaryApp(t: { teardown(run: () => unknown): void }, port = 0): Promise<UnaryApp> {
  const server = new Server();
  server.addService(
    { Unary: echoService["Unary"] as NonNullable<(typeof echoService)[string]> },
    {
      Unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
        app.calls += 1;
        const { failure } = app;
        const answer = () => (failure === null ? done(null, call.request) : done({ code: failure, details: "told to fail" }));
        if (app.delayMs === 0) answer();
        else setTimeout(answer, app.delayMs);
      },
    },
  );
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, actual) =>
      error === null ? resolve(actual) : reject(error),
    ),
  );
  const app: UnaryApp = {
    port: bound,
    calls: 0,
    delayMs: 0,
    failure: null,
    leave: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
    die: () => server.forceShutdown(),
  };
  t.teardown(() => server.forceShutdown());
  return app;
}
