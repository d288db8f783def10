/** What kind of layer a module or its tensor is, for people: `q_proj` of `model.layers.3.self_attn.q_proj.weight`. */
export function kindOf(name: string): string {
  return (
    name
      .replace(/\.weight$/, "")
      .split(".")
      .at(-1) ?? name
  );
}
