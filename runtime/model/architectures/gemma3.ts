import { Fields, type NumberRule } from "../fields.js";
import { describe, isObject } from "../json.js";
import {
  gain,
  layerKinds,
  noBiases,
  plainLayout,
  plainTensors,
  refuseTrue,
  windowRule,
  type Architecture,
} from "./architecture.js";

const positive: NumberRule = { min: 1e-6, max: 1e15 };

/** Gemma 3 (Gemma Team 2025), the models of text. */
export const gemma3: Architecture = {
  title: "Gemma 3",
  modelType: "gemma3_text",
  className: "Gemma3ForCausalLM",
  // its files have gains that are greater by 1, and one theta of two
  gguf: null,
  defaults: { keyValueHeads: 4, headDim: 256, tiedEmbeddings: true },
  gainOffset: 1,
  rope: ropeOfAll,
  particulars(fields, layers, unsupported) {
    refuseTrue(fields, ["attention_bias"], unsupported);
    if (fields.boolean("use_bidirectional_attention", false))
      unsupported.push("`use_bidirectional_attention` is true: tokens that see those behind them are not supported");
    for (const name of ["attn_logit_softcapping", "final_logit_softcapping"])
      if (fields.has(name)) unsupported.push(`\`${name}\` is given: logits that are capped are not supported`);
    const activation = fields.raw("hidden_activation") ?? "gelu_pytorch_tanh";
    if (activation !== "gelu_pytorch_tanh")
      unsupported.push(`\`hidden_activation\` should be "gelu_pytorch_tanh", found ${describe(activation)}`);
    if (fields.isNull("sliding_window")) fields.number("sliding_window", windowRule);
    const window = fields.number("sliding_window", windowRule, 4096);
    const kinds = layerKinds(fields, layers, unsupported);
    const pattern = fields.number("sliding_window_pattern", { integer: true, min: 1, max: 4096 }, 6);
    const isLocal = (at: number): boolean =>
      kinds === null ? (at + 1) % pattern !== 0 : kinds[at] === "sliding_attention";
    return {
      windows: Array.from({ length: layers }, (_, at) => (isLocal(at) ? window : null)),
      biases: noBiases,
      numbers: {
        query_pre_attn_scalar: fields.number("query_pre_attn_scalar", positive, 256),
        local_theta: localTheta(fields, unsupported),
      },
    };
  },
  block(config, index) {
    const { hiddenSize, headDim, numbers = {} } = config;
    const { sizes, scalars } = plainLayout(config, index);
    const isLocal = config.windows[index] !== null;
    const linears = plainTensors(config, false).filter(({ shape }) => shape.length === 2);
    return {
      function: isLocal ? "block_gemma3_local" : "block_gemma3",
      tensors: [
        gain("input_layernorm", "attn_norm", "attention_gain", hiddenSize),
        gain("post_attention_layernorm", "post_attention_norm", "attention_out_gain", hiddenSize),
        gain("pre_feedforward_layernorm", "ffn_norm", "mlp_gain", hiddenSize),
        gain("post_feedforward_layernorm", "post_ffw_norm", "mlp_out_gain", hiddenSize),
        ...linears,
        gain("self_attn.q_norm", "attn_q_norm", "q_gain", headDim),
        gain("self_attn.k_norm", "attn_k_norm", "k_gain", headDim),
      ],
      sizes,
      scalars: {
        ...scalars,
        // embeddings are multiplied by the root of their size: what the first block receives
        input_scale: index === 0 ? Math.sqrt(hiddenSize) : 1,
        query_scale: Math.sqrt(headDim / (numbers["query_pre_attn_scalar"] ?? headDim)),
        ...(isLocal ? { local_theta: numbers["local_theta"] ?? 10000 } : {}),
      },
    };
  },
};

/** The parameters by kind of attention, as new configs have them. */
function byKind(fields: Fields): { readonly all: unknown; readonly local: unknown } | null {
  const given = fields.raw("rope_parameters");
  return isObject(given) && (isObject(given["full_attention"]) || isObject(given["sliding_attention"]))
    ? { all: given["full_attention"], local: given["sliding_attention"] }
    : null;
}

/** The fields of the rotary embedding of blocks that see all tokens. */
function ropeOfAll(fields: Fields): Fields {
  const kinds = byKind(fields);
  if (kinds !== null) return new Fields({ rope_parameters: kinds.all ?? {} }, "", fields.problems);
  return new Fields(
    {
      rope_theta: fields.raw("rope_theta") ?? 1e6,
      rope_scaling: fields.raw("rope_scaling"),
      rope_parameters: fields.raw("rope_parameters"),
    },
    "",
    fields.problems,
  );
}

/** That of the blocks with a window, which are not scaled. */
function localTheta(fields: Fields, unsupported: string[]): number {
  const kinds = byKind(fields);
  if (kinds === null) return fields.number("rope_local_base_freq", positive, 10000);
  const local = new Fields(
    isObject(kinds.local) ? kinds.local : {},
    "rope_parameters.sliding_attention.",
    fields.problems,
  );
  const kind = local.raw("rope_type") ?? "default";
  if (kind !== "default")
    unsupported.push(`\`rope_parameters.sliding_attention.rope_type\` should be "default", found ${describe(kind)}`);
  return local.number("rope_theta", positive, 10000);
}
