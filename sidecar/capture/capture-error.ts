// The one error class of capture: programming or checking the pod's rules failed, and why, in words that name what to do next.

/** Codes of {@link CaptureError}. */
export type CaptureErrorCode =
  | "not_linux"
  | "not_root"
  | "sidecar_uid"
  | "binary_missing"
  | "backend_unusable"
  | "rules_refused"
  | "not_redirected";

/** Capture cannot be set up, verified or removed. */
export class CaptureError extends Error {
  readonly code: CaptureErrorCode;

  constructor(code: CaptureErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CaptureError";
    this.code = code;
  }
}
