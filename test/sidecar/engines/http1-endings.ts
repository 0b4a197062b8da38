// Drains and resets at each phase of an exchange: what is under way ends whole, or is cut off on both sides, and nothing stays behind.
import type { Socket } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, GET, http1Tests } from "../../support/http1-fixture.ts";
import { eventually, type RawClient } from "../../support/raw-peers.ts";

const POST_HEAD = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 10\r\n\r\n";
const CHUNKED_HEAD = "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n";
const UPGRADE = "GET / HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

/** Where an exchange stands: what the client has sent, and what the app has answered to it. */
interface Phase {
  readonly name: string;
  readonly sent: string;
  readonly answered: string;
  /** What completes the exchange, from each side. */
  readonly rest: { readonly client: string; readonly app: string };
  /** True when the app has heard of it. */
  readonly reachesApp: boolean;
  /** True when the app's end is what ends the answer. */
  readonly endsByClosing?: true;
  /** True when the client is the one who ends it. */
  readonly isTunnel?: true;
}

const PHASES: readonly Phase[] = [
  { name: "half of a head", sent: GET.slice(0, 30), answered: "", rest: { client: GET.slice(30), app: OK }, reachesApp: false },
  { name: "before any answer", sent: GET, answered: "", rest: { client: "", app: OK }, reachesApp: true },
  { name: "half of a body", sent: `${POST_HEAD}01234`, answered: "", rest: { client: "56789", app: OK }, reachesApp: true },
  {
    name: "half of a chunk",
    sent: `${CHUNKED_HEAD}a\r\n01234`,
    answered: "",
    rest: { client: "56789\r\n0\r\n\r\n", app: OK },
    reachesApp: true,
  },
  { name: "half of an answer's head", sent: GET, answered: OK.slice(0, 20), rest: { client: "", app: OK.slice(20) }, reachesApp: true },
  { name: "half of an answer", sent: GET, answered: OK.slice(0, -2), rest: { client: "", app: "ne" }, reachesApp: true },
  {
    name: "half of a chunked answer",
    sent: GET,
    answered: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndo",
    rest: { client: "", app: "ne\r\n0\r\n\r\n" },
    reachesApp: true,
  },
  {
    name: "an answer while the body still comes",
    sent: `${POST_HEAD}01234`,
    answered: OK.slice(0, -2),
    rest: { client: "56789", app: "ne" },
    reachesApp: true,
  },
  { name: "pipelined requests", sent: GET + GET + GET, answered: OK.slice(0, -2), rest: { client: "", app: "ne" }, reachesApp: true },
  {
    name: "half of an answer that ends with its connection",
    sent: GET,
    answered: "HTTP/1.1 200 OK\r\n\r\ndo",
    rest: { client: "", app: "ne" },
    reachesApp: true,
    endsByClosing: true,
  },
  {
    name: "an upgraded tunnel",
    sent: UPGRADE,
    answered: `${SWITCHING}do`,
    rest: { client: "", app: "ne" },
    reachesApp: true,
    isTunnel: true,
  },
  {
    name: "a tunnel by CONNECT",
    sent: "CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\nhello",
    answered: "do",
    rest: { client: "", app: "ne" },
    reachesApp: true,
    isTunnel: true,
  },
];

