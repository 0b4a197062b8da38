// The well-behaved part of an app: `GET /control?key=K&size=N` is answered with the content of that key, `POST /control` with what was posted.
import type { IncomingMessage, ServerResponse } from "node:http";
import { contentOf } from "./messages.ts";

/** Answers with `x-key`, the key that was asked for, and the content. */
export async function answerControl(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const query = new URL(request.url ?? "/", "http://app").searchParams;
  const posted: Buffer[] = [];
  try {
    for await (const chunk of request) posted.push(chunk as Buffer);
  } catch {
    return; // the caller left
  }
  const content = request.method === "POST" ? Buffer.concat(posted) : contentOf(Number(query.get("key")), Number(query.get("size")));
  response.setHeader("x-key", query.get("key") ?? "");
  response.setHeader("content-length", content.length);
  response.end(content);
}
