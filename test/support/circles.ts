/** The largest sets of nodes of a graph that reach each other, of two nodes and more; their nodes sorted. */
export function circlesOf(graph: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] {
  const circles: string[][] = [];
  const entered = new Map<string, number>();
  const open: string[] = [];
  /** The first of the nodes that are open which this one reaches (Tarjan). */
  const visit = (node: string): number => {
    const own = entered.size;
    entered.set(node, own);
    open.push(node);
    let first = own;
    for (const next of graph.get(node) ?? []) {
      if (!graph.has(next)) continue;
      if (!entered.has(next)) first = Math.min(first, visit(next));
      else if (open.includes(next)) first = Math.min(first, entered.get(next)!);
    }
    if (first === own) {
      const circle = open.splice(open.indexOf(node)).sort();
      if (circle.length > 1) circles.push(circle);
    }
    return first;
  };
  for (const node of graph.keys()) if (!entered.has(node)) visit(node);
  return circles.sort();
}
