/** The settings of a `train`, by name: what they are without being given, and which values they take. */
import type { TrainSettings } from "../recipe/recipe.js";
import { suggest } from "../suggest.js";
import type { Argument, TrainStatement } from "../syntax/ast.js";
import { constantSetting } from "./constant-setting.js";
import { fail, type Frame } from "./frame.js";
import type { Scope } from "./scope.js";

interface NumberRule {
  readonly fallback: number | null;
  readonly whole?: true;
  readonly holds: (value: number) => boolean;
  readonly expected: string;
}

type Rule = NumberRule | { readonly fallback: boolean };

const small: Pick<NumberRule, "holds" | "expected"> = {
  holds: (value) => value > 0 && value <= 1,
  expected: "above 0, at most 1",
};
const notNegative: Pick<NumberRule, "holds" | "expected"> = { holds: (value) => value >= 0, expected: "0 or more" };
const share: Pick<NumberRule, "holds" | "expected"> = {
  holds: (value) => value >= 0 && value < 1,
  expected: "from 0 to below 1",
};

/** A counter of steps that an f32 would not be exact for is a mistake. */
const most = 2 ** 24;

const rules: { readonly [K in keyof TrainSettings]: Rule } = {
  steps: { fallback: null, whole: true, holds: (value) => value >= 1 && value <= most, expected: `from 1 to ${most}` },
  epochs: { fallback: null, holds: (value) => value > 0 && value <= most, expected: `above 0, at most ${most}` },
  rate: { fallback: null, ...small },
  warmup: { fallback: 0, whole: true, ...notNegative },
  batch: { fallback: 8, whole: true, holds: (value) => value >= 1 && value <= 65536, expected: "from 1 to 65536" },
  clip: { fallback: 1, ...notNegative },
  beta1: { fallback: 0.9, ...share },
  beta2: { fallback: 0.95, ...share },
  epsilon: { fallback: 1e-8, ...small },
  decay: { fallback: 0, ...notNegative },
  final: { fallback: 0, holds: (value) => value >= 0 && value <= 1, expected: "from 0 to 1" },
  seed: {
    fallback: 0,
    whole: true,
    holds: (value) => value >= 0 && value < 2 ** 32,
    expected: `from 0 to ${2 ** 32 - 1}`,
  },
  norms: { fallback: true },
  held_out: { fallback: 0.05, ...share },
  watch: { fallback: 50, whole: true, holds: (value) => value >= 1, expected: "1 or more" },
  dense_inputs: { fallback: false },
};

/** What others call them. */
const elsewhere: ReadonlyMap<string, keyof TrainSettings> = new Map([
  ["lr", "rate"],
  ["learning_rate", "rate"],
  ["max_steps", "steps"],
  ["num_steps", "steps"],
  ["iterations", "steps"],
  ["num_epochs", "epochs"],
  ["warmup_steps", "warmup"],
  ["batch_size", "batch"],
  ["grad_clip", "clip"],
  ["max_grad_norm", "clip"],
  ["eps", "epsilon"],
  ["weight_decay", "decay"],
  ["val_split", "held_out"],
  ["eval_steps", "watch"],
]);

const names = Object.keys(rules) as readonly (keyof TrainSettings)[];

/** The settings of a training, all filled in; null where they are wrong, which is reported. */
export function checkTrainSettings(
  statement: TrainStatement,
  scopeOfTraining: "block" | "model",
  frame: Frame,
  scope: Scope,
): TrainSettings | null {
  let failed = false;
  let named = true;
  const refuse = (setting: Argument, message: string, label: string, help: string | null = null): void => {
    failed = true;
    fail(frame, "E611", message, setting.span, label, { help });
  };
  const given = new Map<keyof TrainSettings, Argument>();
  const values = new Map<keyof TrainSettings, number | boolean>();
  for (const setting of statement.settings) {
    const { label } = setting;
    if (label === null) {
      if (named) refuse(setting, "settings of a training are given by name", "which one?", "write `rate: 3e-4`");
      named = false;
      continue;
    }
    const name = names.find((each) => each === label.name);
    if (name === undefined) {
      failed = true;
      const meant = meantBy(label.name);
      if (meant !== null) given.set(meant, setting);
      fail(frame, "E611", `a training has no setting \`${label.name}\``, label.span, "no such setting", {
        help: namedLike(label.name),
      });
      continue;
    }
    if (given.has(name)) {
      refuse(setting, `\`${name}\` is set twice`, "set again");
      continue;
    }
    given.set(name, setting);
    if (name === "dense_inputs" && scopeOfTraining === "model") {
      refuse(
        setting,
        "`dense_inputs` is a setting of `train block`",
        "of a block",
        "the model has no blocks before it",
      );
      continue;
    }
    const value = constantSetting(setting, frame, scope, "E611");
    if (value === null) failed = true;
    else if (fits(name, value)) values.set(name, value);
    else refuse(setting, outside(name, value), `is ${String(value)}`, helpFor(name, value, setting));
  }
  const [steps, epochs] = [given.get("steps"), given.get("epochs")];
  if (steps !== undefined && epochs !== undefined)
    refuse(epochs, "a training goes on for so many steps or for so many epochs, not both", "beside `steps`");
  const { by } = statement;
  if (named && steps === undefined && epochs === undefined) {
    failed = true;
    fail(frame, "E611", "how long is trained is not said", by.span, "neither `steps` nor `epochs`", {
      help: `write \`${by.name}(steps: 500, ...)\`, or \`epochs: 4\` for passes over the text`,
    });
  }
  if (named && !given.has("rate")) {
    failed = true;
    fail(frame, "E611", "the learning rate is not said", by.span, "without a `rate`", {
      help: `write \`${by.name}(rate: 3e-4, ...)\``,
    });
  }
  if (failed) return null;
  const filled = names.map((name) => [name, values.get(name) ?? rules[name].fallback] as const);
  return Object.fromEntries(filled) as unknown as TrainSettings;
}

function fits(name: keyof TrainSettings, value: number | boolean): boolean {
  const rule = rules[name];
  if (!("holds" in rule)) return typeof value === "boolean";
  return typeof value === "number" && rule.holds(value) && (rule.whole !== true || Number.isInteger(value));
}

function outside(name: keyof TrainSettings, value: number | boolean): string {
  const rule = rules[name];
  const expected = "holds" in rule ? `a ${rule.whole ? "whole " : ""}number ${rule.expected}` : "`true` or `false`";
  return `\`${name}\` is ${expected}, and is set to ${String(value)}`;
}

function helpFor(name: keyof TrainSettings, value: number | boolean, setting: Argument): string | null {
  if (name === "steps" && value === 0 && setting.value.kind === "name")
    return `to leave the training out, put \`if ${setting.value.name} > 0 { }\` around it`;
  if (name === "rate") return "rates from 1e-5, for large models, to 1e-3 are usual";
  return name === "steps" && typeof value === "number" && !Number.isInteger(value)
    ? "passes over the text are `epochs`"
    : null;
}

function meantBy(name: string): keyof TrainSettings | null {
  const near = suggest(name, names);
  return elsewhere.get(name.toLowerCase()) ?? names.find((each) => each === near) ?? null;
}

function namedLike(name: string): string {
  const meant = meantBy(name);
  return meant === null ? `the settings are ${names.join(", ")}` : `did you mean \`${meant}\`?`;
}
