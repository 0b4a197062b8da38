// At which instant a certificate is judged where the wall clock may have stepped back: a fresh one then looks as if it were from the future, although the process that
// looks at it has already seen that time. Nothing is believed earlier than that, and nothing for longer: its end is judged by the wall clock, or later.
import type { X509Certificate } from "node:crypto";
import type { Clock } from "../clock.ts";

/** The instant (epoch ms) at which `certificate`, whose chain is verified, is judged. A process has one, so that what one part of it has seen holds for all. */
export type JudgedAt = (certificate: X509Certificate) => number;

/**
 * The wall clock's time; but for a certificate that begins after it and not after the latest time that was seen here, the instant at which it begins. Time
 * goes on by the monotonic clock, so a step back of the wall clock does not hide what was signed since.
 */
export function createJudgedAt(clock: Clock): JudgedAt {
  /** Largest difference of the wall clock to the monotonic one. */
  let aheadMs = clock.nowMs() - clock.monoMs();
  return (certificate) => {
    const nowMs = clock.nowMs();
    const monoMs = clock.monoMs();
    aheadMs = Math.max(aheadMs, nowMs - monoMs);
    const beginsMs = certificate.validFromDate.getTime();
    return beginsMs > nowMs && beginsMs <= monoMs + aheadMs ? beginsMs : nowMs;
  };
}
