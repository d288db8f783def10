/** What goes wrong with a request, as clients of the OpenAI interface expect to be told. */
import { DeviceError } from "../device/error.js";
import { LlamaError, type LlamaErrorCode } from "../llama/error.js";
import { ModelError } from "../model/error.js";

export type ErrorStatus = 400 | 401 | 404 | 405 | 413 | 415 | 429 | 500 | 502 | 503;

/** An answer that is an error. `message` is a full sentence for the user; `parameter` the field that it is about. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  constructor(
    readonly status: ErrorStatus,
    readonly code: string,
    message: string,
    readonly parameter: string | null = null,
  ) {
    super(message);
  }
}

/** The body of an error. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

/** The body of an error's answer. */
export function errorBody({ status, code, message, parameter }: RequestError): ErrorBody {
  return { error: { message, type: typeOf(status), param: parameter, code } };
}

function typeOf(status: ErrorStatus): string {
  if (status === 401) return "authentication_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

const llama: { readonly [code in LlamaErrorCode]?: readonly [ErrorStatus, string] } = {
  "prompt-too-long": [400, "context_length_exceeded"],
  "prompt-empty": [400, "prompt_empty"],
  "bad-option": [400, "invalid_value"],
  "queue-full": [429, "queue_full"],
  closed: [503, "closing"],
};

/** The error of an answer for whatever was thrown; what is no fault of the request is not told in full. */
export function requestError(thrown: unknown): RequestError {
  if (thrown instanceof RequestError) return thrown;
  if (thrown instanceof LlamaError) {
    const [status, code] = llama[thrown.code] ?? [500, thrown.code];
    return new RequestError(status, code, thrown.message, status === 400 ? "prompt" : null);
  }
  if (thrown instanceof ModelError) {
    const byRequest = thrown.code === "M143" || thrown.code === "M147";
    const help = thrown.help === null ? "" : ` ${thrown.help}.`;
    return byRequest
      ? new RequestError(400, thrown.code, `${thrown.message}${help}`, thrown.code === "M147" ? "messages" : "prompt")
      : new RequestError(500, thrown.code, thrown.message);
  }
  if (thrown instanceof DeviceError) {
    const lost = thrown.code === "device-lost";
    return new RequestError(lost ? 503 : 500, thrown.code, thrown.message);
  }
  return new RequestError(500, "internal", "The server failed on this request; its own output says more.");
}
