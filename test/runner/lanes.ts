// Work for several lanes at once. Each lane walks a stretch of its own, so that neighbours in the list, which load the same parts of the machine, rarely
// run at the same time; a lane that is done takes from the end of the longest stretch.

/** Runs `work` for each item, at most `lanes` at once; resolves when all are done. */
export async function inLanes<Item>(items: readonly Item[], lanes: number, work: (item: Item) => Promise<void>): Promise<void> {
  const length = Math.ceil(items.length / lanes);
  const stretches = Array.from({ length: lanes }, (_, lane) => items.slice(lane * length, (lane + 1) * length));

  function next(own: Item[]): Item | undefined {
    if (own.length > 0) return own.shift();
    return stretches.reduce((longest, stretch) => (stretch.length > longest.length ? stretch : longest)).pop();
  }
  await Promise.all(
    stretches.map(async (own) => {
      for (let item = next(own); item !== undefined; item = next(own)) await work(item);
    }),
  );
}
