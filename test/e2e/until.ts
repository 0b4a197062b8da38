// Waiting for something to become true, with a deadline and a name for the error.

/** Polls until `isTrue` says so. @throws Error naming `what` after `timeoutMs` */
export async function until(what: string, timeoutMs: number, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (!(await isTrue())) {
    if (Date.now() > deadlineMs) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
