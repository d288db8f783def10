/**
 * The operations on tensors that are no scalar ones, which are in `types/scalar-ops.ts`; `spec/ops.md` has them all.
 */

/** Reductions and the dtype of their result: that of the body, or as said. */
export const reduceOps = {
  sum: "numeric",
  max: "numeric",
  min: "numeric",
  mean: "float",
  any: "logic",
  all: "logic",
  /** Body bool, result i32. */
  count: "i32",
  /** Body numeric, over one index; result the i32 index of the largest, the lowest of equals. */
  argmax: "i32",
  /** Body and score f32, result f32: the mean of the body, weighted by the exponentials of the scores. */
  softmax_mean: "f32",
} as const;

export type ReduceOp = keyof typeof reduceOps;

/** Functions of whole square matrices. */
export const factorizationOps = {
  /**
   * The lower triangular l with l l^T = a, for a symmetric positive definite a, of which the lower triangle is read.
   */
  cholesky: "matrix",
  /** The inverse of a lower triangular matrix, lower triangular. */
  inverse_lower: "matrix",
  /**
   * The orthogonal v whose columns are the eigenvectors of a symmetric matrix, of which the lower triangle is read, by
   * descending eigenvalue; the element of each with the largest magnitude is positive.
   */
  eigenvectors: "matrix",
} as const;

export type FactorizationOp = keyof typeof factorizationOps;
