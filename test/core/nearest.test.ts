import t from "tap";
import { nearestName } from "../../core/nearest.ts";

const NAMES = ["REMORA_LOG_LEVEL", "REMORA_MODE", "REMORA_OUTBOUND_PORT", "REMORA_INBOUND_PORT"];

t.test("a mistyped name finds the one that was meant", async (t) => {
  t.equal(nearestName("REMORA_LOG_LEVLE", NAMES), "REMORA_LOG_LEVEL", "swapped");
  t.equal(nearestName("REMORA_OUTBOND_PORT", NAMES), "REMORA_OUTBOUND_PORT", "dropped");
  t.equal(nearestName("remora_mode", NAMES), "REMORA_MODE", "letter case");
  t.equal(nearestName("REMORA_MODES", NAMES), "REMORA_MODE", "added");
  t.equal(nearestName("REMORA_NBOUND_PORT", NAMES), "REMORA_INBOUND_PORT", "the nearer of two");
});

t.test("a name that is nothing like any is left without a suggestion", async (t) => {
  t.equal(nearestName("REMORA_SOMETHING_ELSE", NAMES), null);
  t.equal(nearestName("", NAMES), null);
  t.equal(nearestName("x", []), null);
  t.equal(nearestName("on", ["off"]), null, "short names must be very near");
  t.equal(nearestName("A".repeat(100_000), NAMES), null, "no time is spent on absurd lengths");
});

t.test("among equally near names the first wins", async (t) => {
  t.equal(nearestName("abcx", ["abca", "abcb"]), "abca");
});
