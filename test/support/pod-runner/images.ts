// Container images as this machine can run them: `nginx` is Debian's nginx, `redis` its redis-server, `remora` this project, `remora-test/NAME` the test
// app test/support/apps/NAME.ts. Owns the generated configuration of each; tags and registries of an image name do not matter.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LocalImage } from "./container.ts";
import { COMPILE_CACHE_MOUNT, REPOSITORY_MOUNT } from "./mount-script.ts";
import type { Container } from "./pod-spec.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Where generated files of one container may go; a folder of the host that the container sees under the same path. */
export interface ImagePlace {
  readonly folder: string;
  readonly repository: string;
}

/** Finds the local form of an image. @throws Error for an image that nobody knows */
export type ImageMap = (image: string, container: Container, place: ImagePlace) => LocalImage;

export const localImages: ImageMap = (image, container, place) => {
  const path = (image.split("@")[0] ?? "").replace(/:[^/:]+$/, "");
  const name = path.split("/").at(-1) ?? "";
  const testApp = /(?:^|\/)remora-test\/([a-z0-9-]+)$/.exec(path)?.[1];
  if (testApp !== undefined) return nodeImage(place, [`${REPOSITORY_MOUNT}/test/support/apps/${testApp}.ts`]);
  switch (name) {
    case "nginx":
    case "nginx-unprivileged":
      return nginxImage(container, place, name === "nginx" ? 80 : 8080);
    case "redis":
      // The official image's own settings: every interface, no protection, nothing written.
      return imageOf(["redis-server", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--dir", "/tmp"]);
    case "busybox":
    case "alpine":
    case "debian":
    case "curl":
      return imageOf([], ["sleep", "3600"]);
    case "remora":
      return remoraImage(place);
    default:
      throw new Error(`pod runner: image ${image} has no local form`);
  }
};

/** As the project's Dockerfile: entrypoint `remora`, user 1337. */
function remoraImage(place: ImagePlace): LocalImage {
  const bin = join(place.folder, "bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "remora"), `#!/bin/sh\nexec ${REPOSITORY_MOUNT}/bin/remora "$@"\n`, { mode: 0o755 });
  writeFileSync(join(bin, "node"), `#!/bin/sh\nexec ${nodeIn(place)} "$@"\n`, { mode: 0o755 });
  const env = { PATH: `${bin}:${DEFAULT_PATH}`, HOME: "/", NODE_COMPILE_CACHE: COMPILE_CACHE_MOUNT };
  return { ...imageOf([join(bin, "remora")]), user: 1337, env };
}

function nodeImage(place: ImagePlace, argv: readonly string[]): LocalImage {
  const { entrypoint, env } = imageOf([nodeIn(place), ...argv]);
  return { entrypoint, user: 1000, env: { ...env, NODE_COMPILE_CACHE: COMPILE_CACHE_MOUNT } };
}

function nginxImage(container: Container, place: ImagePlace, port: number): LocalImage {
  const hasOwnServers = container.volumeMounts?.some((mount) => mount.mountPath.startsWith("/etc/nginx/conf.d")) === true;
  const server = `server {
    listen ${port}; listen [::]:${port};
    location / { default_type text/plain; return 200 "hello from nginx\\nhost: $host\\nclient: $http_x_forwarded_client_cert\\n"; }
    location /echo { default_type application/json; return 200 '{"host":"$host","remote":"$remote_addr","xfcc":"$http_x_forwarded_client_cert","requestId":"$http_x_request_id"}'; }
    location /upload { client_max_body_size 64m; proxy_pass http://unix:${place.folder}/self.sock; }
    location /files/ { alias ${place.folder}/files/; }
  }
  server { listen unix:${place.folder}/self.sock; client_max_body_size 64m; location / { return 200 "stored\\n"; } }`;
  mkdirSync(join(place.folder, "files"), { recursive: true });
  writeFileSync(join(place.folder, "files", "1k.txt"), "x".repeat(1024));
  writeFileSync(join(place.folder, "files", "1m.bin"), "m".repeat(1024 * 1024));
  const temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${place.folder}/${name};`).join(" ");
  writeFileSync(
    join(place.folder, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${place.folder}/nginx.pid; error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log /dev/stdout; ${temps} keepalive_requests 1000000;
  ${hasOwnServers ? "include /etc/nginx/conf.d/*.conf;" : server}
}
`,
  );
  return imageOf(["nginx", "-e", "stderr", "-c", join(place.folder, "nginx.conf")]);
}

function imageOf(entrypoint: readonly string[], cmd: readonly string[] = []): LocalImage {
  return { entrypoint, cmd, env: { PATH: DEFAULT_PATH, HOME: "/" } };
}

/** The Node that runs the tests; by its path inside the container when it is the pinned one of this repository. */
function nodeIn({ repository }: ImagePlace): string {
  return process.execPath.startsWith(`${repository}/`) ? REPOSITORY_MOUNT + process.execPath.slice(repository.length) : process.execPath;
}
