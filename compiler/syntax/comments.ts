import type { IToken } from "chevrotain";

/** Hands out comments in the order of the source, each once. */
export interface CommentReader {
  /** The comments before `offset` that nobody took, and blank lines ("") among them and before `offset`. */
  before(offset: number): string[];
  /** The comment that follows `offset` on its line, if only blanks are between. */
  trailing(offset: number): string | null;
  /** The comments before `offset` that nobody took, without blank lines: those inside an expression. */
  inside(offset: number): string[];
}

/** Reads the comments of a source; `comments` are its comment tokens in order. */
export function readComments(source: string, comments: readonly IToken[]): CommentReader {
  let next = 0;
  const text = (comment: IToken): string => comment.image.trimEnd();
  const blankBefore = (offset: number): boolean => {
    let newlines = 0;
    for (let at = offset - 1; at >= 0 && /\s/.test(source[at] ?? ""); at -= 1) if (source[at] === "\n") newlines += 1;
    return newlines > 1;
  };
  return {
    before(offset) {
      const lines: string[] = [];
      for (let comment = comments[next]; comment && comment.startOffset < offset; comment = comments[++next]) {
        if (blankBefore(comment.startOffset)) lines.push("");
        lines.push(text(comment));
      }
      if (blankBefore(offset)) lines.push("");
      return lines;
    },
    trailing(offset) {
      const comment = comments[next];
      if (!comment || comment.startOffset < offset || !/^[ \t]*$/.test(source.slice(offset, comment.startOffset)))
        return null;
      next += 1;
      return text(comment);
    },
    inside(offset) {
      const lines: string[] = [];
      for (let comment = comments[next]; comment && comment.startOffset < offset; comment = comments[++next])
        lines.push(text(comment));
      return lines;
    },
  };
}

/** `lines` without blank lines at its beginning. */
export function withoutFirstBlanks(lines: readonly string[]): readonly string[] {
  const first = lines.findIndex((line) => line !== "");
  return first < 0 ? [] : lines.slice(first);
}

/** `lines` without blank lines at its end. */
export function withoutLastBlanks(lines: readonly string[]): readonly string[] {
  const last = lines.findLastIndex((line) => line !== "");
  return lines.slice(0, last + 1);
}
