// Reviews as an API server sends them: the pod of a Deployment with everything that admission, defaulting and the ServiceAccount plugin have put into
// it, and one that is as large as etcd takes.

/** Namespace of every review. */
export const NAMESPACE = "shop";

/** Pod number `index` of one of 50 Deployments, about 7 KB. */
export function ordinaryReview(index: number): string {
  return review(index, pod(index, {}));
}

/** A pod of about `bytes`: 40 containers with long environments, and the rest in the arguments of one. Annotations may only have 256 KB. */
export function largeReview(index: number, bytes: number): string {
  const large = pod(index, { containers: 40, variables: 100 });
  const missing = Math.max(0, bytes - JSON.stringify(large).length);
  large.spec.containers[0]?.args.push('a"\\é'.repeat(Math.floor(missing / 7)));
  return review(index, large);
}

interface Shape {
  readonly containers?: number;
  readonly variables?: number;
}

function review(index: number, object: object): string {
  return JSON.stringify({
    kind: "AdmissionReview",
    apiVersion: "admission.k8s.io/v1",
    request: {
      uid: `705ab4f5-6393-11e8-b7cc-${String(index).padStart(12, "0")}`,
      kind: { group: "", version: "v1", kind: "Pod" },
      resource: { group: "", version: "v1", resource: "pods" },
      requestKind: { group: "", version: "v1", kind: "Pod" },
      requestResource: { group: "", version: "v1", resource: "pods" },
      namespace: NAMESPACE,
      operation: "CREATE",
      userInfo: {
        username: "system:serviceaccount:kube-system:replicaset-controller",
        uid: "6b5a7a5e-0000-4000-8000-000000000000",
        groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
      },
      object,
      oldObject: null,
      dryRun: false,
      options: { kind: "CreateOptions", apiVersion: "meta.k8s.io/v1" },
    },
  });
}

function pod(index: number, { containers = 2, variables = 12 }: Shape) {
  const name = `web-${index % 50}`;
  const volume = `kube-api-access-${String(index % 100_000).padStart(5, "0")}`;
  const mount = { name: volume, readOnly: true, mountPath: "/var/run/secrets/kubernetes.io/serviceaccount" };
  const metadata: { annotations?: Record<string, string>; [field: string]: unknown } = {
    generateName: `${name}-7d4b9c6f5-`,
    namespace: NAMESPACE,
    creationTimestamp: null,
    labels: { app: name, "pod-template-hash": "7d4b9c6f5", "app.kubernetes.io/version": "1.2.3", team: "checkout" },
    annotations: { "prometheus.io/scrape": "true", "remora.io/rate-limit": "100/s burst=200", "remora.io/max-inflight": "512" },
    ownerReferences: [
      {
        apiVersion: "apps/v1",
        kind: "ReplicaSet",
        name: `${name}-7d4b9c6f5`,
        uid: "1c2d3e4f-0000-4000-8000-000000000000",
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
    managedFields: [managedFields(name)],
  };
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata,
    spec: {
      volumes: [
        {
          name: volume,
          projected: {
            sources: [
              { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
              { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
              { downwardAPI: { items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }] } },
            ],
            defaultMode: 420,
          },
        },
        { name: "config", configMap: { name: `${name}-config`, defaultMode: 420 } },
      ],
      containers: Array.from({ length: containers }, (_, number) => container(number, variables, mount)),
      restartPolicy: "Always",
      terminationGracePeriodSeconds: 30,
      dnsPolicy: "ClusterFirst",
      serviceAccountName: "web",
      serviceAccount: "web",
      securityContext: { runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000 },
      schedulerName: "default-scheduler",
      tolerations: [
        { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
        { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
      ],
      priority: 0,
      enableServiceLinks: true,
      preemptionPolicy: "PreemptLowerPriority",
    },
    status: {},
  };
}

function container(number: number, variables: number, mount: object) {
  const port = 8080 + number;
  const probe = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };
  return {
    name: `app-${number}`,
    image: `registry.example.com/team/app-${number}:1.2.3`,
    args: ["--config=/etc/app/config.yaml", "--verbose"],
    ports: [
      { name: `http-${number}`, containerPort: port, protocol: "TCP" },
      { name: `metrics-${number}`, containerPort: port + 1000, protocol: "TCP" },
    ],
    env: Array.from({ length: variables }, (_, index) => ({
      name: `APP_SETTING_${index}`,
      value: `a value of some length, number ${index} of container ${number}`,
    })),
    resources: { limits: { cpu: "1", memory: "512Mi" }, requests: { cpu: "100m", memory: "256Mi" } },
    volumeMounts: [{ name: "config", mountPath: "/etc/app" }, mount],
    livenessProbe: { ...probe, httpGet: { path: "/live", port: `http-${number}`, scheme: "HTTP" } },
    readinessProbe: { ...probe, httpGet: { path: "/ready", port, scheme: "HTTP", httpHeaders: [{ name: "x-probe", value: "ready" }] } },
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    imagePullPolicy: "IfNotPresent",
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true },
  };
}

function managedFields(name: string): object {
  return {
    manager: "kube-controller-manager",
    operation: "Update",
    apiVersion: "v1",
    time: "2026-01-01T00:00:00Z",
    fieldsType: "FieldsV1",
    fieldsV1: {
      "f:metadata": {
        "f:generateName": {},
        "f:labels": { ".": {}, "f:app": {}, "f:pod-template-hash": {} },
        "f:ownerReferences": { ".": {} },
      },
      "f:spec": {
        "f:containers": {
          [`k:{"name":"${name}"}`]: {
            ".": {},
            "f:image": {},
            "f:imagePullPolicy": {},
            "f:name": {},
            "f:resources": {},
            "f:env": { ".": {} },
          },
        },
        "f:dnsPolicy": {},
        "f:enableServiceLinks": {},
        "f:restartPolicy": {},
        "f:schedulerName": {},
        "f:securityContext": {},
        "f:terminationGracePeriodSeconds": {},
      },
    },
  };
}
