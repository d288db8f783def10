/** The same items, each asked for while the one before is used: reading and writing go on side by side. */
export async function* readAhead<T>(source: AsyncIterable<T>): AsyncGenerator<T> {
  const items = source[Symbol.asyncIterator]();
  let next = items.next();
  try {
    for (;;) {
      const item = await next;
      if (item.done === true) return;
      next = items.next();
      // it may fail while the item is used, and is waited for only after that
      next.catch(() => undefined);
      yield item.value;
    }
  } finally {
    // who stops early leaves what was asked for
    await next.catch(() => undefined);
    await items.return?.();
  }
}
