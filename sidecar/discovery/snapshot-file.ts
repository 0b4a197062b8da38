// The last known destinations on disk (design 8, 12), so that a sidecar that starts while the registry is away still finds its way. Written beside
// and renamed, so that a reader never sees half a file; a disk that cannot be written costs this fallback and nothing else.
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { Remembered } from "./snapshot-format.ts";
import { formatSnapshot, parseSnapshot } from "./snapshot-format.ts";

const FILE_NAME = "destinations.json";
const GATHER_MS = 1000;
const MAX_FILE_BYTES = 32 * 1024 * 1024;

/** The file operations used; tests make them fail. */
export interface SnapshotFiles {
  write(path: string, text: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
}

/** The file of one sidecar. */
export interface SnapshotFile {
  /** Saves soon; changes within a second share one write. */
  changed(): void;
  /** Writes what is due and stops. */
  close(): Promise<void>;
}

/** Settings of {@link createSnapshotFile}. */
export interface SnapshotFileOptions {
  readonly stateDir: string;
  readonly identity: SpiffeId;
  readonly collect: () => Iterable<Remembered>;
  readonly onError: () => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly files?: SnapshotFiles;
}

const realFiles: SnapshotFiles = {
  async write(path, text) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(path, text, { mode: 0o600 });
  },
  rename,
};

/** Makes the writer. */
export function createSnapshotFile(options: SnapshotFileOptions): SnapshotFile {
  const { stateDir, identity, collect, onError, clock, log, files = realFiles } = options;
  const path = join(stateDir, FILE_NAME);
  const temporary = `${path}.new`;
  let due = false;
  let writing: Promise<void> | null = null;
  let problem = "";
  let timer: Timer | null = null;

  function saveSoon(): void {
    timer?.cancel();
    timer = clock.after(GATHER_MS, () => void save());
  }

  async function save(): Promise<void> {
    if (writing !== null) return; // `write` looks at `due` again when it is done
    due = false;
    writing = write();
    await writing;
    writing = null;
    if (due) saveSoon();
  }

  async function write(): Promise<void> {
    try {
      const text = formatSnapshot(identity, collect());
      if (text.length > MAX_FILE_BYTES) throw new Error(`${text.length} bytes of destinations, at most ${MAX_FILE_BYTES} are saved`);
      await files.write(temporary, text);
      await files.rename(temporary, path);
      problem = "";
    } catch (error) {
      onError();
      const message = (error as Error).message;
      if (problem === "")
        log.warn({ path, problem: message }, "destinations cannot be saved; a restart while the registry is away will not know them");
      problem = message;
      await rm(temporary, { force: true }).catch(() => {});
    }
  }

  return {
    changed() {
      if (due) return;
      due = true;
      if (writing === null) saveSoon();
    },
    async close() {
      timer?.cancel();
      await writing;
      timer?.cancel();
      if (due) await save();
      timer?.cancel();
    },
  };
}

/** Reads the file of `identity`. A missing one is empty; a corrupt, oversized or foreign one is logged and empty. */
export async function loadSnapshotFile(stateDir: string, identity: SpiffeId, log: Logger): Promise<readonly Remembered[]> {
  const path = join(stateDir, FILE_NAME);
  try {
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) throw new RangeError(`${size} bytes, at most ${MAX_FILE_BYTES} are read`);
    return parseSnapshot(await readFile(path, "utf8"), identity);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    log.warn({ path, problem: (error as Error).message }, "ignoring the saved destinations");
    return [];
  }
}
