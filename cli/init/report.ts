// What `remora init` says to people about what it did and found.
import type { CheckResult } from "../../sidecar/capture/check.ts";
import type { Outcome } from "../../sidecar/capture/program.ts";
import type { CaptureSettings } from "../../sidecar/capture/rules.ts";

/** Lines about one family: a sentence, and the rules that were applied. */
export function describeOutcome(outcome: Outcome, settings: CaptureSettings): readonly string[] {
  switch (outcome.kind) {
    case "installed":
      return [
        `${outcome.family}: ${outcome.wasPresent ? "rules renewed" : "rules installed"}: ` +
          `outbound TCP to port ${settings.outboundPort} except from user ${settings.proxyUid}, inbound TCP to port ${settings.inboundPort}`,
        ...outcome.text
          .trimEnd()
          .split("\n")
          .map((line) => `  ${line}`),
      ];
    case "removed":
      return [`${outcome.family}: rules removed`];
    case "nothing_to_remove":
      return [`${outcome.family}: no rules of Remora to remove`];
    case "unavailable":
      return [`${outcome.family}: warning: ${outcome.warning}`];
  }
}

/** One sentence about a check, and whether it counts as a failure. */
export function describeCheck(result: CheckResult): { isFailure: boolean; text: string } {
  switch (result.kind) {
    case "redirected":
      return {
        isFailure: false,
        text: `a connection to ${result.dialled} is redirected and its original destination reads ${result.original}`,
      };
    case "accepted":
      return {
        isFailure: false,
        text: `a connection to ${result.dialled}, which nobody has, is accepted by the listener on the outbound port`,
      };
    case "no_route":
      return { isFailure: false, text: "no route leaves this pod, so there is nothing to capture" };
    case "skipped":
      return { isFailure: true, text: "every test address or port is in a skip list, so the redirect cannot be verified" };
    case "failed":
      return { isFailure: true, text: `a connection to ${result.dialled} is not redirected: ${result.why}` };
  }
}
