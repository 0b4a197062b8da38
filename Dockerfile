# One image for every part: the sidecar, `remora init` and the control plane. `npm run image` builds and proves it; by hand:
#   buildah build --build-arg BASE=node:26-bookworm-slim@sha256:… --build-arg COMMIT=$(git rev-parse HEAD) -t remora:0.1.0 .
# BASE is any Debian with Node 26 in /usr/local/bin and npm. Nothing runs in it but this build: the image itself starts from nothing and gets Node,
# the bundle, iptables and the libraries of these, with neither shell nor package manager. A release names BASE by digest, so that the same sources
# make the same image; README.md says how to move it.
ARG BASE=node:26-bookworm-slim

FROM ${BASE} AS build
# iptables is for `remora init`; the compiler makes its launcher; the rest is data. What the base has already is not asked for again.
RUN need="iptables ca-certificates tzdata gcc libc6-dev"; \
  dpkg-query --status $need >/dev/null 2>&1 || { apt-get update && apt-get install -y --no-install-recommends $need; }
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# "node" among the development packages pins the Node of a checkout; here the base image's own is used. Behind a proxy of one's own, its certificate
# and npm's settings come in as secrets, which no layer keeps.
RUN --mount=type=cache,target=/root/.npm --mount=type=secret,id=npmrc,target=/root/.npmrc --mount=type=secret,id=ca,target=/run/build-ca.pem \
  if [ -s /run/build-ca.pem ]; then export NODE_EXTRA_CA_CERTS=/run/build-ca.pem; fi; \
  npm ci --include=dev --no-audit --no-fund
COPY . .
ARG COMMIT=
RUN COMMIT=${COMMIT} node bin/bundle.ts dist \
 && gcc -O2 -fPIE -pie -D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wl,-z,relro,-z,now -Wall -Werror -s -o dist/remora dist/launcher.c \
 && mv dist /opt/remora \
 && mkdir /opt/remora/compile-cache && chown 1337:1337 /opt/remora/compile-cache
# A start to ready, for Node's compile cache: it holds for this user, this Node and this path only.
USER 1337:1337
RUN /opt/remora/warm-up
USER 0:0
RUN rm /opt/remora/warm-up /opt/remora/launcher.c && node bin/image/rootfs.ts /opt/remora /rootfs

FROM scratch
ARG BASE
ARG COMMIT=
LABEL org.opencontainers.image.title=remora org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.revision=${COMMIT} \
  org.opencontainers.image.base.name=${BASE}
COPY --from=build /rootfs /
ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin NODE_ENV=production
USER 1337:1337
EXPOSE 15001 15006 15010 15014 15017 15020
ENTRYPOINT ["/usr/local/bin/remora"]
CMD ["--help"]
