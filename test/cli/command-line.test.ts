import t from "tap";
import { buildInfo } from "../../core/build-info.ts";
import { ranRemora } from "./remora.ts";

const COMMANDS = ["control", "token", "run", "sidecar", "init", "wait", "inject", "uninject", "install", "version"];

t.test("without a command it lists every command", async (t) => {
  for (const args of [[], ["--help"], ["help"]]) {
    const { code, text } = await ranRemora(t, args);
    t.equal(code, 0);
    for (const command of COMMANDS) t.match(text, new RegExp(`^  ${command} +\\w`, "m"), `lists ${command}`);
  }
});

t.test("every command explains itself", async (t) => {
  for (const command of COMMANDS) {
    const { code, text } = await ranRemora(t, [command, "--help"]);
    t.equal(code, 0, `${command} --help ends with 0`);
    t.match(text, new RegExp(`^Usage: remora ${command} `, "m"));
    t.ok(text.split("\n").length > 4, `${command} has a description and options`);
  }
  t.match((await ranRemora(t, ["help", "token"])).text, /^Usage: remora token /m, "help COMMAND does the same");
});

t.test("version says version, commit and build date", async (t) => {
  const { version, commit, builtAt } = buildInfo();
  const { code, text } = await ranRemora(t, ["version"]);
  t.equal(code, 0);
  t.match(text, `remora ${version}\ncommit ${commit}\nbuilt  ${builtAt}\n`);
  t.same(JSON.parse((await ranRemora(t, ["version", "-o", "json"])).text), { version, commit, builtAt });
});

t.test("what does not exist is named, with what was probably meant", async (t) => {
  const command = await ranRemora(t, ["contrl"]);
  t.equal(command.code, 2);
  t.match(command.text, 'there is no command "contrl", did you mean "control"?');

  const nothingLikeIt = await ranRemora(t, ["xyzzyplugh"]);
  t.equal(nothingLikeIt.code, 2);
  t.notMatch(nothingLikeIt.text, "did you mean");

  const option = await ranRemora(t, ["token", "orders", "--namespac", "x"]);
  t.equal(option.code, 2);
  t.match(option.text, /unknown option '--namespac'[\s\S]*--namespace/);

  const missing = await ranRemora(t, ["run", "--port", "80", "--", "true"]);
  t.equal(missing.code, 2);
  t.match(missing.text, /--service/);
});

t.test("wrong values are refused in one line", async (t) => {
  for (const [args, why] of [
    [["token", "orders", "--ttl", "10"], /--ttl: .*unit/],
    [["token", "orders", "--for", "fun"], /--for: fun is neither join nor heartbeat/],
    [["wait", "--timeout", "5"], /--timeout: .*unit/],
    [["wait", "--admin-port", "99999"], /--admin-port: 99999 is no port/],
    [["run", "--service", "a", "--port", "http", "--", "true"], /--port: http is no port/],
    [["run", "--service", "a", "--protocol", "h3", "--", "true"], /--protocol: h3 is none of detect, http1, http2, grpc, tcp/],
  ] as const) {
    const { code, text } = await ranRemora(t, args);
    t.equal(code, 1, args.join(" "));
    t.match(text, why);
    t.equal(text.split("\n").length, 1, "one line");
  }
});

t.test("wait gives up when nothing becomes ready", async (t) => {
  const { code, text } = await ranRemora(t, ["wait", "--admin-port", "1", "--timeout", "100ms"]);
  t.equal(code, 1);
  t.match(text, /127\.0\.0\.1:1 is not ready after 100 ms: connect ECONNREFUSED/);
});
