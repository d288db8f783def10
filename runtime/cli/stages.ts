/** What `compile --emit` prints. */
export const stages = ["ast", "recipe", "graph", "kernel", "wgsl", "plan"] as const;
