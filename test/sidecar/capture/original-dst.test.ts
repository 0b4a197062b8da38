import { createServer, connect, type AddressInfo, type Socket } from "node:net";
import t from "tap";
import { createOriginalDstReader, parseSockaddrIn, parseSockaddrIn6 } from "../../../sidecar/capture/original-dst.ts";

t.test("reads an IPv4 sockaddr", async (t) => {
  t.same(parseSockaddrIn(Buffer.from("020000 50c6336407".replace(" ", "").padEnd(32, "0"), "hex")), { address: "198.51.100.7", port: 80 });
});

t.test("writes IPv6 addresses as RFC 5952 says", async (t) => {
  const cases = [
    ["20010db8000000000000000000000001", "2001:db8::1"],
    ["20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
    ["00000000000000000000000000000001", "::1"],
    ["00000000000000000000000000000000", "::"],
    ["fd770000000000000001000000000000", "fd77::1:0:0:0"],
    ["20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
    ["fd77000100020003000400050006ab00", "fd77:1:2:3:4:5:6:ab00"],
  ] as const;
  for (const [hex, text] of cases) {
    t.same(parseSockaddrIn6(Buffer.from(`0a0001bb00000000${hex}00000000`, "hex")), { address: text, port: 443 });
  }
});

t.test(
  "answers null for a connection that nobody redirected, on IPv4, IPv6 and mapped sockets",
  { skip: process.platform !== "linux" },
  async (t) => {
    const reader = createOriginalDstReader();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "::", resolve));
    t.teardown(() => server.close());
    for (const host of ["127.0.0.1", "::1"]) {
      const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
      const client = connect((server.address() as AddressInfo).port, host);
      const socket = await accepted;
      t.equal(reader.read(socket), null, host);
      client.destroy();
      socket.destroy();
      t.equal(reader.read(socket), null, "closed socket");
    }
  },
);
