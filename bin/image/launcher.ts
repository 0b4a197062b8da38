// What stands behind the name `remora` in a bundle: it chooses the program, Node's options and the memory allocator's settings. One table, printed
// twice: as a shell script, for bundles anywhere, and as C, for the image, so that the image needs no shell. The two behave alike.

/** Options of Node for both programs. DEP0060 and DEP0169: http-proxy 1.18 calls util._extend and url.parse. */
const QUIET = ["--disable-warning=DEP0060", "--disable-warning=DEP0169"];

/** Bounds on memory that bench/README.md explains. */
const SIDECAR_NODE_OPTIONS = ["--max-semi-space-size=2", "--no-async-context-frame", ...QUIET];
/** Set unless they are set already. */
const SIDECAR_VARIABLES: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "131072" };

/**
 * Found through symlinks, like bin/remora of a checkout. A sidecar without further words, as in pods, starts without the command line around it,
 * and with the compile cache where there is one.
 */
export function shellLauncher(): string {
  const variables = Object.entries(SIDECAR_VARIABLES).map(([name, value]) => `${name}="\${${name}:-${value}}"`);
  return `#!/bin/sh
self=$(readlink -f "$0")
if [ "$*" = sidecar ]; then
  [ -d "\${self%/*}/compile-cache" ] && export NODE_COMPILE_CACHE="\${self%/*}/compile-cache"
  export ${variables.join(" ")}
  exec node ${SIDECAR_NODE_OPTIONS.join(" ")} "\${self%/*}/sidecar.mjs" sidecar
fi
exec node ${QUIET.join(" ")} "\${self%/*}/remora.mjs" "$@"
`;
}

/** The same in C, for a bundle in the folder `home` that is run by the program `node`, both absolute. */
export function launcherSource({ home, node }: { readonly home: string; readonly node: string }): string {
  const list = (words: readonly string[]) => words.map((word) => JSON.stringify(word)).join(", ");
  const variables = Object.entries(SIDECAR_VARIABLES).map(
    ([name, value]) => `    set(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
  );
  return `/* Made by bin/image/launcher.ts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set(const char *name, const char *value) {
  const char *present = getenv(name);
  if ((present == NULL || *present == 0) && setenv(name, value, 1) != 0) {
    perror("remora: setenv");
    exit(126);
  }
}

int main(int argc, char **argv) {
  static const char *const sidecar[] = {${list([node, ...SIDECAR_NODE_OPTIONS, `${home}/sidecar.mjs`])}};
  static const char *const others[] = {${list([node, ...QUIET, `${home}/remora.mjs`])}};
  int alone = argc == 2 && strcmp(argv[1], "sidecar") == 0;
  const char *const *first = alone ? sidecar : others;
  size_t count = alone ? sizeof sidecar / sizeof *sidecar : sizeof others / sizeof *others;
  const char **words = calloc(count + (size_t)argc + 1, sizeof *words);
  if (words == NULL) {
    perror("remora");
    return 126;
  }
  memcpy(words, first, count * sizeof *words);
  for (int i = 1; i < argc; i++) words[count + (size_t)i - 1] = argv[i];
  if (alone) {
    setenv("NODE_COMPILE_CACHE", ${JSON.stringify(`${home}/compile-cache`)}, 1);
${variables.join("")}  }
  execv(words[0], (char *const *)words);
  perror(${JSON.stringify(`remora: ${node}`)});
  return 127;
}
`;
}
