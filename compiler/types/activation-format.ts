/** In what a linear layer takes what it multiplies: integers from -127 to 127 with a scale for all channels of a token, or for each `group` of them. */
export interface ActivationFormat {
  readonly name: "int8";
  readonly group: number | "token";
}

/** The format as it is written in a recipe: `int8(token)`. */
export function printActivations({ name, group }: ActivationFormat): string {
  return `${name}(${group})`;
}
