// The peer of the injector in its benchmark; see plain-server.ts.
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import { startHop } from "../load/hop-process.ts";
import type { StartProcess } from "../load/processes.ts";
import { TLS_NAME, writeTlsFiles } from "../load/tls-files.ts";
import { onCore } from "./cores.ts";
import type { PlainServerOptions } from "./plain-server.ts";
import type { Subject } from "./subject.ts";

const PROGRAM = join(import.meta.dirname, "plain-server.ts");

/** Starts it on `core`; whatever is asked, it answers `answer`. */
export async function startPlain(parent: string, start: StartProcess, core: number, answer: string): Promise<Subject> {
  const folder = join(parent, "plain");
  await mkdir(folder);
  const files = await writeTlsFiles(folder);
  const [port = 0] = await freePorts(1);
  const options: PlainServerOptions = { port, files, answer };
  const command = onCore(core, { command: process.execPath, arguments: [PROGRAM, JSON.stringify(options)] });
  const { pid } = await startHop({ ...command, port, folder, start });
  return { name: "plain node:https", pid, port, caPem: await readFile(files.ca, "utf8"), serverName: TLS_NAME };
}
