/** Requests to the service, with the API key if there is one. */

import { texts } from "./texts";

const KEY = "warmcast-key";

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  errors?: { pointer: string; detail: string }[];
}

export interface Forecast {
  id: string;
  status: "accepted" | "running" | "successful" | "failed" | "dismissed";
  progress_detail: { lead_times: number; num_lead_times: number; eta_seconds: number | null };
  created: string;
  finished: string | null;
  init_time: string;
  request: {
    model: string;
    lead_time: string;
    members: number | number[];
    seed: number;
    output: { members: boolean };
    initial_state: Record<string, unknown>;
  };
  labels: Record<string, string>;
  error: { title?: string; detail?: string; type?: string } | null;
  warnings: { code: string; message: string }[];
  data: "available" | "expired" | "deleted";
}

/** A response of the service that is an error; its message is the `detail` of the problem. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail ?? problem.title);
  }
}

let onMissingKey: (reason: string) => void = () => undefined;

/** Call `listener` with the reason when the service needs a key, or refuses the one it was given. */
export function whenKeyIsMissing(listener: (reason: string) => void): void {
  onMissingKey = listener;
}

/** Keep a key for this tab, until it is closed; an empty one removes it. */
export function keepKey(key: string): void {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

export function hasKey(): boolean {
  return sessionStorage.getItem(KEY) !== null;
}

/** Return the URL of a path of the service, which may be below the path of a proxy. */
export function serviceUrl(path: string): string {
  return new URL(path, document.baseURI).href;
}

function withKey(headers: Record<string, string>): Record<string, string> {
  const key = sessionStorage.getItem(KEY);
  return key === null ? headers : { ...headers, Authorization: `Bearer ${key}` };
}

/** Send a request; throw `ProblemError` if the service answers with a problem. */
export async function request(path: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(serviceUrl(path), {
      ...options,
      headers: withKey({ Accept: "application/json, */*;q=0.5", ...(options.headers as Record<string, string>) }),
    });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new Error(texts.unreachable);
  }
  if (response.ok) return response;
  const error = new ProblemError(await readProblem(response));
  if (response.status === 401) onMissingKey(error.message);
  throw error;
}

async function readProblem(response: Response): Promise<Problem> {
  const fallback = { type: "about:blank", title: `${response.status} ${response.statusText}`, status: response.status };
  return response.json().catch(() => fallback);
}

/** Return the JSON document of a path. */
export async function readJson<T>(path: string, options: RequestInit = {}): Promise<T> {
  return (await request(path, options)).json();
}

/** Post a JSON document, or a form with files, and return the response as JSON. */
export async function postJson<T>(path: string, body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<T> {
  if (body instanceof FormData) return readJson(path, { method: "POST", body, headers, ...(signal ? { signal } : {}) });
  return readJson(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...headers },
  });
}

/** Return the bytes of a file of a store; undefined if it does not exist (yet). */
export async function readBytes(path: string, headers: Record<string, string> = {}, cache: RequestCache = "default"): Promise<Uint8Array | undefined> {
  try {
    const response = await request(path, { headers: { Accept: "*/*", ...headers }, cache });
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    if (error instanceof ProblemError && error.problem.status === 404) return undefined;
    throw error;
  }
}

/** Return bytes `from` to `to` of a file of a store, or those that it has of them; undefined if it does not exist (yet). */
export async function readRange(path: string, from: number, to: number): Promise<Uint8Array | undefined> {
  return readBytes(path, { Range: `bytes=${from}-${to - 1}` }, "no-store");
}

export interface ServerEvent {
  kind: string;
  id: string;
  data: Record<string, number>;
}

/**
 * Call `handle` with each event of a forecast until it has ended or `signal` is aborted.
 *
 * `EventSource` cannot send a key. As it does, this reader connects again after the event that it received last.
 */
export async function followEvents(id: string, signal: AbortSignal, handle: (event: ServerEvent) => void): Promise<void> {
  let last = "";
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last, Accept: "text/event-stream" } : { Accept: "text/event-stream" };
      const response = await request(`forecast/${id}/events`, { signal, headers });
      for await (const event of readEvents(response)) {
        last = event.id;
        handle(event);
        if (["successful", "failed", "dismissed"].includes(event.kind)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ProblemError && error.problem.status < 500 && error.problem.status !== 429) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function* readEvents(response: Response): AsyncGenerator<ServerEvent> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value.replaceAll("\r\n", "\n");
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop()!;
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trim()]));
      if (fields.has("data")) {
        yield { kind: fields.get("event") ?? "", id: fields.get("id") ?? "", data: JSON.parse(fields.get("data")!) };
      }
    }
  }
}
