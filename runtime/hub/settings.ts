/** What the environment says of the hub: the variables that its Python library has. */
import { getHFHubCachePath } from "@huggingface/hub";
import type { HubOptions } from "./request.js";

/** Cache, endpoint, token, and whether to go without a network, by `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`. */
export function hubSettings(): HubOptions {
  const { env } = process;
  return {
    cache: getHFHubCachePath(),
    endpoint: env["HF_ENDPOINT"] || "https://huggingface.co",
    token: env["HF_TOKEN"] || null,
    offline: [env["HF_HUB_OFFLINE"], env["TRANSFORMERS_OFFLINE"]].some((value) =>
      /^(1|on|yes|true)$/i.test(value ?? ""),
    ),
  };
}
