// Ports for programs that cannot be asked to pick one themselves.
import { freePorts } from "../../cli/run/free-ports.ts";

/** A TCP port on `host` that was free a moment ago. Servers of ours listen on port 0 instead. */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  const [port] = await freePorts(1, host);
  return port as number; // as many as asked for
}
