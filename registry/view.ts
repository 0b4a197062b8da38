// One answer at one version, and how it came about from those before: who is some versions behind is told what changed since, which is less than everything. Without
// that a reader that is slow would be sent the whole answer for each change that it missed, and so be slower still.
import type { Resolved, ResolvedEndpoint } from "./resolve.ts";

/** Versions that are remembered. Who is further behind gets the whole answer. */
const MAX_STEPS = 64;
/** Changed endpoints that are remembered beyond as many as the answer has. */
const MIN_CHANGES = 16;

/** One answer at one version. */
export interface View {
  /** The same object for all versions of an answer. */
  readonly origin: object;
  readonly version: number;
  readonly resolved: Resolved;
  /** Ids of endpoints that went, as far back as it is known. */
  readonly gone: readonly string[];
  /** What changed since `version`; the same object each time. Null: that is not known any more, or is more than the whole. */
  changeSince(version: number): Change | null;
}

/** What makes one version of an answer out of an earlier one. */
export interface Change {
  readonly upserts: readonly ResolvedEndpoint[];
  /** Ids of endpoints. */
  readonly removed: readonly string[];
}

/** From the version `from` to the next. */
interface Step {
  readonly from: number;
  /** Ids of the endpoints that came, changed or went. */
  readonly ids: readonly string[];
}

/** A view that knows those before it. */
export class VersionedView implements View {
  readonly origin: object;
  readonly version: number;
  readonly resolved: Resolved;
  readonly #steps: readonly Step[];
  readonly #changes = new Map<number, Change>();

  private constructor(origin: object, version: number, resolved: Resolved, steps: readonly Step[]) {
    this.origin = origin;
    this.version = version;
    this.resolved = resolved;
    this.#steps = steps;
  }

  /** The first answer to a question. */
  static first(version: number, resolved: Resolved): VersionedView {
    return new VersionedView({}, version, resolved, []);
  }

  /** The answer after this one; `ids` are the endpoints in which they differ. */
  next(version: number, resolved: Resolved, ids: readonly string[]): VersionedView {
    const steps = worthKeeping([...this.#steps, { from: this.version, ids }], resolved.endpoints.length);
    return new VersionedView(this.origin, version, resolved, steps);
  }

  get gone(): readonly string[] {
    const first = this.#steps[0];
    return first === undefined ? [] : (this.changeSince(first.from)?.removed ?? []);
  }

  changeSince(version: number): Change | null {
    const known = this.#changes.get(version);
    if (known !== undefined) return known;
    const first = this.#steps.findIndex(({ from }) => from === version);
    if (first === -1) return null;
    const removed = new Set(this.#steps.slice(first).flatMap(({ ids }) => ids));
    const upserts = this.resolved.endpoints.filter(({ id }) => removed.delete(id));
    const change = { upserts, removed: [...removed] };
    this.#changes.set(version, change);
    return change;
  }
}

/** The newest steps that together tell less than an answer of `endpoints` endpoints; the last one always. */
function worthKeeping(steps: readonly Step[], endpoints: number): readonly Step[] {
  const most = Math.max(MIN_CHANGES, endpoints);
  let changes = 0;
  let first = steps.length;
  while (first > 0 && steps.length - first < MAX_STEPS) {
    changes += steps[first - 1]?.ids.length ?? 0;
    if (changes > most && first < steps.length) break;
    first -= 1;
  }
  return steps.slice(first);
}
