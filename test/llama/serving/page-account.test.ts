/** Who has which pages: none is two texts' unless both begin with it, and none is ever lost. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPageAccount, type Lease } from "../../../runtime/llama/serving/page-account.js";

const test = suite("page account");

const text = (...ids: readonly number[]): readonly number[] => ids;

test("texts that begin alike share whole pages, but never all of a prompt", () => {
  const account = createPageAccount(8, 2);
  const first = account.lease(text(1, 2, 3, 4, 5), 6, true)!;
  assert.equal([first.pages.length, first.shared, account.used], [3, 0, 3]);
  // nothing is shared before it is computed
  assert.is(account.lease(text(1, 2, 3), 4, true)!.shared, 0);
  first.publish(text(1, 2, 3));
  const second = account.lease(text(1, 2, 3, 4, 5), 6, true)!;
  assert.equal([second.shared, second.pages[0]], [2, first.pages[0]]);
  first.publish(text(1, 2, 3, 4, 5));
  // the last token is to be computed, so its page is not taken
  assert.is(account.lease(text(1, 2, 3, 4), 4, true)!.shared, 2);
});

test("pages after another beginning are others", () => {
  const account = createPageAccount(8, 2);
  const first = account.lease(text(1, 2, 3, 4), 4, true)!;
  first.publish(text(1, 2, 3, 4));
  const other = account.lease(text(9, 9, 3, 4, 5), 5, true)!;
  assert.is(other.shared, 0);
  // `1, 23` is not `12, 3`
  const one = account.lease(text(11, 2), 2, true)!;
  one.publish(text(11, 2));
  assert.is(account.lease(text(1, 12, 7), 2, true)?.shared ?? 0, 0);
});

test("what is left is kept until its pages are wanted, the oldest first", () => {
  const account = createPageAccount(3, 1);
  const leave = (...ids: readonly number[]): void => {
    const lease = account.lease(ids, ids.length, true)!;
    lease.publish(ids);
    lease.release();
    lease.release();
  };
  leave(1);
  leave(2);
  assert.equal([account.used, account.kept], [0, 2]);
  assert.is(account.lease(text(1, 5), 1, true)!.shared, 1);
  // 1 has a user, so 2 is given up
  const two = account.lease(text(7, 8), 2, true)!;
  assert.equal([account.used, account.kept, two.shared], [3, 0, 0]);
  assert.is(account.lease(text(3), 1, true), null);
  two.release();
  assert.is(account.lease(text(2, 5), 2, true)!.shared, 0);
});

test("at random, every page is somebody's, once", () => {
  const account = createPageAccount(13, 3);
  let state = 7;
  const draw = (below: number): number => (state = (state * 48271) % 2147483647) % below;
  const open: { readonly lease: Lease; readonly ids: readonly number[] }[] = [];
  let refused = 0;
  for (let round = 0; round < 2000; round++) {
    if (open.length > 0 && draw(2) === 0) {
      const [{ lease, ids }] = open.splice(draw(open.length), 1) as [(typeof open)[number]];
      lease.publish(ids.slice(0, draw(ids.length + 1)));
      lease.release();
    } else {
      const ids = Array.from({ length: 1 + draw(12) }, () => draw(2));
      const lease = account.lease(ids, ids.length + draw(6), draw(4) > 0);
      if (lease === null) refused++;
      else {
        lease.publish(ids);
        open.push({ lease, ids });
      }
    }
    const own = open.map(({ lease }) => new Set(lease.pages));
    assert.ok(own.every((pages, at) => pages.size === open[at]!.lease.pages.length));
    const used = new Set(own.flatMap((pages) => [...pages]));
    assert.is(account.used, used.size);
    assert.ok(account.used + account.kept <= account.total);
    // a page of two texts is at one place, and both begin alike up to its end
    for (const [at, one] of open.entries())
      for (const other of open.slice(0, at))
        for (const [place, page] of one.lease.pages.entries()) {
          const there = other.lease.pages.indexOf(page);
          if (there < 0) continue;
          assert.is(there, place);
          const end = 3 * (place + 1);
          assert.equal(one.ids.slice(0, end), other.ids.slice(0, end));
        }
  }
  assert.ok(refused > 10);
  for (const { lease } of open) lease.release();
  assert.is(account.used, 0);
});

test.run();
