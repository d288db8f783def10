/** Making a thing when it is first wanted. */

/** A function that makes what belongs to a key once; what failed is tried again by the next who asks. */
export function takeOnce<K, T>(make: (key: K) => Promise<T>): (key: K) => Promise<T> {
  const made = new Map<K, Promise<T>>();
  return (key) => {
    const known = made.get(key);
    if (known !== undefined) return known;
    const making = make(key);
    made.set(key, making);
    making.catch(() => made.delete(key));
    return making;
  };
}
