// What each service account may do, asked of the API server itself: every rule that is shipped for it, one verb at a time, whatever gives it.
import { type Check, failed, ok } from "./check.ts";
import type { Access, Cluster } from "./cluster.ts";
import { installCommand } from "./control-checks.ts";
import { type ApiObject, listAt, nameOf, namespaceOf, some, textAt, textsAt } from "./json.ts";

/** In the order of their output. */
export const rightsChecks: readonly Check[] = [
  rights("remora-control", "Without them the CA proves no token and the registry knows no Service."),
  rights("remora-injector", "Without them the injector does not start, or stays blind for the cluster around a pod."),
  {
    id: "rights-tokens",
    category: "Rights",
    title: "pods get tokens for the mesh",
    severity: "error",
    when: "after",
    doc: "Tokens with the audience remora.io are how a sidecar proves whose it is.",
    needs: ["namespace"],
    async look({ api, controlNamespace }) {
      const path = `/api/v1/namespaces/${controlNamespace}/serviceaccounts/remora-control/token?dryRun=All`;
      const spec = { audiences: ["remora.io"], expirationSeconds: 3600 };
      const { status, body } = await api.call("POST", path, { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec });
      if (status === 201 || status === 200) return ok();
      if (status === 404) return failed(textAt(body, "message"), installCommand(controlNamespace));
      return { result: "unknown", why: `the API server answers ${status}: ${textAt(body, "message")}` };
    },
  },
];

function rights(account: string, doc: string): Check {
  return {
    id: `rights-${account}`,
    category: "Rights",
    title: `the service account ${account} may do what it has to`,
    severity: "error",
    when: "after",
    doc,
    needs: ["namespace"],
    async look(cluster) {
      const { controlNamespace, get, may } = cluster;
      const fix = installCommand(controlNamespace);
      if ((await get(`/api/v1/namespaces/${controlNamespace}/serviceaccounts/${account}`)) === null)
        return failed("there is no such account", fix);
      const wanted = accessesOf(cluster, account);
      const answers = await Promise.all(wanted.map((access) => may({ namespace: controlNamespace, name: account }, access)));
      const denied = wanted.filter((_, index) => answers[index] !== true);
      if (denied.length === 0) return ok(`${wanted.length} rights`);
      return failed(
        `it may not ${some(denied.map(({ verb, resource, name }) => `${verb} ${resource}${name === undefined ? "" : `/${name}`}`))}`,
        fix,
      );
    },
  };
}

/** What the shipped roles that are bound to the account grant. */
function accessesOf({ shipped, controlNamespace }: Cluster, account: string): readonly Access[] {
  const bindings = shipped.filter(
    (object) =>
      ["ClusterRoleBinding", "RoleBinding"].includes(textAt(object, "kind")) &&
      listAt(object, "subjects").some(
        (one) => nameOf({ metadata: one }) === account && namespaceOf({ metadata: one }) === controlNamespace,
      ),
  );
  return bindings.flatMap((binding) => {
    const [kind, name] = [textAt(binding, "roleRef", "kind"), textAt(binding, "roleRef", "name")];
    const namespace = namespaceOf(binding);
    const role = shipped.find(
      (one) => textAt(one, "kind") === kind && nameOf(one) === name && (kind === "ClusterRole" || namespaceOf(one) === namespace),
    );
    return listAt(role, "rules").flatMap((rule) => ruleAccesses(rule, namespace));
  });
}

function ruleAccesses(rule: ApiObject, namespace: string): readonly Access[] {
  const names = textsAt(rule, "resourceNames");
  return textsAt(rule, "apiGroups").flatMap((group) =>
    textsAt(rule, "resources").flatMap((word) => {
      const [resource = "", subresource] = word.split("/", 2);
      return textsAt(rule, "verbs").flatMap((verb) =>
        (names.length === 0 ? [undefined] : names).map((name) => ({
          verb,
          group,
          resource,
          ...(subresource === undefined ? {} : { subresource }),
          ...(name === undefined ? {} : { name }),
          ...(namespace === "" ? {} : { namespace }),
        })),
      );
    }),
  );
}
