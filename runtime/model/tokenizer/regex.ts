/**
 * Regular expressions of `tokenizer.json`, which are Oniguruma's with the syntax of Ruby
 * (https://github.com/kkos/oniguruma/blob/master/doc/RE), as those of JavaScript with the flag `v`.
 */

/** Something in an expression that has no translation; the message says what, to be put behind "uses". */
export class RegexError extends Error {
  override readonly name = "RegexError";
}

/**
 * The same expression in JavaScript: `g` and `v` are set. Groups capture nothing that a caller may use.
 * @throws RegexError
 */
export function translateRegex(source: string): RegExp {
  const translated = translation(source);
  try {
    return new RegExp(translated, "gv");
  } catch {
    throw new RegexError("an expression that is not well formed");
  }
}

/** An expression that matches just one of these texts, the first of them that is there. */
export function literalRegex(...texts: readonly string[]): RegExp {
  return new RegExp(texts.map((text) => [...text].map(escaped).join("")).join("|"), "gv");
}

/** Sets by escape, as what stands between the brackets of a class. */
const sets = {
  s: "\\p{White_Space}",
  d: "\\p{Nd}",
  w: "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}",
  h: "0-9A-Fa-f",
} as const;

/** What `\\w` has outside of a class and not within. */
const moreWord = "\\u{b2}\\u{b3}\\u{b9}\\u{bc}-\\u{be}";

const controls = new Map([
  ["n", 0x0a],
  ["t", 0x09],
  ["r", 0x0d],
  ["f", 0x0c],
  ["v", 0x0b],
  ["a", 0x07],
  ["e", 0x1b],
]);

/** What stands between `[:` and `:]`; all but `punct` are properties, too. */
const brackets = new Map([
  ["alpha", "\\p{Alphabetic}"],
  ["digit", sets.d],
  ["alnum", `\\p{Alphabetic}${sets.d}`],
  ["space", sets.s],
  ["upper", "\\p{Uppercase}"],
  ["lower", "\\p{Lowercase}"],
  ["punct", "\\p{P}\\p{S}"],
  ["cntrl", "\\p{Cc}"],
  ["xdigit", sets.h],
  ["word", sets.w],
]);

/** Properties that have a letter with its other case. */
const foldable = /^(L|M|N|Nd|Nl|No|P|S|Z|Zs|C|Cc|White_Space|Alphabetic)$/;

/** Letters that one character folds to together: what is equal to them is no class of characters. */
const foldedTogether = /ss|ff|fi|fl|st/i;

/** Letters beyond ASCII that fold to one within. */
const folded = new Map([
  ["s", "\\u{17f}"],
  ["k", "\\u{212a}"],
]);

