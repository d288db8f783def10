/** A conversation with a model: its template, and what ends an answer. */
import { createChatRenderer, type ChatRenderer } from "../chat/renderer.js";
import { chatTemplateOf, turnEnds } from "../chat/template.js";
import { ModelError, quoted } from "../model/error.js";
import type { Model } from "../model/model.js";

export interface Turns {
  readonly renderer: ChatRenderer;
  /** Tokens that end an answer. */
  readonly ends: readonly number[];
}

/**
 * How a model wants to be talked to.
 * @throws ModelError M146 (no template, or none that can be used), M100 to M104, M140 to M142
 */
export async function turnsOf(model: Model): Promise<Turns> {
  const template = await chatTemplateOf(model);
  if (template === null)
    throw new ModelError(
      "M146",
      `The model in ${quoted(model.directory)} has no chat template: no \`chat_template.jinja\`, none in \`tokenizer_config.json\`, none in a GGUF's metadata.`,
      "take an instruct model, or continue a text with `espalier generate --prompt ...`",
    );
  return {
    renderer: createChatRenderer(template),
    ends: turnEnds(template, await model.tokenizer(), model.generation.eosTokens),
  };
}