/** Registers the tests for one engine. */
export function http1Endings(engine: EngineName): void {
  const test = http1Tests(engine);

  for (const phase of PHASES) {
    // compat takes a connection with half of a head for an idle one.
    const isDrained = engine === "splice" || phase.reachesApp;
    if (isDrained)
      test(`a drain in the middle of ${phase.name}: it ends whole`, async (t, mesh) => {
        const app = createApp();
        const pair = await mesh.pairFor(await mesh.rawApp(app.accept));
        const client = mesh.connect(pair.outboundPort);
        const appSide = await reach(phase, client, app);
        pair.drain("inbound");
        pair.drain("outbound");
        client.send(phase.rest.client);
        const answering = appSide ?? (await app.next());
        app.answersAll();
        answering.write(phase.rest.app);
        if (phase.endsByClosing) answering.end();
        t.match(await client.until(/do[\r\n\d]*ne/), /^HTTP\/1\.1 (200|101) [^]*do[\r\n\d]*ne/);
        if (phase.isTunnel) client.socket.end();
        t.ok(await client.ended(), "and the connection ends after it");
      });

    for (const breaker of ["client", "app", "client in order"] as const) {
      if (breaker === "app" && !phase.reachesApp) continue;
      test(`${breaker === "app" ? "an app" : "a client"} that ${breaker === "client in order" ? "ends" : "breaks off"} in the middle of ${phase.name}`, async (t, mesh) => {
        const app = createApp();
        const pair = await mesh.pairFor(await mesh.rawApp(app.accept));
        const client = mesh.connect(pair.outboundPort);
        const appSide = await reach(phase, client, app);
        const gone = appSide === null ? null : new Promise((resolve) => appSide.once("close", resolve));
        // compat sends a GET again also when its connection was new.
        if (isSentAgain(engine, phase)) app.answersAll();
        if (breaker === "app") appSide?.resetAndDestroy();
        else if (breaker === "client") client.socket.resetAndDestroy();
        else client.socket.end();
        if (breaker === "app") await expectFailure(t, client, phase, engine);
        else await gone;
        t.match(client.text(), /^(|HTTP\/1\.1 (101|200|502) [^]*)$/);
        if (breaker !== "app" || !isSentAgain(engine, phase))
          t.notMatch(client.text(), /done|\r\n0\r\n\r\n/, "nothing that could be taken for whole");
        app.answersAll();
        t.equal((await ask(pair.outboundPort)).body, "done", "the next request is answered");
      });
    }
  }
}

/** Brings an exchange into its phase. Gives the app's side of it; null when there is none yet. */
async function reach(phase: Phase, client: RawClient, app: App): Promise<Socket | null> {
  client.send(phase.sent);
  if (!phase.reachesApp) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    return null;
  }
  const socket = await app.next();
  const beforeBody = phase.sent.slice(phase.sent.indexOf("\r\n\r\n") + 4);
  if (phase.sent.startsWith("POST")) await eventually(() => app.text().includes("01234") || beforeBody === "");
  socket.write(phase.answered);
  if (hasBegun(phase)) await client.until(/do/);
  else await new Promise((resolve) => setTimeout(resolve, 30));
  return socket;
}

/** True when the client has heard of an answer. */
function hasBegun(phase: Phase): boolean {
  return phase.answered.includes("do");
}

function isSentAgain(engine: EngineName, phase: Phase): boolean {
  return engine === "compat" && phase.sent.startsWith(GET) && !hasBegun(phase);
}

async function expectFailure(
  t: { ok(value: boolean, text: string): void },
  client: RawClient,
  phase: Phase,
  engine: EngineName,
): Promise<void> {
  if (isSentAgain(engine, phase)) t.ok(/^HTTP\/1\.1 200 [^]*done/.test(await client.until(/done/)), "the answer to the second try");
  else if (hasBegun(phase)) t.ok(await client.ended(), "an answer that has begun is cut off");
  else t.ok(/^HTTP\/1\.1 502 /.test(await client.until(/\r\n\r\n/)), `an answer that has not begun is a 502: ${client.text()}`);
}

/** An app that hears of requests, and answers when it is told to. */
interface App {
  readonly accept: (socket: Socket) => void;
  /** Everything received on all connections. */
  text(): string;
  /** The next connection on which something came. */
  next(): Promise<Socket>;
  /** From now on every request is answered at once. */
  answersAll(): void;
}

function createApp(): App {
  const heard: Socket[] = [];
  let text = "";
  let isAnswering = false;
  return {
    accept(socket) {
      let isKnown = false;
      socket.on("data", (chunk) => {
        text += chunk.toString("latin1");
        if (isAnswering) return void socket.write(OK);
        if (!isKnown) heard.push(socket);
        isKnown = true;
      });
      socket.on("end", () => socket.end());
    },
    text: () => text,
    async next() {
      await eventually(() => heard.length > 0);
      return heard.shift() as Socket;
    },
    answersAll() {
      isAnswering = true;
    },
  };
}
