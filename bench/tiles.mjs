/** What the scripts that time tiles of matrices have in common. */
const none = { args: {}, of: null };
const int4 = { name: "int4", args: { group: 128, symmetric: true, scale: "f16" }, of: null };

/** Formats of weights, by the names that the scripts take. */
export const formats = {
  f16: { name: "f16", ...none },
  bf16: { name: "bf16", ...none },
  int4,
  int8: { ...int4, name: "int8" },
  q4_0: { name: "q4_0", ...none },
  q8_0: { name: "q8_0", ...none },
  q4_k: { name: "q4_k", ...none },
  "2:4-int4": { name: "nm", args: { n: 2, m: 4 }, of: int4 },
  "2:4-f16": { name: "nm", args: { n: 2, m: 4 }, of: { name: "f16", ...none } },
};

/** A tile as `CompileOptions.schedule` takes it. */
export const tile = (
  tokens,
  rows,
  subgroups,
  slice,
  ahead = 0,
  parts = 1,
  trip = undefined,
  left = undefined,
  strip = undefined,
) => ({
  kind: "matrix",
  tokens,
  rows,
  subgroups,
  slice,
  ahead,
  parts,
  ...(trip === undefined ? {} : { trip }),
  ...(left === undefined ? {} : { left }),
  ...(strip === undefined ? {} : { strip }),
});

/** The products of a layer of Llama 3.1 8B's shape; of gate and up each has so many rows. */
export const shapes = {
  qkv: { n: 6144, k: 4096 },
  o: { n: 4096, k: 4096 },
  "gate+up": { n: 14336, k: 4096 },
  down: { n: 4096, k: 14336 },
};

/** A GPU to compile for on the backend that computes nothing. */
export const compiledFor = (own) => ({
  ...own,
  subgroups: { min: 32, max: 32 },
  matrices: true,
  f16: true,
  maxInvocations: 1024,
  maxWorkgroupMemory: 49152,
  maxBinding: 2 ** 31,
  maxStorageBuffers: 16,
});
