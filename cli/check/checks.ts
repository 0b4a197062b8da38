// Every check, in the order in which they are made and printed.
import { beforeChecks } from "./before-checks.ts";
import { certificateChecks } from "./certificate-checks.ts";
import type { Check } from "./check.ts";
import { controlChecks } from "./control-checks.ts";
import { fittingChecks } from "./fitting-checks.ts";
import { kubernetesChecks } from "./kubernetes-checks.ts";
import { platformChecks } from "./platform-checks.ts";
import { registryChecks } from "./registry-checks.ts";
import { rightsChecks } from "./rights-checks.ts";
import { webhookChecks } from "./webhook-checks.ts";
import { workloadChecks } from "./workload-checks.ts";

/** The table. */
export const CHECKS: readonly Check[] = [
  ...kubernetesChecks,
  ...beforeChecks,
  ...controlChecks,
  ...webhookChecks,
  ...certificateChecks,
  ...rightsChecks,
  ...workloadChecks,
  ...platformChecks,
  ...fittingChecks,
  ...registryChecks,
];
