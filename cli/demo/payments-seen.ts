// Asks the payments program itself, past its sidecar, how many charges it has seen: the proof that a refused one never reached it.
import { credentials, loadPackageDefinition, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const TIMEOUT_MS = 5_000;

interface PaymentsClient {
  Seen(request: object, options: { deadline: number }, done: (error: Error | null, reply?: { readonly charges: number }) => void): void;
  close(): void;
}

/** Charges seen by the program that listens on `appPort`. */
export function paymentsSeen(appPort: number): Promise<number> {
  const { demo } = loadPackageDefinition(loadSync(`${import.meta.dirname}/services/payments.proto`)) as unknown as {
    demo: { Payments: ServiceClientConstructor };
  };
  const client = new demo.Payments(`127.0.0.1:${appPort}`, credentials.createInsecure(), {
    "grpc.enable_http_proxy": 0,
  }) as unknown as PaymentsClient;
  return new Promise((resolve, reject) => {
    client.Seen({}, { deadline: Date.now() + TIMEOUT_MS }, (error, reply) => {
      client.close();
      if (error === null && reply !== undefined) resolve(reply.charges);
      else reject(error ?? new Error("no answer"));
    });
  });
}
