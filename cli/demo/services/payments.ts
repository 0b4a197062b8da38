// Demo service `payments`: a plain grpc-js server that says who its sidecar told it was calling.
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

interface ChargeRequest {
  readonly item: string;
  readonly cents: number;
}
interface ChargeReply {
  readonly receipt: string;
  readonly caller: string;
}

const { demo } = loadPackageDefinition(loadSync(`${import.meta.dirname}/payments.proto`)) as unknown as {
  demo: { Payments: ServiceClientConstructor };
};
let charges = 0;

const server = new Server();
server.addService(demo.Payments.service, {
  Charge(call: ServerUnaryCall<ChargeRequest, ChargeReply>, done: sendUnaryData<ChargeReply>) {
    charges += 1;
    done(null, { receipt: `r-${charges}`, caller: String(call.metadata.get("x-remora-client-id")[0] ?? "") });
  },
  Seen(_call: ServerUnaryCall<object, { charges: number }>, done: sendUnaryData<{ charges: number }>) {
    done(null, { charges });
  },
});
server.bindAsync(`127.0.0.1:${process.env["PORT"]}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
process.on("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
