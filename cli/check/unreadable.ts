// That the API server would not tell. A check that meets it could not be made, which is neither success nor failure.
import { textAt } from "./json.ts";

/** The message says what was asked and what was answered. */
export class Unreadable extends Error {
  readonly status: number;

  constructor(what: string, status: number, body: unknown) {
    const said = textAt(body, "message") || (typeof body === "string" ? body.slice(0, 200).trim() : "");
    super(`${what} is answered ${status}${said === "" ? "" : `: ${said}`}`);
    this.status = status;
  }
}
