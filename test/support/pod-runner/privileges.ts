// As whom a container's process runs: user, groups, capabilities and no_new_privs of its security context, as arguments of setpriv.
import type { Container, Pod, SecurityContext } from "./pod-spec.ts";

/** A test process that is killed takes its pods with it. Also the mark of a process that is not yet the container's own program. */
export const DIE_WITH_TEST = "--pdeathsig=KILL";

/** What containerd grants by default. */
const DEFAULT_CAPABILITIES = [
  "chown",
  "dac_override",
  "fowner",
  "fsetid",
  "kill",
  "setgid",
  "setuid",
  "setpcap",
  "net_bind_service",
  "net_raw",
  "sys_chroot",
  "mknod",
  "audit_write",
  "setfcap",
];

/** @throws Error for runAsNonRoot with user 0, as a kubelet. `asUid` replaces the container's user. */
export function privilegeArgs(
  { pod, container, imageUser }: { readonly pod: Pod; readonly container: Container; readonly imageUser: number },
  asUid?: number,
): readonly string[] {
  const own: SecurityContext = { ...pod.spec.securityContext, ...container.securityContext };
  const uid = asUid ?? own.runAsUser ?? imageUser;
  if (own.runAsNonRoot === true && uid === 0) throw new Error(`container ${container.name} has runAsNonRoot and would run as root`);
  const gid = own.runAsGroup ?? imageUser;
  const capabilities = grantedCapabilities(own);
  return [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    own.fsGroup === undefined ? "--clear-groups" : `--groups=${own.fsGroup}`,
    "--inh-caps=-all",
    ...(own.privileged === true ? [] : [`--bounding-set=-all${capabilities.map((name) => `,+${name}`).join("")}`]),
    ...(own.allowPrivilegeEscalation === false ? ["--no-new-privs"] : []),
    DIE_WITH_TEST,
  ];
}

function grantedCapabilities(context: SecurityContext): readonly string[] {
  const plain = (names: readonly string[] = []) => names.map((name) => name.toLowerCase().replace(/^cap_/, ""));
  const dropped = plain(context.capabilities?.drop);
  const kept = dropped.includes("all") ? [] : DEFAULT_CAPABILITIES.filter((name) => !dropped.includes(name));
  return [...new Set([...kept, ...plain(context.capabilities?.add)])];
}
