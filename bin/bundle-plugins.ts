// How the bundle takes in what esbuild would take in otherwise: CommonJS packages that are imported lazily, and Node's own modules.
import { isBuiltin } from "node:module";
import type { Plugin } from "esbuild";

/** An export's name that can be written as such. */
const PLAIN_NAME = /^[A-Za-z_$][\w$]*$/;
const RESERVED = new Set(["default", "import"]);

/** Exports of Node that are made when first read, cheaply; all others of that kind are left out of the bundle's modules. */
const CHEAP_GETTERS: ReadonlySet<string> = new Set(["promises", "BlockList", "SocketAddress", "AsyncLocalStorage"]);

/**
 * `await import("ioredis")` gives a CommonJS package's names in Node, but only `default` in a bundle that is split into ES modules. So what is
 * imported lazily becomes a small module that names what Node would. `external` are packages that the bundle does not hold.
 */
export function namesOfLazyCommonJs({
  external,
  resolveDir,
}: {
  readonly external: readonly string[];
  readonly resolveDir: string;
}): Plugin {
  return {
    name: "names of lazily imported CommonJS",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^[^./]/ }, ({ kind, path }) => {
        if (kind !== "dynamic-import" || path.startsWith("node:") || external.includes(path)) return null;
        return { path, namespace: "lazy" };
      });
      onLoad({ filter: /.*/, namespace: "lazy" }, async ({ path }) => {
        const names = Object.keys((await import(path)) as object);
        // Node adds this name to the namespace of CommonJS, and of nothing else.
        const isCommonJs = names.includes("module.exports");
        const exported = names.filter((name) => name !== "default" && PLAIN_NAME.test(name));
        const quoted = JSON.stringify(path);
        const contents = isCommonJs
          ? [
              `const whole = require(${quoted});`,
              "export default whole;",
              ...exported.map((name) => `const _${name} = whole.${name}; export { _${name} as ${name} };`),
            ]
          : [`export * from ${quoted};`, ...(names.includes("default") ? [`export { default } from ${quoted};`] : [])];
        return { contents: contents.join("\n"), resolveDir };
      });
    },
  };
}

/**
 * `import … from "node:http"` makes Node read every export of it, also those that it makes when first read: fetch and WebSocket, WebCrypto, the public
 * roots of TLS. That is 3.5 MB of private memory and 35 ms (Node 26.10). So Node's modules are asked for as CommonJS does, without what
 * is made on first read. Whoever imports such a name gets a build error, not undefined.
 */
export const builtinsWithoutGetters: Plugin = {
  name: "Node's modules without what they make on first read",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(?:node:)?[a-z]/ }, ({ kind, path }) =>
      kind === "import-statement" && isBuiltin(path)
        ? { path: path.startsWith("node:") ? path : `node:${path}`, namespace: "builtin", sideEffects: false }
        : null,
    );
    onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => {
      const names = plainNames(process.getBuiltinModule(path));
      return {
        contents: `const whole = process.getBuiltinModule(${JSON.stringify(path)}); export default whole; export const { ${names.join(", ")} } = whole;`,
      };
    });
  },
};

function plainNames(whole: object | undefined): readonly string[] {
  if (whole === undefined) throw new Error("the Node that bundles lacks a module that it says it has");
  const properties = Object.entries(Object.getOwnPropertyDescriptors(whole));
  return properties
    .filter(([name, { get }]) => PLAIN_NAME.test(name) && !RESERVED.has(name) && (get === undefined || CHEAP_GETTERS.has(name)))
    .map(([name]) => name);
}
