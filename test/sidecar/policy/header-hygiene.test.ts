import t from "tap";
import { parseSpiffeId } from "../../../core/spiffe.ts";
import { editedFields, FlatFields, RequestEdit } from "../../../sidecar/fields.ts";
import {
  answerEdit,
  callerFields,
  editInbound,
  editOutbound,
  type InboundHygiene,
  type OutboundHygiene,
} from "../../../sidecar/policy/header-hygiene.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

const CALLER = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/web");
const SELF = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/orders");
const OUTBOUND: OutboundHygiene = {
  requestId: () => "made-here",
};
const MESHED: InboundHygiene = {
  ...OUTBOUND,
  caller: callerFields(SELF, CALLER),
  peerMeshed: true,
};
const OUTSIDE: InboundHygiene = { ...MESHED, caller: null, peerMeshed: false };

function inboundHeaders(raw: readonly string[], hygiene: InboundHygiene): string[] {
  const edit = new RequestEdit();
  const fields = new FlatFields(raw);
  editInbound(fields, hygiene, edit, null);
  return editedFields(fields, edit);
}

function outboundHeaders(raw: readonly string[], hygiene: OutboundHygiene): string[] {
  const edit = new RequestEdit();
  const fields = new FlatFields(raw);
  editOutbound(fields, hygiene, edit, null);
  return editedFields(fields, edit);
}

function responseHeaders(raw: readonly string[], options: { readonly fromApp: boolean }): string[] {
  const fields = new FlatFields(raw);
  return editedFields(fields, answerEdit(fields, options.fromApp));
}

