// Says which port, and whose setting it is, when a listener cannot be opened.

/** Thrown when a port cannot be listened on. */
export class ListenError extends Error {
  readonly code = "listen_failed";
}

/** Runs `start`; its listen errors become one line that names the setting. Everything else passes. */
export async function listening<T>(variable: string, host: string, port: number, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (cause) {
    const why = reasonOf(cause);
    if (why === null) throw cause;
    throw new ListenError(`cannot listen on ${host.includes(":") ? `[${host}]` : host}:${port} (${variable}): ${why}`, { cause });
  }
}

function reasonOf(error: unknown): string | null {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EADDRINUSE":
      return "the port is already in use; is another one running?";
    case "EACCES":
      return "this user may not use the port; ports below 1024 need root";
    case "EADDRNOTAVAIL":
      return "this machine does not have the address";
    default:
      return null;
  }
}
