// `remora control`: runs the control plane in the foreground. Settings come from the environment (cli/control/config.ts); the flags here are the
// few that a person at a terminal types, laid over it so that one table checks both.
import type { Command } from "commander";

const FLAGS: ReadonlyArray<readonly [flag: string, name: string, variable: string, doc: string]> = [
  ["--roles <roles>", "roles", "REMORA_ROLES", "comma list of ca, registry, injector"],
  ["--state-dir <folder>", "stateDir", "REMORA_STATE_DIR", "where the CA's key and the join tokens are kept"],
  ["--bind <address>", "bind", "REMORA_BIND_ADDRESS", "address to listen on"],
  ["--grpc-port <port>", "grpcPort", "REMORA_GRPC_PORT", "port of Identity and Registry (gRPC, mutual TLS)"],
  ["--admin-port <port>", "adminPort", "REMORA_ADMIN_PORT", "port of health, metrics and the REST API (HTTP)"],
  ["--webhook-port <port>", "webhookPort", "REMORA_WEBHOOK_PORT", "port of the injector's webhook (HTTPS)"],
  ["--services-file <file>", "servicesFile", "REMORA_SERVICES_FILE", "YAML file that declares services outside Kubernetes"],
];

/** Adds the command. */
export function register(program: Command): void {
  const command = program
    .command("control")
    .summary("run the control plane: CA, registry and injector")
    .description(
      "Runs the control plane in the foreground: the certificate authority, the registry and, inside Kubernetes, the injector.\n" +
        "Settings come from the environment (REMORA_*, listed in the README); flags win. SIGTERM and Ctrl-C drain and stop it.",
    );
  for (const [flag, , variable, doc] of FLAGS) command.option(flag, `${doc} (${variable})`);
  command.action(async (flags: Readonly<Record<string, string | undefined>>) => {
    const { runControl } = await import("./control/main.ts");
    await runControl(overlay(process.env, flags));
  });
}

function overlay(env: NodeJS.ProcessEnv, flags: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  const result = { ...env };
  for (const [, name, variable] of FLAGS) if (flags[name] !== undefined) result[variable] = flags[name];
  return result;
}
