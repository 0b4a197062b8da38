// The app behind the mesh, which knows nothing of it: HTTP/1.1 on 8080, gRPC on 9090, and a TCP echo on 7000.
import { createServer as createHttp } from "node:http";
import { createServer as createTcp } from "node:net";
import * as grpc from "@grpc/grpc-js";
import { Echo, type Message } from "../support/apps/echo-service.ts";

const http = createHttp({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.resume();
  response.end("hello\n");
});
const tcp = createTcp({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  socket.pipe(socket);
});
// Out of files, it goes on with what it has.
for (const server of [http, tcp]) server.on("error", () => {});

const calls = new grpc.Server();
calls.addService(Echo.service, {
  Unary: (call: grpc.ServerUnaryCall<Message, Message>, done: grpc.sendUnaryData<Message>) => done(null, call.request),
});
http.listen(8080, "::");
tcp.listen(7000, "::");
calls.bindAsync("[::]:9090", grpc.ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  process.stdout.write("listening\n");
});
