// OpenSSL's command line as an oracle: a second opinion on what we write, by code that shares nothing with ours.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs `openssl` with files made of `inputs` (name to content); gives exit code and output. */
export function openssl(
  args: readonly string[],
  inputs: Readonly<Record<string, string | Buffer>> = {},
): { readonly code: number | null; readonly output: string } {
  const folder = mkdtempSync(join(tmpdir(), "remora-openssl-"));
  try {
    for (const [name, content] of Object.entries(inputs)) writeFileSync(join(folder, name), content);
    const result = spawnSync("openssl", [...args], { cwd: folder, encoding: "utf8", timeout: 10_000 });
    return { code: result.status, output: `${result.stdout}${result.stderr}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A CA or leaf made by OpenSSL itself, PEM. */
export function opensslSelfSigned(args: readonly string[]): { readonly cert: string; readonly key: string } {
  const out = execFileSync("openssl", ["req", "-x509", "-noenc", "-keyout", "-", ...args], {
    encoding: "utf8",
    timeout: 10_000,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const key = /-----BEGIN PRIVATE KEY-----[\s\S]*?-----END PRIVATE KEY-----\n/.exec(out)?.[0] ?? "";
  const cert = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n/.exec(out)?.[0] ?? "";
  return { cert, key };
}
