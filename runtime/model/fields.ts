import { describe, isObject, type JsonObject } from "./json.js";

/** What a number has to be. Bounds are inclusive. */
export interface NumberRule {
  readonly integer?: boolean;
  readonly min: number;
  readonly max: number;
}

/**
 * Reads fields of a JSON object and collects what is wrong with them, so that one error can name it all. Null counts
 * as absent, as in Hugging Face files. After a problem the value returned is only a placeholder.
 */
export class Fields {
  /** Names that were asked for. */
  private readonly asked = new Set<string>();

  constructor(
    private readonly object: JsonObject,
    /** Put before field names in messages: `rope_parameters.`. */
    private readonly prefix = "",
    /** Shared with the objects that this one is nested in. */
    readonly problems: string[] = [],
  ) {}

  has(name: string): boolean {
    return this.raw(name) !== undefined;
  }

  /** Whether null is said, where being absent means something else. */
  isNull(name: string): boolean {
    return this.object[name] === null;
  }

  /** The value as it is; undefined where absent, null or inherited. */
  raw(name: string): unknown {
    this.asked.add(name);
    return Object.hasOwn(this.object, name) ? (this.object[name] ?? undefined) : undefined;
  }

  /** A number; where absent the fallback, or a problem if there is none. */
  number(name: string, rule: NumberRule, fallback?: number): number {
    const value = this.raw(name);
    if (value === undefined && fallback !== undefined) return fallback;
    if (isNumber(value, rule)) return value;
    this.problem(name, printRule(rule), value);
    return rule.min;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name);
    if (value === undefined || typeof value === "boolean") return value ?? fallback;
    this.problem(name, "true or false", value);
    return fallback;
  }

  string(name: string): string | null {
    const value = this.raw(name);
    if (value === undefined || typeof value === "string") return value ?? null;
    this.problem(name, "a string", value);
    return null;
  }

  /** A string that has to be there; "" after a problem. */
  requiredString(name: string): string {
    const value = this.raw(name);
    if (typeof value === "string") return value;
    this.problem(name, "a string", value);
    return "";
  }

  /** A number or a list of numbers, always as a list; empty where absent. */
  numbers(name: string, rule: NumberRule): readonly number[] {
    const value = this.raw(name);
    const list: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
    if (list.length <= 1000 && list.every((item) => isNumber(item, rule))) return list;
    this.problem(name, `${printRule(rule)}, or a list of such`, value);
    return [];
  }

  /** A nested object, or null where absent. */
  nested(name: string): Fields | null {
    const value = this.raw(name);
    if (value === undefined) return null;
    if (isObject(value)) return new Fields(value, `${this.prefix}${name}.`, this.problems);
    this.problem(name, "an object", value);
    return null;
  }

  /** A list of objects; empty where absent. */
  list(name: string): readonly Fields[] {
    const value = this.raw(name);
    if (value === undefined) return [];
    if (Array.isArray(value) && value.every(isObject))
      return value.map((item, at) => new Fields(item, `${this.prefix}${name}[${at}].`, this.problems));
    this.problem(name, "a list of objects", value);
    return [];
  }

  /** The fields that are there and were not asked for: nobody knows what they mean. */
  refuseRest(): void {
    for (const name of Object.keys(this.object))
      if (!this.asked.has(name) && this.has(name)) this.refuse(name, "which is not known");
  }

  /** Says that a field cannot be used, and why. */
  refuse(name: string, reason: string): void {
    this.problems.push(`it has the field \`${this.prefix}${name}\`, ${reason}`);
  }

  /** Says that a field should be something else than it is. */
  problem(name: string, expected: string, found: unknown): void {
    this.problems.push(`\`${this.prefix}${name}\` should be ${expected}, found ${describe(found)}`);
  }
}

function isNumber(value: unknown, rule: NumberRule): value is number {
  return (
    typeof value === "number" &&
    value >= rule.min &&
    value <= rule.max &&
    (rule.integer !== true || Number.isInteger(value))
  );
}

function printRule(rule: NumberRule): string {
  return `${rule.integer === true ? "an integer" : "a number"} from ${rule.min} to ${rule.max}`;
}
