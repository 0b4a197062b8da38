// The CA on a laptop or VM: one file under the state folder, mode 0600. Certificate and key share the file, so that no reader can see one without the other;
// `link` refuses to replace, so that of racing processes exactly one makes it, and a lock beside it lets one at a time replace it.
import { createHash, randomUUID } from "node:crypto";
import { link, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CertError } from "../core/errors.ts";
import { fromPemBundle } from "../core/x509/pem.ts";
import type { AuthorityData } from "./authority-data.ts";
import { DATA_KEYS } from "./authority-data.ts";
import { changedMeanwhile, type Kept, type RootStore } from "./root-store.ts";

/** Certificate and key, for the CA alone. */
const ROOT_FILE = "ca-root.pem";
/** The roots without any key, for `remora token`, and for people and their `openssl verify`. */
const PUBLIC_FILE = "ca.crt";
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/;
const KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----\n?/;
/** Stands before each text of a file that holds more than one pair. */
const HEADING = /^# remora (\S+)\n/m;

/** Keeps the CA in `folder`, which is made (0700) when missing. */
export function createFileRootStore(folder: string): RootStore {
  const file = join(folder, ROOT_FILE);

  async function load(): Promise<Kept | null> {
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw new CertError("unavailable", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
    }
    return { data: parseText(text), version: createHash("sha256").update(text).digest("hex") };
  }

  async function create(data: AuthorityData): Promise<Kept> {
    const draft = `${file}.${randomUUID()}`;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeDurably(draft, formatText(data));
      await link(draft, file).catch(ignoreExisting);
    } catch (error) {
      throw new CertError("unavailable", `cannot keep the CA's root in ${folder}: ${(error as Error).message}`, { cause: error });
    } finally {
      await rm(draft, { force: true });
    }
    const kept = await load();
    if (kept === null) throw new CertError("unavailable", `${file} vanished while it was made`);
    return kept;
  }

  async function replace(data: AuthorityData, version: string): Promise<void> {
    const unlock = await lock(`${file}.lock`, file);
    const draft = `${file}.${randomUUID()}`;
    try {
      if ((await load())?.version !== version) throw changedMeanwhile(file);
      await writeDurably(draft, formatText(data));
      await rename(draft, file);
    } catch (error) {
      if (error instanceof CertError) throw error;
      throw new CertError("unavailable", `cannot write ${file}: ${(error as Error).message}`, { cause: error });
    } finally {
      await rm(draft, { force: true });
      await unlock();
    }
  }

  return { place: file, load, create, replace };
}

/** One at a time. A lock whose process is gone, killed half-way, does not count: what it wrote is whole or not there. */
async function lock(file: string, guarded: string): Promise<() => Promise<void>> {
  const unlock = () => rm(file, { force: true });
  try {
    await writeFile(file, String(process.pid), { flag: "wx", mode: 0o600 });
    return unlock;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST")
      throw new CertError("unavailable", `cannot lock ${guarded}: ${(error as Error).message}`, { cause: error });
  }
  const holder = Number(await readFile(file, "utf8").catch(() => ""));
  if (holder > 0 && isAlive(holder))
    throw new CertError("conflict", `${guarded} is being changed by process ${holder}; nothing was done, ask again`);
  await unlock();
  await writeFile(file, String(process.pid), { flag: "wx", mode: 0o600 }).catch(() => {
    throw new CertError("conflict", `${guarded} is being changed by somebody else; nothing was done, ask again`);
  });
  return unlock;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The pair that signs comes first: an older version reads just that, and goes on with it. */
function formatText(data: AuthorityData): string {
  const given = DATA_KEYS.filter((key) => (data[key] ?? "") !== "");
  if (given.every((key) => key === "tls.crt" || key === "tls.key")) return `${data["tls.crt"] ?? ""}${data["tls.key"] ?? ""}`;
  return given.map((key) => `# remora ${key}\n${data[key]?.trimEnd()}\n`).join("");
}

function parseText(text: string): AuthorityData {
  if (!HEADING.test(text)) return { "tls.crt": CERTIFICATE.exec(text)?.[0] ?? "", "tls.key": KEY.exec(text)?.[0] ?? "" };
  const [, ...parts] = text.split(/^# remora (\S+)\n/m);
  const found = new Map<string, string>();
  for (let at = 0; at + 1 < parts.length; at += 2) found.set(parts[at] ?? "", parts[at + 1] ?? "");
  return Object.fromEntries(DATA_KEYS.flatMap((key) => (found.has(key) ? [[key, found.get(key)]] : []))) as AuthorityData;
}

/** Writes the roots beside the state, wherever the CA's key comes from. */
export async function writePublicRoots(folder: string, rootsPem: string): Promise<void> {
  const draft = join(folder, `${PUBLIC_FILE}.${randomUUID()}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(draft, rootsPem, { mode: 0o644 });
  await rename(draft, join(folder, PUBLIC_FILE));
}

/** What {@link writePublicRoots} wrote, DER; throws `CertError("unavailable")` when no control plane has run with `folder` yet. */
export async function readPublicRoots(folder: string): Promise<Buffer[]> {
  const file = join(folder, PUBLIC_FILE);
  try {
    return fromPemBundle(await readFile(file, "utf8"));
  } catch (cause) {
    throw new CertError("unavailable", `no mesh in ${folder} (${file} cannot be read): start the control plane first`, { cause });
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
