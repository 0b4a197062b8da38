// The tables of fields against the .proto files as protobufjs reads them, and the encoding against the one that protobufjs makes of them: seeded
// messages both ways, and bytes that are no message.
import { join } from "node:path";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";
import t from "tap";
import { BOOL, BYTES, DOUBLE, TEXT, UINT32, UINT64 } from "../../../core/wire/field.ts";
import { certifyRequest, certifyResponse, trustBundle, watchTrustRequest } from "../../../core/wire/identity-messages.ts";
import { identityService, registryService } from "../../../core/wire/load.ts";
import type { MessageType } from "../../../core/wire/message.ts";
import {
  heartbeatRequest,
  heartbeatResponse,
  INSTANCE_STATE,
  PROTOCOL,
  watchRequest,
  watchUpdate,
} from "../../../core/wire/registry-messages.ts";
import { createSeededRandom, type SeededRandom } from "../../support/seeded-random.ts";

const WIRE = join(import.meta.dirname, "..", "..", "..", "core", "wire");
const FILES = ["identity.proto", "registry.proto"].map((name) => join(WIRE, name));
const ROUNDS = 3_000;

const MESSAGES = [
  certifyRequest,
  certifyResponse,
  trustBundle,
  watchTrustRequest,
  heartbeatRequest,
  heartbeatResponse,
  watchRequest,
  watchUpdate,
] as readonly MessageType<object>[];

const KINDS: Readonly<Record<string, unknown>> = {
  string: TEXT,
  bytes: BYTES,
  bool: BOOL,
  uint32: UINT32,
  uint64: UINT64,
  double: DOUBLE,
  Protocol: PROTOCOL,
  InstanceState: INSTANCE_STATE,
};

const root = new protobuf.Root();
root.loadSync(FILES);
root.resolveAll();

t.test("the tables say what the .proto files say", async (t) => {
  for (const own of MESSAGES) {
    const type = root.lookupType(`remora.v1.${own.name}`);
    t.same(Object.keys(own.fields).sort(), Object.keys(type.fields).sort(), own.name);
    for (const [property, field] of Object.entries(own.fields)) {
      const said = type.fields[property];
      t.equal(field.number, said?.id, `${own.name}.${property}`);
      t.equal(field.repeated, said?.repeated, `${own.name}.${property} repeated`);
      const kind = KINDS[said?.type ?? ""];
      // What is no scalar or enumeration is a message; the exchange of messages below shows that it is the right one.
      if (kind === undefined) t.ok(said?.resolvedType instanceof protobuf.Type, `${own.name}.${property} is a message`);
      else t.equal(field.kind, kind, `${own.name}.${property} is ${said?.type}`);
    }
  }
});

t.test("every message of the .proto files is sent by a service, or inside one that is", async (t) => {
  const known = new Set(MESSAGES.map(({ name }) => name));
  for (const name of ["Port", "Load", "ServicePort", "AddressPort", "Endpoint"]) known.add(name);
  const declared = root.lookup("remora.v1") as protobuf.Namespace;
  t.same(
    declared.nestedArray
      .filter((one) => one instanceof protobuf.Type)
      .map(({ name }) => name)
      .sort(),
    [...known].sort(),
  );
});

/** The encoding that proto-loader makes of the same files, as it was used before. */
const reference = loadSync(FILES, { longs: Number, enums: String, bytes: Buffer, defaults: true, oneofs: true });

interface Codec {
  readonly encode: (message: object) => Buffer;
  readonly decode: (bytes: Buffer) => object;
}
interface Pair {
  readonly type: protobuf.Type;
  readonly own: Codec;
  readonly theirs: Codec;
}

const pairs: readonly Pair[] = [
  ["Identity", identityService],
  ["Registry", registryService],
].flatMap(([name, service]) => {
  const theirs = reference[`remora.v1.${name as string}`] as unknown as Record<string, Record<string, never>>;
  const declared = root.lookupService(`remora.v1.${name as string}`);
  return Object.entries(service as unknown as Record<string, Record<string, never>>).flatMap(([method, own]) =>
    (["request", "response"] as const).map((side) => {
      const typeName = declared.methods[method]?.[side === "request" ? "requestType" : "responseType"] ?? "";
      const codec = (of: Record<string, never> | undefined): Codec => ({
        encode: of?.[`${side}Serialize`] as unknown as Codec["encode"],
        decode: of?.[`${side}Deserialize`] as unknown as Codec["decode"],
      });
      return { type: root.lookupType(`remora.v1.${typeName}`), own: codec(own), theirs: codec(theirs[method]) };
    }),
  );
});

t.test("paths and kinds of calls are those of the .proto files", async (t) => {
  for (const [name, service] of [
    ["Identity", identityService],
    ["Registry", registryService],
  ] as const) {
    const theirs = reference[`remora.v1.${name}`] as unknown as Record<string, object>;
    t.same(Object.keys(service), Object.keys(theirs));
    for (const [method, definition] of Object.entries(service)) {
      const { path, requestStream, responseStream, originalName } = definition as unknown as Record<string, unknown>;
      t.match(theirs[method], { path, requestStream, responseStream, originalName });
    }
  }
});

