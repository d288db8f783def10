import { ModelError } from "../error.js";

/** Ends in an error that something is not supported: a sentence without a full stop. @throws ModelError M133 */
export function refuse(what: string, help: string | null = null): never {
  throw new ModelError("M133", `${what}.`, help);
}
