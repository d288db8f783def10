/** Who has which pages of a cache, and what is known to lie in them: texts that begin alike share what is computed. */

/** The pages of a text. */
export interface Lease {
  /** By their places in the text. */
  readonly pages: readonly number[];
  /** Tokens at its beginning whose keys and values lie in its pages already. */
  readonly shared: number;
  /** Tells that the keys and values of these tokens, the text's first, are in its pages: others may share whole ones. */
  publish(ids: ArrayLike<number>): void;
  /** Gives them back: what is known of them is kept until there is another use for them. */
  release(): void;
}

export interface PageAccount {
  readonly total: number;
  /** Pages of leases that have not been released. */
  readonly used: number;
  /** Pages of none, in which a text is known to lie. */
  readonly kept: number;
  /**
   * Pages for a text of at most so many tokens, which begins with these ids; null where there are too few. The last of
   * the ids is not shared, for what follows it is to be computed.
   */
  lease(ids: ArrayLike<number>, tokens: number, shares: boolean): Lease | null;
}

/** A whole page of a text, found by what stands before it and its own tokens. */
interface Known {
  readonly key: string;
  readonly id: number;
  readonly page: number;
  users: number;
}

/** Makes an account of pages that hold `pageTokens` tokens each, all free. */
export function createPageAccount(total: number, pageTokens: number): PageAccount {
  const free = Array.from({ length: total }, (_, at) => total - 1 - at);
  const known = new Map<string, Known>();
  /** Those without users, the one that was left first before the others. */
  const idle = new Set<Known>();
  let ids = 0;

  /** Exact, not a hash: what a request sends must not make it read another's text. */
  const keyOf = (before: number, text: ArrayLike<number>, place: number): string => {
    let key = `${before}:`;
    for (let at = place * pageTokens; at < (place + 1) * pageTokens; at++) key += `${text[at]},`;
    return key;
  };

  function take(): number {
    const page = free.pop();
    if (page !== undefined) return page;
    const [oldest] = idle;
    if (oldest === undefined) throw new Error("the account of pages is out of pages that it had counted");
    idle.delete(oldest);
    known.delete(oldest.key);
    return oldest.page;
  }

  function found(text: ArrayLike<number>): readonly Known[] {
    const pages: Known[] = [];
    for (let place = 0; (place + 1) * pageTokens < text.length; place++) {
      const next = known.get(keyOf(pages.at(-1)?.id ?? 0, text, place));
      if (next === undefined) break;
      pages.push(next);
    }
    return pages;
  }

  return {
    total,
    get used() {
      return total - free.length - idle.size;
    },
    get kept() {
      return idle.size;
    },
    lease(text, tokens, shares) {
      const shared = shares ? found(text) : [];
      const wanted = Math.ceil(tokens / pageTokens) - shared.length;
      const unused = shared.filter(({ users }) => users === 0).length;
      if (wanted > free.length + idle.size - unused) return null;
      for (const each of shared) {
        each.users++;
        idle.delete(each);
      }
      /** What is known of each page; null of those that are this lease's alone. */
      const own: (Known | null)[] = [...shared];
      const pages = shared.map(({ page }) => page);
      for (let count = 0; count < wanted; count++) {
        pages.push(take());
        own.push(null);
      }
      let published = shared.length;
      let last = shared.at(-1)?.id ?? 0;
      let isOpen = true;
      return {
        pages,
        shared: shared.length * pageTokens,
        publish(text) {
          for (; isOpen && (published + 1) * pageTokens <= text.length && published < pages.length; published++) {
            const key = keyOf(last, text, published);
            const other = known.get(key);
            if (other === undefined) {
              const made = { key, id: ++ids, page: pages[published]!, users: 1 };
              known.set(key, made);
              own[published] = made;
            }
            last = other?.id ?? ids;
          }
        },
        release() {
          if (!isOpen) return;
          isOpen = false;
          // from the end on: a text is forgotten from its end, and its beginning is what others may have, too
          for (let place = pages.length - 1; place >= 0; place--) {
            const each = own[place];
            if (each == null) free.push(pages[place]!);
            else if (--each.users === 0) idle.add(each);
          }
        },
      };
    },
  };
}
