/**
 * What NumPy, PyTorch, Rust and mathematics have and this language calls otherwise, or not at all: by the name that is
 * written, what to write instead. Each is the help of an error, so it must work when it is followed.
 */
export type Habits = ReadonlyMap<string, string>;

function habits(lists: Readonly<Record<string, string>>): Habits {
  return new Map(
    Object.entries(lists).flatMap(([names, help]) => names.split(" ").map((name) => [name, help] as const)),
  );
}

const sizeOfAxis = "an axis' size has a name, the one in the tensor's type: with `w: f32[N, K]` write `N` or `K`";
const product = "a product of matrices is a sum: `let c[n, m] = sum[k] a[n, k] * b[k, m]`";
const transposed = "indices say it: `let t[k, n] = w[n, k]`";
const reshaped = "indices say it: `let y[i] = x[i / K, i % K] for i in 0 .. N * K`";
const filled = "define its elements: `let z[n] = 0.0 for n in 0 .. N`";
const ranked = "`top n of m along k in x` is the mask of the n largest of every m";

/** Functions. */
export const functionHabits = habits({
  relu: "write `max(x, 0.0)`",
  sigmoid: "write `1.0 / (1.0 + exp(-x))`",
  silu: "write `x / (1.0 + exp(-x))`",
  "clamp clip": "write `min(max(x, low), high)`",
  pow: "write `x ^ 2`",
  square: "write `x^2`",
  fabs: "write `abs(x)`",
  log2: "write `log(x) / log(2.0)`",
  log10: "write `log(x) / log(10.0)`",
  exp2: "write `exp(x * log(2.0))`",
  maximum: "write `max(a, b)`, or `max[k] x[k]` over an index",
  minimum: "write `min(a, b)`, or `min[k] x[k]` over an index",
  mod: "write `a % b`",
  "rint trunc": "write `round(x)`, `floor(x)` or `ceil(x)`",
  "int integer": "write `i32(x)`",
  "float float32 double": "write `f32(x)`",
  "half float16": "write `f16(x)`",
  "len shape size numel dim ndim": sizeOfAxis,
  "range arange linspace": "an index has a range: `let y[i] = f32(i) for i in 0 .. N`",
  "ones full empty": filled,
  "zeros_like ones_like full_like": filled,
  "eye identity": "write `let e[i, j] = select(i == j, 1.0, 0.0) for i in 0 .. N, j in 0 .. N`",
  "matmul dot mm bmm einsum": product,
  outer: "write `let c[n, m] = a[n] * b[m]`",
  "transpose permute": transposed,
  "reshape view flatten": reshaped,
  "concat cat concatenate stack": "choose by the index: `let y[i] = select(i < N, a[i], b[i - N]) for i in 0 .. N + M`",
  norm: "write `sqrt(sum[k] x[k]^2)`",
  variance: "write `mean[k] (x[k] - m)^2`, where `m` is `mean[k] x[k]`",
  "std stdev": "write `sqrt(mean[k] (x[k] - m)^2)`, where `m` is `mean[k] x[k]`",
  softmax: "write `let e[n, k] = exp(x[n, k])`, then `e[n, k] / (sum[j] e[n, j])`",
  "median quantile percentile": `nothing is sorted: ${ranked}`,
  "sort argsort topk kthvalue": `nothing is sorted: ${ranked}`,
  argmin: "write `argmax[k] (-x[k])`",
  cumsum: "write `let y[i] = sum[j in 0 .. i + 1] x[j] for i in 0 .. N`",
  "prod product": "there is no product over an index; of positive numbers it is `exp(sum[k] log(x[k]))`",
  "average avg": "write `mean[k] x[k]`",
  "print println assert": "a function only computes; what `espalier compile FILE --emit graph` prints shows how",
});

/** Values. */
export const nameHabits = habits({
  True: "write `true`",
  False: "write `false`",
  pi: "write `3.14159265`",
  "inf infinity Infinity": "write `3.4e38`, nearly the largest f32",
  "None null nil": "every name has a value here",
});

/** Members of a tensor, `w.T`. */
export const memberHabits = habits({
  T: transposed,
  "transpose permute": transposed,
  "shape size len length": sizeOfAxis,
  "reshape view flatten": reshaped,
  "sum mean max min": "a reduction is written before its index: `sum[k] w[n, k]`",
  "weight data": "`w` itself is the weight",
  dtype: "a dtype is a part of the type: `w: f32[N, K]`",
});

/** Types. */
export const typeHabits = habits({
  "float float32 fp32 double float64 f64": "floating point numbers are `f32`, or `f16`",
  "half float16 fp16 bfloat16 bf16":
    "half precision is `f16`; `bf16` is a format, in which `pack w as bf16` stores a tensor",
  "int int32 i64 int64 long isize i8 i16 int8": "integers are `i32`, or `u32` without a sign",
  "uint uint32 u8 u64 usize": "integers without a sign are `u32`; a compile-time integer is `size`",
  "boolean Bool": "truth values are `bool`, a tensor of them is `mask[N, K]`",
  "Tensor tensor Array array ndarray matrix Vec vector":
    "a tensor's type is its dtype with the sizes of its axes: `f32[N, K]`",
  "str string String": "there are no strings here",
});

/** Formats. */
export const formatHabits = habits({
  "fp16 float16 half": "write `f16`",
  bfloat16: "write `bf16`",
  "fp32 float32 float": "write `f32`",
  "i8 q8 w8": "write `int8(128)`, with a scale for each group",
  "i4 q4 w4 fp4": "write `int4(128)`, with a scale for each group",
  nf4: "write `codebook(nf4, 64)`, with `use codebooks` at the top of the file and a scale for each group",
  "fp8 float8 e4m3 float8_e4m3fn": "write `fp8_e4m3`, or `fp8_e4m3(channel)` with a scale for each row",
  "e5m2 float8_e5m2": "write `fp8_e5m2`, or `fp8_e5m2(channel)` with a scale for each row",
  "sparse csr": "`nm(2, 4) of f16` stores 2 of every 4, `bitmask of f16` any pattern",
});