function flat(...lines: readonly string[]): string[] {
  return lines.flatMap((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
}

function asObject(headers: readonly string[]): Record<string, string> {
  const object: Record<string, string> = {};
  for (let index = 0; index < headers.length; index += 2) object[(headers[index] as string).toLowerCase()] = headers[index + 1] as string;
  return object;
}

t.test("ordinary fields pass in their order and spelling, duplicates too", async (t) => {
  const raw = flat(
    "Host: a",
    "Accept: x",
    "X-Custom: 1",
    "x-custom: 2",
    "Set-Thing: y",
    "Transfer-Encoding: chunked",
    "Trailer: x",
    "Upgrade: websocket",
  );
  t.strictSame(outboundHeaders(raw, OUTBOUND).slice(0, raw.length), raw);
});

t.test("what belongs between two neighbours goes, in any case", async (t) => {
  const raw = flat(
    "CONNECTION: close",
    "keep-Alive: 5",
    "Proxy-Connection: x",
    "Proxy-Authenticate: x",
    "proxy-authorization: x",
    "TE: gzip",
    "HTTP2-Settings: x",
  );
  t.strictSame(outboundHeaders(raw, OUTBOUND), ["x-request-id", "made-here"]);
  t.strictSame(responseHeaders(raw, { fromApp: true }), []);
});

t.test("te: trailers stays, since gRPC servers ask for it", async (t) => {
  t.match(asObject(outboundHeaders(flat("te: trailers"), OUTBOUND)), { te: "trailers" });
  t.match(asObject(inboundHeaders(flat("TE: Trailers"), MESHED)), { te: "trailers" });
  t.notOk("te" in asObject(outboundHeaders(flat("te: trailers, gzip"), OUTBOUND)));
});

t.test("fields named by Connection go", async (t) => {
  const raw = flat("Connection: X-Foo , close", "x-foo: 1", "X-FOO: 2", "x-bar: 3", "connection: x-baz", "X-Baz: 4");
  t.strictSame(outboundHeaders(raw, OUTBOUND), ["x-bar", "3", "x-request-id", "made-here"]);
  t.strictSame(responseHeaders(raw, { fromApp: true }), ["x-bar", "3"]);
});

t.test("Connection cannot take away what the app relies on", async (t) => {
  const kept = [
    "host: a",
    "content-length: 1",
    "content-type: text/plain",
    "transfer-encoding: chunked",
    "upgrade: websocket",
    "authorization: secret",
    "cookie: a=b",
    "x-forwarded-for: 1.2.3.4",
    "x-forwarded-host: h",
    "forwarded: for=1.2.3.4",
    "tracestate: a=b",
  ];
  const names = kept.map((line) => line.split(":")[0]);
  const raw = flat(
    ...kept,
    `connection: ${names.join(", ")}, x-forwarded-client-cert, x-remora-client-id, x-request-id, traceparent`,
    "traceparent: T",
    "x-request-id: R",
  );
  const out = asObject(inboundHeaders(raw, MESHED));
  for (const name of names) t.ok((name as string) in out, String(name));
  t.equal(out["x-request-id"], "R");
  t.equal(out["traceparent"], "T");
  t.equal(out["x-remora-client-id"], CALLER);
  t.ok("x-forwarded-client-cert" in out);
});

t.test("a flood of nominations costs no more than its bound", async (t) => {
  const names = Array.from({ length: 10_000 }, (_, index) => `x-${index}`);
  const out = asObject(outboundHeaders(flat(`connection: ${names.join(",")}`, "x-0: 1", "x-15: 1", "x-9999: 1"), OUTBOUND));
  t.strictSame(Object.keys(out), ["x-9999", "x-request-id"]);
});

t.test("nothing the app says passes as the mesh's word", async (t) => {
  const raw = flat(
    "x-remora-client-id: spiffe://cluster.local/ns/a/sa/admin",
    "X-Remora-Src: me",
    "x-remora-anything: 1",
    "X_Remora_Client_Id: sly",
    "x-forwarded-client-cert: URI=admin",
    "X_Forwarded_Client_Cert: URI=admin",
    "Signature: a",
    "signature-Input: b",
    "Content-Digest: c",
    "x-remor: fine",
    "x-remorax: fine",
  );
  t.strictSame(outboundHeaders(raw, OUTBOUND), ["x-remor", "fine", "x-remorax", "fine", "x-request-id", "made-here"]);
});

t.test("the app learns who calls from the sidecar alone", async (t) => {
  const raw = flat(
    "X-Forwarded-Client-Cert: URI=admin",
    "x-remora-client-id: admin",
    "x-remora-src: x",
    "signature: x",
    "signature-input: x",
    "content-digest: x",
  );
  t.strictSame(asObject(inboundHeaders(raw, MESHED)), {
    "x-request-id": "made-here",
    "x-forwarded-client-cert": `By=${SELF};URI=${CALLER}`,
    "x-remora-client-id": CALLER,
  });
});

t.test("a plaintext caller gets no identity, and keeps the signatures that are the app's business", async (t) => {
  const raw = flat(
    "x-forwarded-client-cert: URI=admin",
    "x-remora-client-id: admin",
    "x-remora-cb: x",
    "signature: s",
    "signature-input: i",
    "content-digest: d",
  );
  t.strictSame(asObject(inboundHeaders(raw, OUTSIDE)), {
    signature: "s",
    "signature-input": "i",
    "content-digest": "d",
    "x-request-id": "made-here",
  });
});

t.test("a good request id is kept, the first of several; a bad one is replaced", async (t) => {
  const idOf = (...lines: string[]) => {
    const out = outboundHeaders(flat(...lines), OUTBOUND);
    t.equal(out.filter((name, index) => index % 2 === 0 && name === "x-request-id").length, 1);
    return asObject(out)["x-request-id"];
  };
  t.equal(idOf("X-Request-ID: abc-123", "x-request-id: other"), "abc-123");
  t.equal(idOf("x-request-id: "), "made-here");
  t.equal(idOf("x-request-id: a b"), "made-here");
  t.equal(idOf('x-request-id: a"b'), "made-here");
  t.equal(idOf("x-request-id: caf\u00e9"), "made-here");
  t.equal(idOf(`x-request-id: ${"a".repeat(128)}`), "a".repeat(128));
  t.equal(idOf(`x-request-id: ${"a".repeat(129)}`), "made-here");
});

t.test("a trace passes as it came, and where this hop has a span of its own, that is the parent", async (t) => {
  const fields = new FlatFields(flat("Traceparent: T", "traceparent: U", "tracestate: V", "x-request-id: R"));
  for (const [own, parents] of [
    [null, ["Traceparent", "T", "traceparent", "U"]],
    ["SPAN", ["traceparent", "SPAN"]],
  ] as const) {
    const edit = new RequestEdit();
    editOutbound(fields, OUTBOUND, edit, own);
    t.strictSame(editedFields(fields, edit).sort(), [...parents, "tracestate", "V", "x-request-id", "R"].sort());
  }
});

t.test("the app's answer cannot speak for the mesh, a peer's reason reaches the local app", async (t) => {
  const raw = flat("content-type: a", "x-remora-reason: forbidden", "connection: close");
  t.strictSame(responseHeaders(raw, { fromApp: true }), ["content-type", "a"]);
  t.strictSame(responseHeaders(raw, { fromApp: false }), ["content-type", "a", "x-remora-reason", "forbidden"]);
});

t.test("whatever comes in, no guarded name comes out but the sidecar's own", async (t) => {
  const random = createSeededRandom(3).next;
  const names = [
    "connection",
    "x-remora-client-id",
    "x-forwarded-client-cert",
    "signature",
    "x-remora-src",
    "keep-alive",
    "te",
    "host",
    "x-a",
    "x-request-id",
  ];
  for (let round = 0; round < 3_000; round += 1) {
    const raw: string[] = [];
    for (let field = 0; field < 6; field += 1) {
      const name = names[Math.floor(random() * names.length)] as string;
      const spelled = [...name]
        .map((letter) => (random() < 0.4 ? letter.toUpperCase() : letter === "-" && random() < 0.2 ? "_" : letter))
        .join("");
      raw.push(spelled, names[Math.floor(random() * names.length)] as string);
    }
    const out = inboundHeaders(raw, MESHED);
    const guarded = out.filter(
      (_, index) => index % 2 === 0 && /^(x.remora.*|x.forwarded.client.cert|connection|keep-alive|signature)$/i.test(out[index] as string),
    );
    if (guarded.join() !== "x-forwarded-client-cert,x-remora-client-id") t.fail(`${JSON.stringify(raw)} gave ${guarded}`);
  }
});
