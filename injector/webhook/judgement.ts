// Joins what is asked with what is known: settings, the surroundings of the namespace, and then the pure answers of `admit.ts` and `validate.ts`. Here is
// decided what happens while something is not known: a pod that would get a sidecar is refused, which its controller tries again; a pod that would not
// is let through; a validation is left to the `failurePolicy` of its webhook.
import { type Admission, admit, type Selected } from "./admit.ts";
import type { AdmissionRequest } from "./envelope.ts";
import type { InjectorSettings } from "../settings.ts";
import { noSurroundings, type Surroundings } from "../surroundings.ts";
import { type Validation, validate } from "../validate/validate.ts";
import { UnableError } from "./webhook-request.ts";

/** What the answers are made from. */
export interface JudgementOptions {
  /** What the platform team set when it installed the injector. */
  readonly settings: InjectorSettings;
  /** The same with all that new sidecars may trust; or why there is nothing yet. Read once per request. */
  readonly current: () => InjectorSettings | { readonly unavailable: string };
  /** What is known of the cluster; null outside of one. */
  readonly view: SurroundingsView | null;
}

/** The part of the view of the cluster that is used; see `cluster-view.ts`. */
export interface SurroundingsView {
  surroundings(namespaceName: string): Surroundings | null;
  readNamespace(namespaceName: string): Promise<Surroundings | null>;
  platform(): Surroundings["platform"] | null;
  missing(): string | null;
}

/** Answers what the webhook is asked. */
export interface Judgement {
  admit(review: AdmissionRequest, selected: Selected): Admission | Promise<Admission>;
  /** Rejects with `UnableError` while nothing can be said. */
  validate(review: AdmissionRequest): Validation | Promise<Validation>;
}

/** Makes the two answers. Nothing is waited for but a namespace that nobody knows yet. */
export function createJudgement({ settings, current, view }: JudgementOptions): Judgement {
  function admitPod(review: AdmissionRequest, selected: Selected): Admission | Promise<Admission> {
    if (selected === "unclear_pod" || selected === "unclear_namespace") return admitUnclear(review, selected);
    const known = current();
    if ("unavailable" in known) return notReady(known.unavailable);
    if (view === null) return admit(review, selected, noSurroundings(review.namespace), known);
    const surroundings = view.surroundings(review.namespace);
    if (surroundings !== null) return admit(review, selected, surroundings, known);
    const missing = view.missing();
    if (missing !== null) return notReady(missing);
    return view.readNamespace(review.namespace).then(
      (found) => admit(review, selected, found ?? withPlatform(review.namespace), known),
      (error: unknown) => notReady(error instanceof Error ? error.message : String(error)),
    );
  }

  /** Never injected, whatever is known, so nothing has to be waited for. */
  function admitUnclear(review: AdmissionRequest, selected: Selected): Admission {
    return admit(review, selected, view?.surroundings(review.namespace) ?? noSurroundings(review.namespace), settings);
  }

  function validateObject(review: AdmissionRequest): Validation | Promise<Validation> {
    if (view === null) return validate(review, noSurroundings(review.namespace), settings);
    const missing = view.missing();
    // The platform's own ConfigMap has to get through, or what is broken could not be mended.
    if (missing !== null && review.resource.resource === "configmaps") return validate(review, noSurroundings(review.namespace), settings);
    if (missing !== null) throw new UnableError(missing);
    const known = view.surroundings(review.namespace);
    if (known !== null) return validate(review, known, settings);
    // A namespace that is being created is not there yet.
    if (review.resource.resource === "namespaces") return validate(review, withPlatform(review.namespace), settings);
    return view.readNamespace(review.namespace).then(
      (found) => validate(review, found ?? withPlatform(review.namespace), settings),
      (error: unknown) => {
        throw new UnableError(error instanceof Error ? error.message : String(error));
      },
    );
  }

  function withPlatform(namespaceName: string): Surroundings {
    const nothing = noSurroundings(namespaceName);
    return { ...nothing, platform: view?.platform() ?? nothing.platform };
  }

  return { admit: admitPod, validate: validateObject };
}

/** Fails closed: a pod without its sidecar, or with one that can trust nobody, is worse than one that is tried again in a moment. */
function notReady(why: string): Admission {
  const audit = { decision: "refused", reason: "not_ready" };
  const message = `remora cannot inject yet (not_ready): ${why}`;
  return { result: "refused", reason: "not_ready", answer: { allowed: false, patch: [], message, warnings: [], audit } };
}
