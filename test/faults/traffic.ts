// What became of the steady traffic: every request with its time, and the figures of any stretch of it.
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 20;
/** The client ends every request at its deadline; one that has not ended by then has no client any more. */
const GIVE_UP_MS = 10_000;
/** Kept as examples for the report. */
const MAX_PROBLEMS = 4;

/** One request. */
interface Sent {
  readonly kind: string;
  readonly atMs: number;
  /** Null until it ended; then the problem, or "". */
  problem: string | null;
  endedMs: number;
}

/** Figures of a stretch of traffic. */
export interface Figures {
  readonly sent: number;
  readonly failed: number;
  /** By kind and problem, the most frequent first. */
  readonly problems: readonly string[];
  /** Longest time in which no request of one kind succeeded. */
  readonly longestGapMs: number;
  /** When the last request left that failed, epoch ms; null when none did. */
  readonly lastFailedMs: number | null;
}

/** Reads what client.ts prints. */
export class Traffic {
  readonly #sent: Sent[] = [];
  readonly #byName = new Map<string, Sent>();

  readonly onLine = (line: string): void => {
    const [what, kind = "", number = "", value = "", ...problem] = line.split(" ");
    const name = `${kind} ${number}`;
    if (what === "s") {
      const sent: Sent = { kind, atMs: Number(value), problem: null, endedMs: 0 };
      this.#sent.push(sent);
      this.#byName.set(name, sent);
    } else if (what === "e") {
      const sent = this.#byName.get(name);
      this.#byName.delete(name);
      if (sent === undefined) return;
      sent.problem = problem.join(" ");
      sent.endedMs = sent.atMs + Number(value);
    }
  };

  /** Figures of the requests that left from `fromMs` up to `toMs`, once all of them ended. */
  async figures(fromMs: number, toMs: number): Promise<Figures> {
    const giveUpMs = Date.now() + GIVE_UP_MS;
    while (Date.now() < giveUpMs && this.#sent.some(({ atMs, problem }) => problem === null && atMs >= fromMs && atMs < toMs))
      await sleep(POLL_MS);
    const window = this.#sent.filter(({ atMs }) => atMs >= fromMs && atMs < toMs);
    const failed = window.filter(({ problem }) => problem !== "");
    return {
      sent: window.length,
      failed: failed.length,
      problems: mostFrequent(failed.map(({ kind, problem }) => `${kind}: ${problem ?? "never ended"}`)),
      longestGapMs: Math.max(
        ...["http", "grpc", "tcp"].map((kind) =>
          longestGapMs(
            window.filter((one) => one.kind === kind),
            fromMs,
            toMs,
          ),
        ),
      ),
      lastFailedMs: failed.at(-1)?.atMs ?? null,
    };
  }

  /** Resolves when all requests of the last `forMs` succeeded; false when that is not so within `timeoutMs`. */
  async isSteady(forMs: number, timeoutMs: number): Promise<boolean> {
    const deadlineMs = Date.now() + timeoutMs;
    const sinceMs = Date.now();
    while (Date.now() < deadlineMs) {
      const fromMs = Math.max(sinceMs, Date.now() - forMs);
      const recent = this.#sent.filter(({ atMs }) => atMs >= fromMs);
      const isWell = recent.length > 0 && recent.every(({ problem }) => problem === "" || problem === null);
      if (isWell && Date.now() - sinceMs >= forMs) return true;
      await sleep(POLL_MS);
    }
    return false;
  }
}

function longestGapMs(window: readonly Sent[], fromMs: number, toMs: number): number {
  const ends = window.filter(({ problem }) => problem === "").map(({ endedMs }) => endedMs);
  const instants = [fromMs, ...ends.filter((ms) => ms < toMs).sort((a, b) => a - b), toMs];
  return instants.reduce((longest, ms, at) => Math.max(longest, ms - (instants[at - 1] ?? ms)), 0);
}

function mostFrequent(texts: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_PROBLEMS)
    .map(([text, count]) => `${count}× ${text}`);
}
