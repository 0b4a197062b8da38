// Memory that the processes of one sidecar share: an anonymous file (memfd_create) that each of them maps. Owns the native calls; who puts what where
// is memory-layout.ts. Atomics work on it as on a SharedArrayBuffer: the CPU does not care how two processes came to the same page. It has no name,
// so nobody else can open it, and it goes with the last process. koffi is loaded only here, so that a sidecar of one process never pays for it.
import { createRequire } from "node:module";
import { ConfigError } from "../../core/errors.ts";

/** From linux/memfd.h, bits/mman.h. */
const MFD_CLOEXEC = 1;
const PROT_READ_AND_WRITE = 3;
const MAP_SHARED = 1;

type MemfdCreate = (name: string, flags: number) => number;
type Ftruncate = (fd: number, bytes: number) => number;
type Mmap = (address: null, bytes: number, protection: number, flags: number, fd: number, offset: number) => unknown;

/** Shared memory and how to hand it on. */
export interface SharedMemory {
  readonly buffer: ArrayBuffer;
  /** Passed to a child as one of its descriptors, which gives it to {@link mapSharedMemory}. Open as long as the process. */
  readonly fd: number;
}

/**
 * Makes `bytes` of zeros. Pages cost nothing before they are touched.
 * @throws ConfigError("invalid_settings") where it cannot be had: not Linux, or no koffi for this machine.
 */
export function createSharedMemory(bytes: number): SharedMemory {
  if (process.platform !== "linux") throw unavailable(`it needs Linux, this is ${process.platform}`);
  const libc = loadLibc();
  const memfdCreate = libc.func("int memfd_create(const char *name, unsigned int flags)") as unknown as MemfdCreate;
  const ftruncate = libc.func("int ftruncate(int fd, int64_t length)") as unknown as Ftruncate;
  const fd = memfdCreate("remora-workers", MFD_CLOEXEC);
  if (fd < 0) throw unavailable("memfd_create failed");
  if (ftruncate(fd, bytes) !== 0) throw unavailable(`${bytes} bytes of shared memory cannot be had`);
  return { buffer: mapSharedMemory(fd, bytes), fd };
}

/** Maps what another process made. Mapped for as long as the process lives. @throws ConfigError("invalid_settings") */
export function mapSharedMemory(fd: number, bytes: number): ArrayBuffer {
  const koffi = loadKoffi();
  const libc = koffi.load(null);
  const mmap = libc.func("void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)") as unknown as Mmap;
  const address = mmap(null, bytes, PROT_READ_AND_WRITE, MAP_SHARED, fd, 0);
  // MAP_FAILED is the highest address there is, which no mapping can have.
  if (BigInt.asIntN(64, koffi.address(address)) === -1n) throw unavailable(`${bytes} bytes of shared memory cannot be mapped`);
  return koffi.view(address, bytes);
}

function loadLibc() {
  // null = symbols of the running process: the same calls work with glibc and musl.
  return loadKoffi().load(null);
}

function loadKoffi(): typeof import("koffi") {
  try {
    return createRequire(import.meta.url)("koffi") as typeof import("koffi");
  } catch (cause) {
    throw unavailable("koffi has no binary for this machine", cause);
  }
}

function unavailable(why: string, cause?: unknown): ConfigError {
  return new ConfigError("invalid_settings", `REMORA_WORKERS above 1 cannot work here: ${why}`, { cause });
}
