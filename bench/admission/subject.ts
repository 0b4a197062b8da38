// What the benchmark calls: the injector, or the plain server beside it.

/** A running server. */
export interface Subject {
  /** For people. */
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** What its certificate chains to. */
  readonly caPem: string;
  /** A name in its certificate. */
  readonly serverName: string;
}
