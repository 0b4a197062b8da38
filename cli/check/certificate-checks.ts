// The mesh's root and the webhook's certificate: whole, current, and the same wherever they are written down.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { fromPemBundle } from "../../core/x509/pem.ts";
import { formatPin } from "../../core/x509/pin.ts";
import { isUsable, renewAtMs, serviceNames, type WebhookMaterial } from "../../injector/webhook/webhook-certificate.ts";
import { type Check, failed, type Finding, ok, unknown } from "./check.ts";
import { type Cluster, livingPods, secret, secretText } from "./cluster.ts";
import { at, listAt, nameOf, namespaceOf, some, textAt } from "./json.ts";

const DAY_MS = 86_400_000;
const ROOT_WARNING_DAYS = 60;
/** Past its own time for renewal by this much, nobody is renewing it. */
const LATE_MS = DAY_MS;

/** In the order of their output. */
export const certificateChecks: readonly Check[] = [
  {
    id: "ca-secret",
    category: "Certificates",
    title: "the CA's Secret holds a certificate and the key that belongs to it",
    severity: "error",
    when: "after",
    doc: "A control plane that starts with another one issues nothing.",
    needs: ["namespace"],
    async look(cluster) {
      const found = await secret(cluster, "remora-ca");
      if (found === null) return failed(`there is no Secret ${cluster.controlNamespace}/remora-ca`, remakeCa(cluster));
      try {
        const certificate = new X509Certificate(secretText(found, "tls.crt"));
        if (!certificate.checkPrivateKey(createPrivateKey(secretText(found, "tls.key"))))
          return failed("its key is not the key of its certificate", remakeCa(cluster));
        if (!certificate.ca) return failed("its certificate is none of a CA", remakeCa(cluster));
        return ok();
      } catch (error) {
        return failed(`it cannot be read: ${(error as Error).message}`, remakeCa(cluster));
      }
    },
  },
  {
    id: "ca-valid",
    category: "Certificates",
    title: "the CA's certificate is valid now",
    severity: "error",
    when: "after",
    doc: "Nothing that it signed is believed outside of its time.",
    needs: ["ca-secret"],
    async look(cluster) {
      const { validFromDate, validToDate } = await root(cluster);
      const nowMs = cluster.nowMs();
      if (nowMs > validToDate.getTime()) return failed(`it ended on ${validToDate.toISOString()}`, remakeCa(cluster));
      if (nowMs < validFromDate.getTime()) return failed(`it begins on ${validFromDate.toISOString()}`, "timedatectl set-ntp true");
      return ok(`until ${validToDate.toISOString().slice(0, 10)}`);
    },
  },
  {
    id: "ca-days",
    category: "Certificates",
    title: `the CA's certificate is valid for ${ROOT_WARNING_DAYS} days or more`,
    severity: "warning",
    when: "after",
    doc: "A new root has to be believed everywhere before the old one ends.",
    needs: ["ca-valid"],
    async look(cluster) {
      const days = Math.floor(((await root(cluster)).validToDate.getTime() - cluster.nowMs()) / DAY_MS);
      const { controlNamespace } = cluster;
      const fix = `remora ca rotate --plan --kubernetes --control-namespace ${controlNamespace}    # three steps, while everything runs; an issuer is renewed where it is from`;
      return days >= ROOT_WARNING_DAYS ? ok(`${days} days`) : failed(`${days} days are left`, fix);
    },
  },
  {
    id: "trust-bundle",
    category: "Certificates",
    title: "the roots that new sidecars are told to believe include the CA's",
    severity: "error",
    when: "after",
    doc: "A sidecar that does not believe the CA never gets a certificate. The CA writes ConfigMap remora-trust at its start.",
    needs: ["ca-secret"],
    async look(cluster) {
      const { controlNamespace } = cluster;
      const fix = `kubectl -n ${controlNamespace} rollout restart deployment/remora-control`;
      const found = await cluster.get(`/api/v1/namespaces/${controlNamespace}/configmaps/remora-trust`);
      if (found === null) return failed(`there is no ConfigMap ${controlNamespace}/remora-trust`, fix);
      const own = await rootPins(cluster);
      const pins = pinsIn(textAt(found, "data", "pin"));
      const missing = own.find((pin) => !pins.includes(pin));
      if (missing !== undefined) return failed(`it pins ${some(pins, 1) || "nothing"}, a root of the CA is ${missing}`, fix);
      const written = fromPemBundle(textAt(found, "data", "ca.crt")).map(formatPin);
      return own.every((pin) => written.includes(pin)) ? ok(`${pins.length} roots`) : failed("its ca.crt lacks a root of the CA", fix);
    },
  },
  {
    id: "trust-in-pods",
    category: "Certificates",
    title: "running sidecars were told of a root that is still in use",
    severity: "warning",
    when: "after",
    doc: "A sidecar that restarts begins with the roots that its pod was made with.",
    needs: ["trust-bundle"],
    async look(cluster) {
      const current = pinsIn(
        textAt(await cluster.get(`/api/v1/namespaces/${cluster.controlNamespace}/configmaps/remora-trust`), "data", "pin"),
      );
      const stale = (await livingPods(cluster)).filter((pod) => {
        const sidecar = [...listAt(pod, "spec", "initContainers"), ...listAt(pod, "spec", "containers")].find(
          (one) => nameOfContainer(one) === "remora-sidecar",
        );
        const told = listAt(sidecar, "env").find((variable) => textAt(variable, "name") === "REMORA_TRUST_PIN");
        return told !== undefined && !pinsIn(textAt(told, "value")).some((pin) => current.includes(pin));
      });
      const [first] = stale;
      if (first === undefined) return ok();
      const named = stale.map((pod) => `${namespaceOf(pod)}/${nameOf(pod)}`);
      return failed(some(named), `kubectl -n ${namespaceOf(first)} delete pod ${nameOf(first)}    # its owner makes a new one`);
    },
  },
  {
    id: "webhook-certificate",
    category: "Certificates",
    title: "the webhook's certificate is whole, current and for the Service's names",
    severity: "error",
    when: "after",
    doc: "The API server believes no other.",
    needs: ["namespace"],
    async look(cluster) {
      return withMaterial(cluster, (material, fix) =>
        isUsable(material, serviceNames("remora-injector", cluster.controlNamespace), cluster.nowMs())
          ? ok(`until ${new X509Certificate(material.certificatePem).validToDate.toISOString().slice(0, 10)}`)
          : failed("it is damaged, ended, or of another namespace", fix),
      );
    },
  },
  {
    id: "webhook-renewed",
    category: "Certificates",
    title: "the webhook's certificate is being renewed in time",
    severity: "warning",
    when: "after",
    doc: "Injectors make the next one at two thirds of its life. An old one says that no injector gets to it.",
    needs: ["webhook-certificate"],
    async look(cluster) {
      return withMaterial(cluster, (material, fix) => {
        const leftDays = Math.floor((new X509Certificate(material.certificatePem).validToDate.getTime() - cluster.nowMs()) / DAY_MS);
        if (cluster.nowMs() < renewAtMs(material) + LATE_MS) return ok(`${leftDays} days`);
        return failed(`it was due on ${new Date(renewAtMs(material)).toISOString().slice(0, 10)}, ${leftDays} days are left`, fix);
      });
    },
  },
];

