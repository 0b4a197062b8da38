// Kubernetes puts variables for every Service of a namespace into its pods (`enableServiceLinks`). A Service called `remora-control` so brings
// REMORA_CONTROL_SERVICE_HOST and its kin, which nobody set and which are no settings.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables

const HOST = /^(.+)_SERVICE_HOST$/;
const ADDRESS = /^(?:tcp|udp|sctp):\/\//;

type Environment = Readonly<Record<string, string | undefined>>;

/** A copy of `env` without the variables that Kubernetes made for Services. What merely looks like one, but has no `_SERVICE_HOST`, stays. */
export function withoutServiceLinks(env: Environment): Environment {
  const links = new Set<string>();
  for (const name of Object.keys(env)) {
    const service = HOST.exec(name)?.[1];
    if (service === undefined || env[`${service}_SERVICE_PORT`] === undefined) continue;
    for (const candidate of Object.keys(env)) {
      if (candidate.startsWith(`${service}_`) && isLink(candidate.slice(service.length + 1), env[candidate] ?? "")) links.add(candidate);
    }
  }
  return links.size === 0 ? env : Object.fromEntries(Object.entries(env).filter(([name]) => !links.has(name)));
}

function isLink(rest: string, value: string): boolean {
  if (rest === "SERVICE_HOST" || /^SERVICE_PORT(?:_[A-Z0-9_]+)?$/.test(rest)) return true;
  if (rest === "PORT") return ADDRESS.test(value); // a Service `remora-admin` must not hide the setting REMORA_ADMIN_PORT
  return /^PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/.test(rest);
}
