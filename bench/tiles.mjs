/** What the scripts that time tiles of matrices have in common. */
const none = { args: {}, of: null };
const int4 = { name: "int4", args: { group: 128, symmetric: true, scale: "f16" }, of: null };

/** Formats of weights, by the names that the scripts take. */
export const formats = {
  f16: { name: "f16", ...none },
  bf16: { name: "bf16", ...none },
  int4,
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
