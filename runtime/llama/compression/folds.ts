/** Scales that were multiplied into tensors of the model that was given, by a recipe's `scale`. */
import type { KeptFold } from "../long-runs/manifest.js";

/** What the places of one axis of a tensor were multiplied by. */
export interface Fold {
  readonly name: string;
  /** 0: rows, or the elements of a vector. */
  readonly axis: number;
  readonly factors: Float32Array;
}

export interface Folds {
  /** What a tensor's axis was multiplied by so far; null: by nothing. */
  of(name: string, axis: number): Float32Array | null;
  has(name: string): boolean;
  multiply(fold: Fold): void;
  found(): readonly KeptFold[];
}

/** The folds of a run, which begins with those of one that was stopped. */
export function createFolds(kept: readonly KeptFold[] = []): Folds {
  const folds = new Map<string, Fold>();
  const key = (name: string, axis: number): string => `${axis} ${name}`;
  for (const { name, axis, factors } of kept) folds.set(key(name, axis), { name, axis, factors: decoded(factors) });
  return {
    of: (name, axis) => folds.get(key(name, axis))?.factors ?? null,
    has: (name) => folds.has(key(name, 0)) || folds.has(key(name, 1)),
    multiply({ name, axis, factors }) {
      const before = folds.get(key(name, axis))?.factors;
      const product = factors.map((factor, at) => factor * (before?.[at] ?? 1));
      folds.set(key(name, axis), { name, axis, factors: product });
    },
    found: () => [...folds.values()].map(({ name, axis, factors }) => ({ name, axis, factors: encoded(factors) })),
  };
}

function encoded(factors: Float32Array): string {
  let text = "";
  for (const byte of new Uint8Array(factors.buffer, factors.byteOffset, factors.byteLength))
    text += String.fromCharCode(byte);
  return btoa(text);
}

function decoded(text: string): Float32Array {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
