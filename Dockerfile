# One image for every part: the sidecar, `remora init` and the control plane.
#   buildah build --build-arg COMMIT=$(git rev-parse HEAD) -t remora:0.1.0 .
# BASE may be any image with Node 26 and apt; pin it by digest for a release, e.g. --build-arg BASE=node@sha256:….
ARG BASE=node:26-bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# "node" among the development packages pins the Node of a checkout; here the base image's own is used.
RUN npm ci --include=dev --no-audit --no-fund
COPY . .
ARG COMMIT=
RUN COMMIT=${COMMIT} npm run bundle

FROM ${BASE}
# iptables is for `remora init`. The package managers of the base are not needed any more, so they cannot be misused.
RUN apt-get update \
 && apt-get install -y --no-install-recommends iptables \
 && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /opt/yarn-*
COPY --from=build /src/dist /opt/remora
RUN ln -s /opt/remora/remora /usr/local/bin/remora && ln -s /opt/remora/remora /remora && mkdir -p /var/run/remora && chown 1337:1337 /var/run/remora
ENV NODE_ENV=production
RUN mkdir /opt/remora/compile-cache && chown 1337:1337 /opt/remora/compile-cache
USER 1337:1337
# A start to ready, for Node's compile cache: it holds for this user, this Node and this path only.
RUN /opt/remora/warm-up
EXPOSE 15001 15006 15010 15014 15017 15020
ENTRYPOINT ["/usr/local/bin/remora"]
CMD ["--help"]