t.test(`${ROUNDS} messages: what either encoding writes, both read as the same`, async (t) => {
  const random = createSeededRandom(20_261_121);
  for (let round = 0; round < ROUNDS; round += 1) {
    const { type, own, theirs } = pairs[round % pairs.length] as Pair; // the remainder is an index
    const message = randomMessage(type, random);
    const [ours, reference] = [own.encode(message), theirs.encode(message)];
    const read = own.decode(ours);
    if (!t.same(own.decode(reference), read, type.name) || !t.same(theirs.decode(ours), read) || !t.same(theirs.decode(reference), read))
      return t.comment(JSON.stringify(message));
  }
});

t.test(`${ROUNDS} damaged messages are refused, or read as a message that can be sent on`, async (t) => {
  const random = createSeededRandom(7_541);
  let refused = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const { type, own, theirs } = pairs[round % pairs.length] as Pair;
    const bytes = damaged(theirs.encode(randomMessage(type, random)), random);
    const read = attempt(() => own.decode(bytes));
    // Numbers that an enumeration has no name for cannot be sent on.
    const again = read === null ? null : attempt(() => own.encode(read));
    if (read === null || again === null) refused += 1;
    else if (!t.same(theirs.decode(again), read, type.name)) return t.comment(bytes.toString("hex"));
  }
  t.ok(refused > ROUNDS / 10 && refused < (ROUNDS * 9) / 10, `${refused} refused, the others read`);
});

t.test("a name that an enumeration does not have is not sent; a number without a name is seen as that number", async (t) => {
  t.throws(() => heartbeatRequest.encode({ state: "ready" as never }), /"ready" is none of INSTANCE_STATE_STARTING/);
  t.equal(heartbeatRequest.decode(Buffer.from([10 << 3, 9])).state, 9 as never);
});

t.test("what is no message of ours is refused or skipped", async (t) => {
  const read = (...bytes: number[]) => heartbeatResponse.decode(Buffer.from(bytes));
  t.throws(() => read(0x12, 5, 0x61), /index out of range/, "text longer than the message");
  t.throws(() => read(0x00, 1), /number 0/);
  t.throws(() => read(0x0b, 0x0c), /wire type 3/, "a group");
  t.throws(() => watchUpdate.decode(Buffer.from([0x2a, 9, 0x0a])), /longer than what holds it/);
  t.throws(() => watchUpdate.decode(Buffer.from([0x2a, 2, 0x0a, 1, 0x61])), /ends behind its message/);
  t.equal(read(0x08, 1, 0xa0, 0x06, 5).accepted, true, "field 100 is skipped");
  t.equal(read(0x0d, 0, 0, 0, 0).accepted, false, "a field of another wire type is another field");
  t.equal(certifyRequest.decode(Buffer.from([0x1a, 1, 0x61, 0x22, 1, 0x62])).credential, "joinToken", "the last of a choice counts");
});

function attempt<T>(run: () => T): T | null {
  try {
    return run();
  } catch (error) {
    if (error instanceof Error) return null;
    throw error;
  }
}

function damaged(bytes: Buffer, random: SeededRandom): Buffer {
  const whole = Buffer.from(bytes);
  for (let count = 1 + random.below(3); count > 0 && whole.length > 0; count -= 1) whole[random.below(whole.length)] = random.below(256);
  return random.next() < 0.5 ? whole : whole.subarray(0, random.below(whole.length));
}

/** A message as our own code would hand it over: properties left out, defaults given, at most one of a choice. */
function randomMessage(type: protobuf.Type, random: SeededRandom): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  const chosen = new Map(type.oneofsArray.map((choice) => [choice.name, choice.oneof[random.below(choice.oneof.length + 1)]]));
  for (const field of type.fieldsArray) {
    const choice = field.partOf?.name;
    if (choice !== undefined ? chosen.get(choice) !== field.name : random.next() < 0.2) continue;
    const value = () => randomValue(field, random);
    message[field.name] = field.repeated ? Array.from({ length: random.below(4) }, value) : value();
  }
  return message;
}

function randomValue(field: protobuf.Field, random: SeededRandom): unknown {
  const { resolvedType } = field;
  if (resolvedType instanceof protobuf.Type) return randomMessage(resolvedType, random);
  if (resolvedType instanceof protobuf.Enum) return random.pick(Object.keys(resolvedType.values));
  switch (field.type) {
    case "string":
      return random.pick(["", "a", "ä€😀", "x".repeat(300)]);
    case "bytes":
      return random.pick([Buffer.alloc(0), Buffer.from([0, 255]), Buffer.alloc(200, 7)]);
    case "bool":
      return random.pick([true, false]);
    case "uint32":
      return random.pick([0, 1, 127, 128, 2 ** 32 - 1]);
    case "uint64":
      return random.pick([0, 1, 2 ** 31, 2 ** 32, Date.UTC(2026, 0, 1), Number.MAX_SAFE_INTEGER]);
    case "double":
      return random.pick([0, 0.25, -1.5, 1e300, Number.MIN_VALUE]);
    default:
      throw new Error(`no values for ${field.type}`);
  }
}
