import t from "tap";
import { isOwnAddress, isOwnListener } from "../../../sidecar/capture/loop-guard.ts";

const own = { addresses: ["10.0.0.5", "fd00::5"], ports: [15001, 15006, 15020] };

t.test("knows a connection that leads back to the sidecar", async (t) => {
  t.ok(isOwnListener({ address: "10.0.0.5", port: 15001 }, own));
  t.ok(isOwnListener({ address: "fd00::5", port: 15006 }, own));
  t.ok(isOwnListener({ address: "127.0.0.1", port: 15001 }, own));
  t.ok(isOwnListener({ address: "::ffff:127.0.0.9", port: 15020 }, own));
  t.ok(isOwnListener({ address: "::", port: 15020 }, own));
});

t.test("lets the app's own ports and other pods pass", async (t) => {
  t.notOk(isOwnListener({ address: "10.0.0.5", port: 8080 }, own));
  t.notOk(isOwnListener({ address: "10.0.0.6", port: 15006 }, own), "the next pod's sidecar is no loop");
  t.ok(isOwnAddress("::ffff:10.0.0.5", own.addresses));
  t.notOk(isOwnAddress("127.0.0.1.example", own.addresses));
});
