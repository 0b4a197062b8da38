// Keeps the webhook's certificate fresh. The one rule: no leaf is served before the API server has been told to believe its CA, and no CA is taken
// out of the bundle while a replica may still serve its leaf. Replicas share one store; whoever is first makes the next generation for all.
import { randomBytes } from "node:crypto";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { CertificateStore, StoredMaterial } from "./certificate-store.ts";
import { isUsable, makeWebhookMaterial, renewAtMs, type WebhookMaterial, type WebhookNames } from "./webhook-certificate.ts";

/** How often the store is looked at and the bundle is compared. */
export const CHECK_PERIOD_MS = 30_000;
/** Between telling the API servers and serving what they were told of; they learn by watching. */
export const SETTLE_MS = 10_000;
/** Tries to be the one who saves; each loss means that somebody else saved. */
const SAVE_ATTEMPTS = 5;

/** What the keeper works with. */
export interface CertificateKeeperOptions {
  readonly store: CertificateStore;
  /** Makes the API server believe a bundle (PEM); does nothing when it does already. */
  readonly publish: (bundlePem: string) => Promise<void>;
  readonly names: WebhookNames;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when another leaf is to be served, not for the first. */
  readonly onChange: (material: WebhookMaterial) => void;
}

/** A running keeper. */
export interface CertificateKeeper {
  /** What is being served. */
  current(): WebhookMaterial;
  /** The message of the last failed check, or null when it went well. */
  trouble(): string | null;
  close(): Promise<void>;
}

/** Loads or makes the certificate, publishes its CA, and keeps both fresh. Throws when that fails the first time. */
export async function startCertificateKeeper(options: CertificateKeeperOptions): Promise<CertificateKeeper> {
  const { store, publish, names, clock, log, onChange } = options;
  const stored = await store.load();
  // What the API servers believe already is served first, even when it is due; the first check replaces it with the usual pause.
  const known = stored !== null && isUsable(stored.material, names, clock.nowMs()) ? stored.material : null;
  let serving = known ?? (await latest(options)).material;
  await publish(serving.caBundlePem);
  let lastTrouble: string | null = null;
  let settling: { readonly material: WebhookMaterial; readonly timer: Timer } | null = null;
  let checking: Promise<void> | null = null;

  function serve(material: WebhookMaterial): void {
    settling = null;
    serving = material;
    log.info({ renewAt: new Date(renewAtMs(material)).toISOString() }, "webhook certificate replaced");
    onChange(material);
  }

  async function check(): Promise<void> {
    try {
      const { material } = await latest(options);
      await publish(material.caBundlePem);
      lastTrouble = null;
      if (sameLeaf(material, serving) || (settling !== null && sameLeaf(material, settling.material))) return;
      settling?.timer.cancel();
      settling = { material, timer: clock.after(SETTLE_MS, () => serve(material)) };
    } catch (error) {
      lastTrouble = error instanceof Error ? error.message : String(error);
      log.warn({ err: error, place: store.place }, "webhook certificate cannot be checked");
    }
  }

  const ticker = clock.every(CHECK_PERIOD_MS, () => {
    // One at a time: a slow API server must not be asked by ever more of us.
    checking ??= check().finally(() => {
      checking = null;
    });
  });
  return {
    current: () => serving,
    trouble: () => lastTrouble,
    async close() {
      ticker.cancel();
      settling?.timer.cancel();
      await checking;
    },
  };
}

/** The stored generation, after making the next one if it is missing, broken or due. */
async function latest({ store, names, clock, log }: CertificateKeeperOptions): Promise<StoredMaterial> {
  for (let attempt = 1; attempt <= SAVE_ATTEMPTS; attempt += 1) {
    const stored = await store.load();
    const nowMs = clock.nowMs();
    const usable = stored !== null && isUsable(stored.material, names, nowMs);
    if (stored !== null && usable && nowMs < renewAtMs(stored.material)) return stored;
    const made = makeWebhookMaterial(names, nowMs, randomBytes, usable ? stored.material : null);
    if (await store.save(made, stored?.version ?? null))
      log.info({ place: store.place, why: whyMade(stored, usable) }, "webhook certificate made");
  }
  throw new Error(`${store.place} changes faster than a certificate can be saved`);
}

function whyMade(stored: StoredMaterial | null, usable: boolean): string {
  if (stored === null) return "there was none";
  return usable ? "it was due" : "the one there was not usable";
}

function sameLeaf(a: WebhookMaterial, b: WebhookMaterial): boolean {
  return a.certificatePem === b.certificatePem;
}
