// How `remora run` and `remora token` find the control plane of this machine: a small file in its state folder, written while it runs.
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

const FILE = "control.json";

/** What the file says. */
export interface LocalAddress {
  readonly pid: number;
  readonly host: string;
  readonly trustDomain: string;
  readonly ports: { readonly grpc: number | null; readonly admin: number; readonly webhook: number | null };
}

/** Writes the file, for this user only. */
export async function rememberAddress(stateDir: string, address: LocalAddress): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const draft = join(stateDir, `${FILE}.${address.pid}`);
  await writeFile(draft, `${JSON.stringify(address)}\n`, { mode: 0o600 });
  await chmod(draft, 0o600);
  await rename(draft, join(stateDir, FILE));
}

/** Removes it, unless another control plane with the same folder has taken it over. */
export async function forgetAddress(stateDir: string): Promise<void> {
  const address = await findAddress(stateDir);
  if (address !== null && address.pid !== process.pid) return;
  await rm(join(stateDir, FILE), { force: true });
}

/** Reads it; null when there is none, or nothing readable, or the process that wrote it is gone. */
export async function findAddress(stateDir: string): Promise<LocalAddress | null> {
  try {
    const address = JSON.parse(await readFile(join(stateDir, FILE), "utf8")) as LocalAddress;
    process.kill(address.pid, 0);
    return address;
  } catch (error) {
    // EPERM: it runs as somebody else, which is fine.
    return (error as NodeJS.ErrnoException).code === "EPERM" ? readUnchecked(stateDir) : null;
  }
}

async function readUnchecked(stateDir: string): Promise<LocalAddress> {
  return JSON.parse(await readFile(join(stateDir, FILE), "utf8")) as LocalAddress;
}