function escaped(character: string): string {
  return /[A-Za-z0-9]/.test(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

function set(inner: string, negated = false): string {
  return `[${negated ? "^" : ""}${inner}]`;
}

/** A part of an expression. */
interface Term {
  readonly text: string;
  /** Whether it can match where there is nothing. */
  readonly canBeEmpty: boolean;
}

function empty(text: string): Term {
  return { text, canBeEmpty: true };
}

function character(text: string): Term {
  return { text, canBeEmpty: false };
}

function translation(source: string): string {
  let at = 0;
  /** Groups that are taken as they were found. */
  let atomics = 0;

  function peek(text: string): boolean {
    return source.startsWith(text, at);
  }

  function accept(text: string): boolean {
    if (!peek(text)) return false;
    at += text.length;
    return true;
  }

  function nextCharacter(): string {
    const point = source.codePointAt(at);
    if (point === undefined) throw new RegexError("an expression that ends too early");
    const character = String.fromCodePoint(point);
    at += character.length;
    return character;
  }

  /** Up to the `)` that closes them, or the end. */
  function alternatives(ignoreCase: boolean): Term {
    let fold = ignoreCase;
    let text = "";
    let canBeEmpty = false;
    let isEmpty = true;
    /** Letters in a row: where case does not matter, some fold together. */
    let row = "";
    while (at < source.length && !peek(")")) {
      if (accept("|")) {
        text += "|";
        row = "";
        canBeEmpty ||= isEmpty;
        isEmpty = true;
      } else if (accept("(?i)")) {
        if (text !== "") throw new RegexError("`(?i)` behind the start of a group");
        fold = true;
      } else {
        const start = at;
        const term = quantified(atom(fold));
        text += term.text;
        isEmpty &&= term.canBeEmpty;
        const taken = source.slice(start, at);
        row = /^[a-z]$/i.test(taken) ? row + taken : "";
        if (fold && foldedTogether.test(row)) throw new RegexError(`\`${row}\` where case does not matter`);
      }
    }
    return { text, canBeEmpty: canBeEmpty || isEmpty };
  }

  function quantified({ text: atom, canBeEmpty }: Term): Term {
    const start = at;
    const repeated = repeat(atom);
    if (at === start) return { text: atom, canBeEmpty };
    // what happens to a repetition of nothing is not the same everywhere
    if (canBeEmpty) throw new RegexError(`\`${source.slice(start, at)}\` of what may be nothing`);
    return {
      text: repeated,
      canBeEmpty: /^([?*]|\{0*,)/.test(source.slice(start)) || /^\{0+\}/.test(source.slice(start)),
    };
  }

  function repeat(atom: string): string {
    const count = /^\{(\d*)(,?)(\d*)\}/.exec(source.slice(at));
    if (count !== null && (count[1] !== "" || count[3] !== "")) {
      at += count[0].length;
      if (peek("?") && count[2] === "") throw new RegexError(`\`${count[0]}?\``);
      const text = `${atom}{${count[1] === "" ? "0" : count[1]}${count[2]}${count[3]}}`;
      // in Ruby nothing is held on to here: it is repeated
      const repeated = ["+", "*"].find((each) => accept(each));
      if (repeated !== undefined) return unquantified(`(?:${text})${repeated}`);
      return unquantified(accept("?") ? `${text}?` : text);
    }
    const mark = ["?", "*", "+"].find((each) => accept(each));
    if (mark === undefined) return atom;
    if (accept("+")) return unquantified(atomic(`${atom}${mark}`));
    return unquantified(accept("?") ? `${atom}${mark}?` : `${atom}${mark}`);
  }

  function unquantified(text: string): string {
    if (/^[?*+]/.test(source.slice(at))) throw new RegexError("a quantifier of a quantifier");
    return text;
  }

  /** What is matched and not given back: looked at first, then taken as it was found. */
  function atomic(text: string): string {
    const name = `atomic${atomics++}`;
    return `(?:(?=(?<${name}>${text}))\\k<${name}>)`;
  }

  function atom(fold: boolean): Term {
    if (peek("(")) return group(fold);
    if (accept("[")) return character(bracket(fold, 1));
    if (accept(".")) return character("[^\\n]");
    // a line that nothing is on does not begin
    if (accept("^")) return empty("(?<=^|\\n)(?!$)");
    if (accept("$")) return empty("(?=$|\\n)");
    if (/^[?*+]/.test(source.slice(at))) throw new RegexError("a quantifier of nothing");
    if (!accept("\\")) return character(literal(nextCharacter(), fold));
    const within = setEscape(fold);
    if (within !== null)
      return character(set(within.inner + (within.inner === sets.w ? moreWord : ""), within.negated));
    if (accept("A")) return empty("^");
    if (accept("z")) return empty("$");
    return character(literal(characterEscape(), fold));
  }

  function group(fold: boolean): Term {
    const opening = ["(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "("].find((each) => peek(each)) ?? "(";
    if (opening === "(" && peek("(?")) throw new RegexError(`a group \`${source.slice(at, at + 4)}\``);
    at += opening.length;
    const inner = alternatives(fold || opening === "(?i:");
    if (!accept(")")) throw new RegexError("a `(` that is not closed");
    const { text, canBeEmpty } = inner;
    if (opening === "(?>") return { text: atomic(text), canBeEmpty };
    return opening === "(" || opening === "(?:" || opening === "(?i:"
      ? { text: `(?:${text})`, canBeEmpty }
      : empty(`${opening}${text})`);
  }

  /** An escape that stands for a set of characters, its backslash read; null where it is another. */
  function setEscape(fold: boolean): { readonly inner: string; readonly negated: boolean } | null {
    const property = /^([pP])\{(\^?)([A-Za-z_]+)\}/.exec(source.slice(at));
    if (property !== null) {
      at += property[0].length;
      const [, kind, not, name = ""] = property;
      return { inner: propertySet(name, fold), negated: (kind === "P") !== (not === "^") };
    }
    const letter = source.charAt(at);
    const key = letter.toLowerCase();
    if (key !== "s" && key !== "d" && key !== "w" && key !== "h") return null;
    at++;
    return { inner: sets[key], negated: letter !== key };
  }

  /** An escape that stands for one character, its backslash read. */
  function characterEscape(): string {
    const code = /^x\{([0-9A-Fa-f]{1,6})\}|^x([0-9A-Fa-f]{2})|^u([0-9A-Fa-f]{4})/.exec(source.slice(at));
    if (code !== null) {
      at += code[0].length;
      const point = Number.parseInt(code[1] ?? code[2] ?? code[3] ?? "", 16);
      if (point > 0x10ffff || (code[2] !== undefined && point > 0x7f)) throw new RegexError(`\`\\${code[0]}\``);
      return String.fromCodePoint(point);
    }
    const character = nextCharacter();
    const control = controls.get(character);
    if (control !== undefined) return String.fromCharCode(control);
    if (/[A-Za-z0-9]/.test(character)) throw new RegexError(`\`\\${character}\``);
    return character;
  }

  /** A class, its `[` read. */
  function bracket(fold: boolean, depth: number): string {
    if (depth > 100) throw new RegexError("classes in classes in classes");
    const negated = accept("^");
    const parts: string[] = [];
    let inner = "";
    for (let first = true; first || !accept("]"); first = false) {
      if (at >= source.length) throw new RegexError("a `[` that is not closed");
      if (accept("&&")) {
        parts.push(inner);
        inner = "";
      } else if (peek("[:")) inner += posix(fold);
      else if (accept("[")) inner += bracket(fold, depth + 1);
      else if (accept("\\")) {
        const within = setEscape(fold);
        if (within !== null) inner += within.negated ? set(within.inner, true) : within.inner;
        else inner += range(characterEscape(), fold);
      } else if (peek("]") && first) throw new RegexError("an empty class");
      else inner += range(nextCharacter(), fold);
    }
    parts.push(inner);
    if (fold && (parts.length > 1 || (negated && depth > 1)))
      throw new RegexError("an intersection, or a negated class in a class, where case does not matter");
    if (parts.some((part) => part === "")) throw new RegexError("an empty class");
    return set(parts.length === 1 ? inner : parts.map((part) => set(part)).join("&&"), negated);
  }

  /** A character of a class, or the range that it begins. */
  function range(from: string, fold: boolean): string {
    if (!/^-[^\]]/.test(source.slice(at)) || peek("-&&")) return member(from, from, fold);
    at++;
    if (peek("[")) throw new RegexError("a range that ends in a class");
    if (!accept("\\")) return member(from, nextCharacter(), fold);
    if (setEscape(fold) !== null) throw new RegexError("a range that ends in a set");
    return member(from, characterEscape(), fold);
  }

  function posix(fold: boolean): string {
    const [all, not, name = ""] = /^\[:(\^?)(\w+):\]/.exec(source.slice(at)) ?? [];
    const inner = brackets.get(name);
    // Oniguruma has every character in `[:^punct:]`
    if (all === undefined || inner === undefined || (fold && /er$/.test(name)) || (not === "^" && name === "punct"))
      throw new RegexError(`\`${source.slice(at, at + 12)}\``);
    at += all.length;
    return not === "^" ? set(inner, true) : inner;
  }

  const { text } = alternatives(false);
  if (at < source.length) throw new RegexError("a `)` that closes nothing");
  return text;
}

function literal(character: string, fold: boolean): string {
  return fold ? set(member(character, character, true)) : escaped(character);
}

/** A range of characters of a class, with their other case where that does not matter. */
function member(from: string, to: string, fold: boolean): string {
  const inner = from === to ? escaped(from) : `${escaped(from)}-${escaped(to)}`;
  if (!fold) return inner;
  const ascii = [...lettersWithin(from, to)];
  if (to > "\x7f" && !(from === to && from.toLowerCase() === from.toUpperCase()))
    throw new RegexError(`\`${from === to ? from : `${from}-${to}`}\` where case does not matter`);
  return inner + ascii.map((letter) => `${swapped(letter)}${folded.get(letter.toLowerCase()) ?? ""}`).join("");
}

function* lettersWithin(from: string, to: string): Generator<string> {
  for (let point = from.codePointAt(0)!; point <= Math.min(to.codePointAt(0)!, 0x7f); point++) {
    const character = String.fromCodePoint(point);
    if (/[A-Za-z]/.test(character)) yield character;
  }
}

function swapped(letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
}

/** A property, or a script, by the name that both have. */
function propertySet(name: string, fold: boolean): string {
  if (fold && !foldable.test(name)) throw new RegexError(`\`\\p{${name}}\` where case does not matter`);
  const known = name.toLowerCase() === "punct" ? "\\p{P}" : brackets.get(name.toLowerCase());
  for (const candidate of known === undefined ? [`\\p{${name}}`, `\\p{Script=${name}}`] : [known]) {
    try {
      new RegExp(set(candidate), "v");
      return candidate;
    } catch {
      continue;
    }
  }
  throw new RegexError(`\`\\p{${name}}\``);
}
