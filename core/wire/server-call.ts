// A call of gRPC with messages both ways, as its handler sees it. The names are those of grpc-js, whose calls fit too but for the two that take bytes: what is heard
// thousands of times a second need not be decoded each time, and what a thousand are told need not be encoded for each.

/** How a call ends: `emit("error", …)`. */
export interface CallStatus {
  /** gRPC's number. */
  readonly code: number;
  readonly details: string;
  /** Ms after which trying again may help; told as the trailer `grpc-retry-pushback-ms`. */
  readonly retryAfterMs?: number;
}

/** Takes a message as it came: bytes[start..end), overwritten after the call. */
export type TakeBytes = (bytes: Buffer, start: number, end: number) => void;

/** A call. */
export interface BidiCall<Request, Response> {
  /** True once the client gave it up, or its connection is gone. */
  readonly cancelled: boolean;
  /** True once nothing can be sent on it. */
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  /** `address:port`. */
  getPeer(): string;
  getAuthContext(): {
    readonly transportSecurityType?: string;
    readonly sslPeerCertificate?: { readonly raw?: Buffer; readonly issuers?: readonly Buffer[] };
  };
  on(event: "data", listener: (message: Request) => void): unknown;
  /** `end`: the client has said all. `cancelled` and `finish` are the two ways in which it is over, `close` follows either; `drain`: write again. */
  on(event: "end" | "drain" | "cancelled" | "close" | "finish", listener: () => void): unknown;
  on(event: "error", listener: (error: unknown) => void): unknown;
  emit(event: "error", status: CallStatus): unknown;
  /** Messages are given to `take` instead of decoded to "data". */
  takeBytes(take: TakeBytes): void;
  /** False: so much waits for the client that no more should be written; "drain" follows. */
  write(message: Response): boolean;
  /** As `write`, of a message that is encoded and has its prefix already; in two parts where the second is shared by many. */
  writeFramed(bytes: Buffer, rest?: Buffer): boolean;
  end(): unknown;
  /** What comes is kept, instead of given, until `resume`. */
  pause(): unknown;
  resume(): unknown;
}

/** Octets in front of each message: a flag for compression, which we never use, and the length. */
export const PREFIX_BYTES = 5;

/** Puts its prefix in front of a message, or of the first part of one, behind which `moreBytes` octets follow. */
export function framed(message: Uint8Array, moreBytes = 0): Buffer {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length + moreBytes, 1);
  bytes.set(message, PREFIX_BYTES);
  return bytes;
}
