/**
 * What a user can put right about a model, a text or a prompt.
 * - `prompt-too-long`: the prompt and the first new token do not fit the model's context
 * - `context-too-large`: not even one token of a context so long fits the device
 * - `prompt-empty`: a prompt without tokens, from a tokenizer that adds none
 * - `text-too-short`: not one whole window of tokens
 * - `bad-window`: a window of no token or beyond the model's context
 * - `unsupported-model`: a tensor is missing, has an unexpected shape, or is larger than a device's binding
 * - `bad-option`: an option out of its range
 * - `expectation-failed`: an `expect` of the recipe does not hold
 * - `error-too-large`: a layer lost more than `maxError` allows
 * - `recipe`: a recipe and the model do not fit
 * - `not-finite`: NaN or infinite activations or weights
 * - `not-positive-definite`: a recipe factors a matrix that is not positive definite: too little dampening, or too
 * short a text
 * - `diverged`: a training whose loss grows or is not finite, and that has made nothing better
 * - `queue-full`: a scheduler has as many requests waiting as may wait
 * - `closed`: a scheduler takes no more requests, or was closed before this one ended
 * - `resume`: what is to be resumed was begun with another recipe, model, text or device, is damaged, or is in use
 */
export type LlamaErrorCode =
  | "prompt-too-long"
  | "context-too-large"
  | "prompt-empty"
  | "text-too-short"
  | "bad-window"
  | "unsupported-model"
  | "bad-option"
  | "expectation-failed"
  | "error-too-large"
  | "recipe"
  | "not-finite"
  | "not-positive-definite"
  | "diverged"
  | "queue-full"
  | "closed"
  | "resume";

/** `message` is a full sentence for the user. */
export class LlamaError extends Error {
  override readonly name = "LlamaError";
  constructor(
    readonly code: LlamaErrorCode,
    message: string,
  ) {
    super(message);
  }
}