/** Pins of the roots that the CA's Secret says are trusted: several in a rotation, and an issuer's root is none of its own. */
async function rootPins(cluster: Cluster): Promise<readonly string[]> {
  const roots = secretText(await secret(cluster, "remora-ca"), "ca.crt");
  return roots === "" ? [formatPin((await root(cluster)).raw)] : fromPemBundle(roots).map(formatPin);
}

async function root(cluster: Cluster): Promise<X509Certificate> {
  return new X509Certificate(secretText(await secret(cluster, "remora-ca"), "tls.crt"));
}

/** Sidecars do not believe a new root until they are made anew; the backup of the old one is better where there is one. */
function remakeCa({ controlNamespace }: Cluster): string {
  const own = `kubectl -n ${controlNamespace}`;
  return `${own} delete secret remora-ca --ignore-not-found && ${own} rollout restart deployment/remora-control    # or put its backup back; then restart the meshed workloads`;
}

async function withMaterial(cluster: Cluster, judge: (material: WebhookMaterial, fix: string) => Finding): Promise<Finding> {
  const fix = `kubectl -n ${cluster.controlNamespace} delete secret remora-injector-tls --ignore-not-found    # an injector makes the next one within 30 s`;
  const found = await secret(cluster, "remora-injector-tls");
  if (found === null)
    return failed(
      `there is no Secret ${cluster.controlNamespace}/remora-injector-tls`,
      `kubectl -n ${cluster.controlNamespace} rollout restart deployment/remora-injector`,
    );
  const material = {
    certificatePem: secretText(found, "tls.crt"),
    privateKeyPem: secretText(found, "tls.key"),
    caBundlePem: secretText(found, "ca.crt"),
  };
  return at(found, "data") === undefined ? unknown("you may not read its content") : judge(material, fix);
}

function pinsIn(text: string): readonly string[] {
  return text
    .split(",")
    .map((pin) => pin.trim())
    .filter((pin) => pin !== "");
}

function nameOfContainer(container: unknown): string {
  return textAt(container, "name");
}
