// What most say. One server that is cut off, stale or not what it seems must not decide alone where leases are written.

/** What most of `votes` are; the first of those that are named equally often, undefined when there is none. */
export function mostNamed(votes: Iterable<string>): string | undefined {
  const counts = new Map<string, number>();
  for (const vote of votes) counts.set(vote, (counts.get(vote) ?? 0) + 1);
  let most: string | undefined;
  for (const [vote, count] of counts) if (most === undefined || count > (counts.get(most) ?? 0)) most = vote;
  return most;
}

/** Asks all at once; answers of those that answer within `timeoutMs`. Rejects with the first problem when nobody does. */
export async function askAll<Asked, Answer>(
  asked: readonly Asked[],
  timeoutMs: number,
  ask: (one: Asked) => Promise<Answer>,
): Promise<Answer[]> {
  const results = await Promise.allSettled(asked.map((one) => within(timeoutMs, ask(one))));
  const answers = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const problem = results.find((result) => result.status === "rejected")?.reason as unknown;
  if (answers.length === 0) throw problem instanceof Error ? problem : new Error("there is nobody to ask");
  return answers;
}

/** Rejects when `work` takes longer than `ms`. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
