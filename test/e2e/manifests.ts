// The workloads of the end-to-end tests, as a team that knows nothing of Remora would write them. Nothing here is made for the mesh but the annotations
// that a user of the mesh would set.

/** An unmodified web server with every kind of probe, and its Service on another port than the container's. */
export const NGINX = `
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  replicas: 1
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      serviceAccountName: web
      containers:
        - name: nginx
          image: nginx:1.29
          ports: [{ name: http, containerPort: 80 }]
          startupProbe: { tcpSocket: { port: http }, periodSeconds: 1, failureThreshold: 30 }
          readinessProbe: { httpGet: { path: /, port: http }, periodSeconds: 1 }
          livenessProbe: { exec: { command: ["test", "-e", "/proc/1"] }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  selector: { app: web }
  ports: [{ name: http, port: 8000, targetPort: http }]
`;

/** Opaque TCP whose server does not speak first but whose port says that it is opaque. */
export const REDIS = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: cache, namespace: shop }
spec:
  selector: { matchLabels: { app: cache } }
  template:
    metadata: { labels: { app: cache } }
    spec:
      serviceAccountName: cache
      containers:
        - name: redis
          image: redis:8-alpine
          ports: [{ name: redis, containerPort: 6379 }]
          readinessProbe: { exec: { command: ["redis-cli", "ping"] }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: cache, namespace: shop }
spec:
  selector: { app: cache }
  ports: [{ name: redis, port: 6379 }]
`;

/** HTTP and WebSocket. */
export const CHAT = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: chat, namespace: shop }
spec:
  selector: { matchLabels: { app: chat } }
  template:
    metadata: { labels: { app: chat } }
    spec:
      serviceAccountName: chat
      containers:
        - name: app
          image: example.test/remora-test/web-echo:1
          ports: [{ containerPort: 8080 }]
          readinessProbe: { httpGet: { path: /healthz, port: 8080 }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: chat, namespace: shop }
spec:
  selector: { app: chat }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
`;

/** Opaque TCP whose server speaks first, on a port of which nobody says so. */
export const GREETER = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: greeter, namespace: shop }
spec:
  selector: { matchLabels: { app: greeter } }
  template:
    metadata: { labels: { app: greeter } }
    spec:
      serviceAccountName: greeter
      containers:
        - name: app
          image: example.test/remora-test/tcp-greeter:1
          ports: [{ containerPort: 2500 }]
---
apiVersion: v1
kind: Service
metadata: { name: greeter, namespace: shop }
spec:
  selector: { app: greeter }
  ports: [{ port: 2500 }]
`;

/** A web server that speaks TLS itself, with its configuration and key from a ConfigMap. */
export const SECURE = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: secure, namespace: shop }
spec:
  selector: { matchLabels: { app: secure } }
  template:
    metadata: { labels: { app: secure } }
    spec:
      serviceAccountName: secure
      volumes: [{ name: conf, configMap: { name: secure } }]
      containers:
        - name: nginx
          image: nginx:1.29
          ports: [{ containerPort: 443 }]
          readinessProbe: { httpGet: { path: /, port: 443, scheme: HTTPS }, periodSeconds: 1 }
          volumeMounts: [{ name: conf, mountPath: /etc/nginx/conf.d, readOnly: true }]
---
apiVersion: v1
kind: Service
metadata: { name: secure, namespace: shop }
spec:
  selector: { app: secure }
  ports: [{ port: 443 }]
`;

/** gRPC. */
export const ECHO = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: echo, namespace: shop }
spec:
  selector: { matchLabels: { app: echo } }
  template:
    metadata: { labels: { app: echo } }
    spec:
      serviceAccountName: echo
      containers:
        - name: app
          image: example.test/remora-test/grpc-echo:1
          ports: [{ name: grpc, containerPort: 9090 }]
          readinessProbe: { tcpSocket: { port: 9090 }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: echo, namespace: shop }
spec:
  selector: { app: echo }
  ports: [{ name: grpc, port: 9090, appProtocol: grpc }]
`;

/** A workload that only calls others. In the namespace \`shop\` it is meshed, in \`legacy\` it is not. */
export function client(namespace: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: ${namespace}, labels: { app: client } }
spec:
  serviceAccountName: client
  containers:
    - name: app
      image: busybox:1
      securityContext: { runAsUser: 1000 }
`;
}

/** The same manifest with annotations on its pods. */
export function annotated(manifest: string, annotations: Readonly<Record<string, string>>): string {
  const text = JSON.stringify(annotations);
  return manifest.replace(
    /metadata: \{ labels: (\{[^}]*\}) \}/,
    (_whole, labels: string) => `metadata: { labels: ${labels}, annotations: ${text} }`,
  );
}

/** The same manifest with another number of replicas. */
export function scaled(manifest: string, replicas: number): string {
  return manifest.replace(/^spec:\n(?: {2}replicas: \d+\n)?(?= {2}selector: \{ matchLabels)/m, `spec:\n  replicas: ${replicas}\n`);
}

/** The same manifest under another name: of the Deployment, its Service, its account and its labels. */
export function renamed(manifest: string, from: string, to: string): string {
  return manifest.replace(/^metadata: .*$|app: \w+|serviceAccountName: \w+/gm, (text) =>
    text.replaceAll(new RegExp(`\\b${from}\\b`, "g"), to),
  );
}
